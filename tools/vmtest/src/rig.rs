// SPDX-License-Identifier: GPL-2.0

//! The usual set of devices of a test: an origin, a store, and the live device over them.

#![forbid(unsafe_code)]

use std::ops::Deref;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::sync::Mutex;
use std::sync::PoisonError;

use anyhow::Result;

use crate::dm::Dm;
use crate::live;
use crate::live::Kind;
use crate::live::Live;
use crate::loopdev::Loop;
use crate::node;
use crate::nullblk;
use crate::nullblk::NullBlk;
use crate::reboot;

/// What a rig is like.
pub struct Spec<'a> {
    /// Size of the live device in sectors.
    pub sectors: u64,
    /// Sectors per chunk.
    pub chunk: u64,
    /// Sectors of contents that the store takes; a persistent one has more around them.
    pub store: u64,
    /// Optional arguments, `transient` apart.
    pub args: &'a [&'a str],
    /// The origin is a loop device, which has write-zeroes and is cheap while zero.
    pub sparse: bool,
    /// The disks have a volatile cache, so that flushes reach them. Others have none, and the block layer ends a flush.
    pub cached: bool,
    /// Whether what the store holds is to last.
    pub kind: Kind,
}

/// What [`Spec::mb`] makes.
static PERSISTENT: AtomicBool = AtomicBool::new(false);

/// From now on, stores are persistent where a test does not say otherwise. A test is a process of its own.
pub fn use_persistent_stores() {
    PERSISTENT.store(true, Ordering::Relaxed);
}

/// What a persistent store has beyond twice the contents it is to take, in MiB: log, checkpoints, and a segment of each
/// of many epochs that is not full.
const AROUND_MB: u64 = 64;

impl Spec<'_> {
    /// A device of `mb` MiB with 4 KiB chunks, and a store as large.
    pub fn mb(mb: u64) -> Self {
        Spec {
            sectors: mb * 2048,
            chunk: 8,
            store: mb * 2048,
            args: &[],
            sparse: false,
            cached: false,
            kind: match PERSISTENT.load(Ordering::Relaxed) {
                true => Kind::Persistent,
                false => Kind::Transient,
            },
        }
    }

    /// The same on disks with a cache.
    pub fn cached(self) -> Self {
        Spec {
            cached: true,
            ..self
        }
    }

    /// The same on a persistent store.
    pub fn persistent(self) -> Self {
        Spec {
            kind: Kind::Persistent,
            ..self
        }
    }

    fn store_sectors(&self) -> u64 {
        match self.kind {
            Kind::Transient => self.store,
            Kind::Persistent => self.store * 2 + AROUND_MB * 2048,
        }
    }
}

/// The devices. They go in this order.
pub struct Rig {
    live: Live,
    /// The store: a linear device over null_blk, so that its size and table can change.
    pub store: Dm,
    /// The origin, the same.
    pub origin: Dm,
    store_disk: Backing,
    origin_disk: Backing,
    kind: Kind,
    store_sectors: u64,
    args: Vec<String>,
    power: Mutex<Power>,
}

/// Whether the disks have power.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Power {
    On,
    /// It was cut.
    Cut,
    /// It is there again, and the live device is not.
    Back,
}

fn create(
    kind: Kind,
    sectors: u64,
    origin: &Dm,
    store: &Dm,
    chunk: u64,
    args: &[&str],
) -> Result<Live> {
    Live::create(
        "vt-live",
        kind,
        sectors,
        origin.path(),
        store.path(),
        chunk,
        args,
    )
}

/// What a device is on.
enum Backing {
    Null(NullBlk),
    Loop(Loop),
    /// A disk that stays.
    Disk(String),
}

/// Room that the disks have beyond what is used first, in MiB, for growing.
const SPARE_MB: u64 = 8;

impl Backing {
    fn path(&self) -> &str {
        match self {
            Backing::Null(disk) => disk.path(),
            Backing::Loop(disk) => disk.path(),
            Backing::Disk(path) => path,
        }
    }
}

/// A disk for so many sectors.
fn null(name: &str, sectors: u64, cached: bool) -> Result<Backing> {
    let mb = sectors.div_ceil(2048) + SPARE_MB;
    let disk = match cached {
        false => NullBlk::new(name, mb)?,
        true => NullBlk::with(name, mb, nullblk::CACHE)?,
    };
    Ok(Backing::Null(disk))
}

impl Rig {
    /// Makes the devices; the origin's content is zero.
    pub fn new(spec: &Spec<'_>) -> Result<Self> {
        let origin_disk = match spec.sparse {
            false => null("vt-origin", spec.sectors, spec.cached)?,
            true => Backing::Loop(Loop::new(
                "vt-origin",
                spec.sectors.div_ceil(2048) + SPARE_MB,
            )?),
        };
        let store_sectors = spec.store_sectors();
        let store_disk = null("vt-store", store_sectors, spec.cached)?;
        Self::on(spec, store_sectors, origin_disk, store_disk)
    }

    /// The same with a store of exactly so many sectors.
    pub fn with_store(spec: &Spec<'_>, store_sectors: u64) -> Result<Self> {
        let origin_disk = null("vt-origin", spec.sectors, spec.cached)?;
        let store_disk = null("vt-store", store_sectors, spec.cached)?;
        Self::on(spec, store_sectors, origin_disk, store_disk)
    }

    /// Over disks that are there, all of the store's.
    pub fn over(spec: &Spec<'_>, origin: &str, store: &str) -> Result<Self> {
        let [origin, store] = [origin, store].map(str::to_string);
        let sectors = node::sectors(&store)?;
        Self::on(spec, sectors, Backing::Disk(origin), Backing::Disk(store))
    }

    fn on(
        spec: &Spec<'_>,
        store_sectors: u64,
        origin_disk: Backing,
        store_disk: Backing,
    ) -> Result<Self> {
        let origin = Dm::linear("vt-o", origin_disk.path(), 0, spec.sectors)?;
        let store = Dm::linear("vt-s", store_disk.path(), 0, store_sectors)?;
        let args = spec.args.iter().map(|arg| arg.to_string()).collect();
        let live = create(
            spec.kind,
            spec.sectors,
            &origin,
            &store,
            spec.chunk,
            spec.args,
        )?;
        Ok(Rig {
            live,
            store,
            origin,
            store_disk,
            origin_disk,
            kind: spec.kind,
            store_sectors,
            args,
            power: Mutex::new(Power::On),
        })
    }

    /// The live device.
    pub fn live(&self) -> &Live {
        &self.live
    }

    /// The disk under the origin.
    pub fn origin_disk(&self) -> &str {
        self.origin_disk.path()
    }

    /// The disk under the store.
    pub fn store_disk(&self) -> &str {
        self.store_disk.path()
    }

    /// The live device's table line, with other sizes or arguments.
    pub fn table(&self, sectors: u64, args: &[&str]) -> String {
        live::table(
            self.kind,
            sectors,
            self.origin.path(),
            self.store.path(),
            self.live.chunk(),
            args,
        )
    }

    /// Sectors of the store.
    pub fn store_sectors(&self) -> u64 {
        self.store_sectors
    }

    /// Removes the live device: a clean shutdown. Nothing may have it open.
    pub fn close(&mut self) -> Result<()> {
        self.live.dm.remove()
    }

    /// Lets go of the control device, once the live device was removed.
    pub fn forget_control(&mut self) -> Result<()> {
        Ok(self.live.control.close()?)
    }

    /// Creates the live device that was removed. After a power cut what its store holds is vouched
    /// for.
    pub fn open(&mut self) -> Result<()> {
        self.open_doubtfully()?;
        match self.set_power(Power::On) {
            Power::Back => self.live.vouch(),
            Power::On | Power::Cut => Ok(()),
        }
    }

    /// The same, and nobody vouches.
    pub fn open_doubtfully(&mut self) -> Result<()> {
        let args: Vec<&str> = self.args.iter().map(String::as_str).collect();
        let (sectors, chunk) = (self.live.sectors(), self.live.chunk());
        self.live = create(self.kind, sectors, &self.origin, &self.store, chunk, &args)?;
        Ok(())
    }

    /// Removes the live device and creates it again.
    pub fn reopen(&mut self) -> Result<()> {
        self.close()?;
        self.open()
    }

    /// Nothing reaches the disks from here on, as when the power goes, and the live device finds that out.
    pub fn cut(&self, store_first: bool) -> Result<()> {
        self.hold(store_first)?;
        self.fail_disks()
    }

    /// Nothing reaches the disks from here on: one of the two devices first, then the other. What has been submitted to a
    /// disk gets there; everything else waits.
    pub fn hold(&self, store_first: bool) -> Result<()> {
        let both = match store_first {
            true => [&self.store, &self.origin],
            false => [&self.origin, &self.store],
        };
        both.into_iter().try_for_each(Dm::suspend_noflush)
    }

    /// What was held fails, when both are: the one must not see how the other fails.
    pub fn fail_disks(&self) -> Result<()> {
        self.power_is_cut();
        let both = [&self.origin, &self.store];
        for device in both {
            let sectors = node::sectors(device.path())?;
            device.load(&format!("0 {sectors} error"))?;
        }
        both.into_iter().try_for_each(Dm::resume)
    }

    /// The disks fail as when the power goes, rather than by themselves.
    pub fn power_is_cut(&self) {
        self.set_power(Power::Cut);
    }

    /// The result is what it was before.
    fn set_power(&self, new: Power) -> Power {
        let mut power = self.power.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *power, new)
    }

    /// The disks are there again. The live device must be gone. After a power cut, another kernel
    /// runs.
    pub fn mend(&self) -> Result<()> {
        let sectors = node::sectors(self.origin.path())?;
        let disk = self.origin_disk();
        self.origin.swap(&format!("0 {sectors} linear {disk} 0"))?;
        self.mend_store()?;
        match self.set_power(Power::Back) {
            Power::Cut => reboot::pass(self.store_disk()).map(drop),
            before => {
                self.set_power(before);
                Ok(())
            }
        }
    }

    /// The store is there again, as it was at first.
    pub fn mend_store(&self) -> Result<()> {
        let (sectors, disk) = (self.store_sectors, self.store_disk());
        self.store.swap(&format!("0 {sectors} linear {disk} 0"))
    }
}

impl Deref for Rig {
    type Target = Live;
    fn deref(&self) -> &Live {
        &self.live
    }
}
