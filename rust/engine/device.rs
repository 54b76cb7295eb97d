// SPDX-License-Identifier: GPL-2.0

//! Which device an engine serves: its identity, origin and store, size, options, and what has been
//! counted.
//!
//! `options` is a lock that is taken alone. The size changes with the control lock held.

#![forbid(unsafe_code)]

use crate::base::Apart;
use crate::dm::BlockDevice;
use crate::dm::DevT;
use crate::format::BLOCK_SECTORS;
use crate::maps::Geometry;
use crate::store::Trouble;
use crate::uapi::args::Options;
use kernel::new_spinlock;
use kernel::prelude::*;
use kernel::sync::atomic::Acquire;
use kernel::sync::atomic::Atomic;
use kernel::sync::atomic::Relaxed;
use kernel::sync::atomic::Release;
use kernel::sync::SpinLock;

/// Which devices an engine belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The live device.
    pub live: DevT,
    /// The origin.
    pub origin: DevT,
    /// The store.
    pub store: DevT,
}

/// A number that only rises.
pub struct Counter(Atomic<u64>);

impl Counter {
    fn new() -> Self {
        Self(Atomic::new(0))
    }

    /// Adds to the number.
    #[inline]
    pub(super) fn add(&self, n: u64) {
        self.0.add(n, Relaxed);
    }

    /// Adds one. Returns the number before.
    pub(super) fn next(&self) -> u64 {
        self.0.fetch_add(1, Relaxed)
    }

    /// Returns the number.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Things counted since the engine exists.
pub struct Counters {
    /// Writes that had to wait.
    pub waited: Counter,
    /// Chunks that could not be read before they were overwritten.
    pub gone: Counter,
    /// Snapshots given up.
    pub invalidated: Counter,
    /// Reads of frozen content that found the store damaged.
    pub damaged: Counter,
}

/// The two devices that an engine has opened.
pub(super) struct Opened {
    identity: Identity,
    origin: BlockDevice,
    store: BlockDevice,
}

impl Opened {
    /// Opens the devices. May sleep.
    ///
    /// Errors: those of opening a device.
    pub(super) fn new(identity: Identity) -> Result<Self, Trouble> {
        let origin = BlockDevice::open(identity.origin, true)?;
        let store = BlockDevice::open(identity.store, true)?;
        warn_if_shared(&identity, &origin, "origin");
        warn_if_shared(&identity, &store, "store");
        Ok(Self {
            identity,
            origin,
            store,
        })
    }

    /// Returns the origin.
    pub(super) fn origin(&self) -> &BlockDevice {
        &self.origin
    }

    /// Returns the store's device.
    pub(super) fn store(&self) -> &BlockDevice {
        &self.store
    }
}

/// Warns if another mapped device uses the same device. That may be harmless, as for one that only
/// reads, or not.
fn warn_if_shared(identity: &Identity, device: &BlockDevice, what: &str) {
    if device.is_shared() {
        pr_warn!(
            "{}: another mapped device uses the {what} {} too: what it writes there is neither \
             tracked nor preserved; see dmsetup ls --tree\n",
            identity.live,
            device.devt()
        );
    }
}

/// How a store names itself and the time since tracking began.
#[derive(Clone, Copy)]
pub(super) struct Uuids {
    /// Changes whenever tracking breaks; with a transient store that is with the engine.
    pub(super) generation: [u8; 16],
    /// The persistent store's; `None` with a transient one.
    pub(super) store: Option<[u8; 16]>,
}

/// The device. See the [module's documentation](self).
#[pin_data]
pub struct Device {
    opened: Opened,
    uuids: Uuids,
    /// The chunk size; the length in it is that at the beginning, see [`Device::geometry`].
    shape: Geometry,
    sectors: Atomic<u64>,
    #[pin]
    options: SpinLock<Options>,
    /// Change with each write that waits, next to what every write reads.
    counters: Apart<Counters>,
}

impl Device {
    /// Describes a device that had `sectors` sectors when that was last saved.
    pub(super) fn new(
        opened: Opened,
        uuids: Uuids,
        shape: Geometry,
        sectors: u64,
        options: Options,
    ) -> impl PinInit<Self> {
        let counters = Counters {
            waited: Counter::new(),
            gone: Counter::new(),
            invalidated: Counter::new(),
            damaged: Counter::new(),
        };
        pin_init!(Self {
            opened,
            uuids,
            shape,
            sectors: Atomic::new(sectors),
            options <- new_spinlock!(options, "Device::options"),
            counters: Apart(counters),
        })
    }

    /// Returns which devices these are.
    pub fn identity(&self) -> Identity {
        self.opened.identity
    }

    /// Returns the live device, which messages name.
    pub fn live(&self) -> DevT {
        self.opened.identity.live
    }

    /// Returns the origin.
    pub fn origin(&self) -> &BlockDevice {
        &self.opened.origin
    }

    /// Returns the store's device.
    pub fn store(&self) -> &BlockDevice {
        &self.opened.store
    }

    /// Returns true if snapshots and the record of changes survive.
    pub fn is_persistent(&self) -> bool {
        self.uuids.store.is_some()
    }

    /// Returns the UUID that changes whenever tracking breaks.
    pub fn generation(&self) -> [u8; 16] {
        self.uuids.generation
    }

    /// Returns the persistent store's UUID; zeroes with a transient store.
    pub fn store_uuid(&self) -> [u8; 16] {
        self.uuids.store.unwrap_or_default()
    }

    /// Returns the chunk size, with the length that the device had at the beginning.
    #[inline]
    pub fn shape(&self) -> &Geometry {
        &self.shape
    }

    /// Returns the chunk size and the length as it is now.
    pub fn geometry(&self) -> Geometry {
        let now = self.shape.with_sectors(self.sectors());
        now.unwrap_or(self.shape)
    }

    /// Returns the length as it is now, in sectors.
    pub(super) fn sectors(&self) -> u64 {
        self.sectors.load(Acquire)
    }

    /// Changes the length. The caller holds the control lock.
    pub(super) fn set_sectors(&self, sectors: u64) {
        self.sectors.store(sectors, Release);
    }

    /// Returns the options of the table that is active.
    pub fn options(&self) -> Options {
        *self.options.lock()
    }

    /// Changes the options, when another table becomes active.
    pub(super) fn set_options(&self, options: Options) {
        *self.options.lock() = options;
    }

    /// Returns what has been counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Returns the first sector in the store of the content at a position.
    pub fn store_sector(&self, position: u64) -> u64 {
        match self.is_persistent() {
            true => position * BLOCK_SECTORS,
            false => self.shape.sector(position),
        }
    }
}
