// SPDX-License-Identifier: GPL-2.0

//! What is replayed: a [world](World), and files on an ext4.

#![forbid(unsafe_code)]

use std::fs;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use rustix::io::ReadWriteFlags;
use vmtest::disk::Buffer;
use vmtest::disk::Disk;
use vmtest::dm::Dm;
use vmtest::live::Kind;
use vmtest::live::Live;
use vmtest::node;
use vmtest::reboot;
use vmtest::rig::Rig;
use vmtest::rig::Spec;
use vmtest::rng::Rng;

use super::Parts;
use super::Subject;
use crate::tests::persistent::files;
use crate::tests::persistent::files::Promise;
use crate::tests::persistent::ledger;
use crate::tests::persistent::ledger::Ledger;
use crate::tests::persistent::world::World;

/// Chunks that are written at random, see [`World`].
pub struct Chunks {
    rng: Rng,
    chunk: u64,
    /// Sectors of the store, at last.
    store: u64,
    may_give_up: bool,
    /// For how long, and for how many writes at least, before the store grows, and behind that.
    length: (Duration, u64),
    /// Snapshots that were given up.
    given_up: u64,
}

/// Sectors of its device; the last chunk is short.
const SECTORS: u64 = 1024 + 5;

impl Chunks {
    /// With so many sectors in a chunk.
    pub fn new(seed: u64, chunk: u64) -> Self {
        Chunks {
            rng: Rng::new(seed),
            chunk,
            store: 24 * 2048,
            may_give_up: false,
            length: (Duration::from_millis(600), 100),
            given_up: 0,
        }
    }

    /// A history so short that each of its boundaries can be looked at.
    pub fn short(seed: u64) -> Self {
        Chunks {
            length: (Duration::from_millis(40), 8),
            ..Self::new(seed, 8)
        }
    }

    /// With a store that takes about two epochs' contents.
    pub fn with_small_store(seed: u64) -> Self {
        Chunks {
            store: 4 * 2048,
            may_give_up: true,
            ..Self::new(seed, 8)
        }
    }

    /// The live device. What is known of it is looked at, if something is.
    fn open(&mut self, parts: &Parts) -> Result<(World, Ledger, bool)> {
        let spec = Spec {
            sectors: SECTORS,
            chunk: self.chunk,
            ..Spec::mb(1)
        };
        reboot::pass(parts.store.path())?;
        let rig = Rig::over(&spec.persistent(), parts.origin.path(), parts.store.path())?;
        rig.vouch()?;
        let ledger = Ledger::open_volatile(parts.ledger.path())?;
        let mut world = World::on(rig, self.rng.number());
        world.may_give_up = self.may_give_up;
        world.is_volatile = true;
        let kept = ledger.load()?;
        let is_known = kept.is_some();
        if let Some(kept) = kept {
            world.look(&ledger, kept)?;
        }
        Ok((world, ledger, is_known))
    }
}

impl Subject for Chunks {
    fn sizes(&self) -> [u64; 3] {
        [SECTORS, self.store, ledger::SECTORS]
    }

    fn play(&mut self, parts: &Parts) -> Result<()> {
        let (mut world, ledger, is_known) = self.open(parts)?;
        if !is_known {
            let disk = world.rig.disk()?;
            disk.stamp_all(SECTORS, 1)?;
            disk.flush()?;
        }
        world.ledger = Some(ledger);
        world.save()?;
        let (time, writes) = self.length;
        world.run(time, writes)?;
        let (sectors, path) = (parts.grow()?, parts.store.path());
        world
            .rig
            .store
            .swap(&format!("0 {sectors} linear {path} 0"))?;
        world.rig.dm.swap(&world.rig.table(SECTORS, &[]))?;
        world.run(time, writes)?;
        self.given_up += world.rig.control.info()?.invalidated;
        Ok(())
    }

    fn look(&mut self, parts: &Parts) -> Result<()> {
        self.open(parts).map(drop)
    }

    fn was_in_vain(&self) -> bool {
        self.may_give_up && self.given_up == 0
    }
}

/// Files on an ext4. The first sector of the ledger has what is promised.
pub struct Ext4;

impl Ext4 {
    const MAGIC: u64 = 0x7072_6f6d_6973_6564;

    fn open(parts: &Parts) -> Result<Live> {
        let origin = parts.origin.path();
        let sectors = node::sectors(origin)?;
        let store = parts.store.path();
        reboot::pass(store)?;
        let live = Live::create("vt-live", Kind::Persistent, sectors, origin, store, 8, &[])?;
        live.vouch()?;
        Ok(live)
    }

    fn promised(ledger: &Disk) -> Result<Option<Promise>> {
        let found = ledger.read(0, 1)?;
        let number = |n: usize| {
            let bytes = found[n * 8..][..8].try_into().unwrap_or_default();
            u64::from_le_bytes(bytes)
        };
        let promise = Promise {
            files: number(1),
            snapshot: number(2),
            frozen: number(3),
        };
        Ok((number(0) == Self::MAGIC).then_some(promise))
    }

    fn promise(ledger: &Disk, promise: &Promise) -> Result<()> {
        let mut bytes = Buffer::new(1);
        let numbers = [Self::MAGIC, promise.files, promise.snapshot, promise.frozen];
        for (place, number) in bytes.chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        let written = ledger.write_flags(0, &bytes, ReadWriteFlags::DSYNC)?;
        ensure!(written == bytes.len(), "{written} bytes were written");
        Ok(())
    }
}

impl Subject for Ext4 {
    fn sizes(&self) -> [u64; 3] {
        [24 * 2048, 48 * 2048, 8]
    }

    fn play(&mut self, parts: &Parts) -> Result<()> {
        let ledger = Disk::open(parts.ledger.path())?;
        let live = Self::open(parts)?;
        let from = match Self::promised(&ledger)? {
            Some(promise) => {
                files::check(&live, &promise)?;
                promise
            }
            None => {
                files::make(&live)?;
                Promise::default()
            }
        };
        Self::promise(&ledger, &from)?;
        let (begun, stop) = (Instant::now(), AtomicBool::new(false));
        files::write(&live, from, &stop, |promise| {
            let enough = promise.files >= from.files + 20 && begun.elapsed().as_secs() >= 1;
            stop.store(enough, Ordering::SeqCst);
            Self::promise(&ledger, promise)
        })
    }

    fn look(&mut self, parts: &Parts) -> Result<()> {
        let live = Self::open(parts)?;
        match Self::promised(&Disk::open_ro(parts.ledger.path())?)? {
            Some(promise) => files::check(&live, &promise),
            None => Ok(()),
        }
    }
}

/// Another one on disks of which one says that it has no volatile cache, though it has.
pub struct Liar<S> {
    subject: S,
    which: fn(&Parts) -> &Dm,
}

impl<S: Subject> Liar<S> {
    /// The part that `which` chooses lies.
    pub fn new(subject: S, which: fn(&Parts) -> &Dm) -> Self {
        Liar { subject, which }
    }
}

impl<S: Subject> Subject for Liar<S> {
    fn sizes(&self) -> [u64; 3] {
        self.subject.sizes()
    }

    fn play(&mut self, parts: &Parts) -> Result<()> {
        let name = (self.which)(parts).path().trim_start_matches("/dev/");
        let cache = format!("/sys/block/{name}/queue/write_cache");
        fs::write(&cache, "write through").with_context(|| format!("cannot write {cache}"))?;
        self.subject.play(parts)
    }

    fn look(&mut self, parts: &Parts) -> Result<()> {
        self.subject.look(parts)
    }
}
