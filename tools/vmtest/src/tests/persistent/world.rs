// SPDX-License-Identifier: GPL-2.0

//! A live device under load, of which is known at any moment what must hold after a crash.
//!
//! Writers have a part of the device each, and one write in flight: a sector holds what was acknowledged last, or
//! what was begun after that. Stamps rise, so what a snapshot froze lies between two stamps; and once it has been read, it is
//! known. One thread does all the rest (snapshots, drops, edits, ...), so at a crash at most one of these is in doubt.

#![forbid(unsafe_code)]

use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use vmtest::rig::Rig;
use vmtest::rig::Spec;
use vmtest::rng::Rng;

use super::keeper::Keeper;
use super::ledger::Kept;
use super::ledger::Ledger;

const WRITERS: u64 = 3;
/// A snapshot or bookmark.
#[derive(Clone, Debug)]
pub struct Point {
    /// Its id.
    pub id: u64,
    /// By sector: the oldest and the newest stamp that it may have frozen.
    pub from: Vec<u64>,
    /// See `from`.
    pub to: Vec<u64>,
    /// By sector: what it has frozen, as far as that has been read.
    pub frozen: Vec<Option<u64>>,
    /// By chunk: the designation at its instant.
    pub protected: Vec<bool>,
    /// By chunk: what may be gone as it was released, or may be out of its scope.
    pub may_go: Vec<bool>,
    /// It is a bookmark by now.
    pub dropped: bool,
}

/// What was being done, and may have been done or not.
#[derive(Clone, Debug)]
pub enum Doubt {
    /// Nothing.
    None,
    /// A snapshot with this content.
    Snapshot(Point),
    /// This one was being dropped.
    Drop(u64),
    /// This bookmark was being forgotten.
    Forget(u64),
    /// The designation was being changed to this.
    Edit(Vec<bool>),
}

/// What is known.
pub struct World {
    /// The devices.
    pub rig: Rig,
    /// By sector: the stamp that was acknowledged last.
    pub acked: Vec<AtomicU64>,
    /// By sector: the last one begun.
    pub begun: Vec<AtomicU64>,
    /// Snapshots and bookmarks.
    pub points: Vec<Point>,
    /// The designation.
    pub designation: Vec<bool>,
    /// What is in doubt.
    pub doubt: Doubt,
    /// The highest id seen.
    pub latest: u64,
    stamp: AtomicU64,
    /// For what the test decides.
    pub rng: Rng,
    /// Snapshots may be given up: the store is too small.
    pub may_give_up: bool,
    /// The disks are held: answers from here on nobody would get after a real power cut.
    pub held: AtomicBool,
    /// Where all this is kept for the time after a real power cut.
    pub ledger: Option<Ledger>,
}

/// The stamps as they are now.
pub fn now(stamps: &[AtomicU64]) -> Vec<u64> {
    stamps.iter().map(|s| s.load(Ordering::SeqCst)).collect()
}

impl World {
    /// A device with one stamp everywhere, and no snapshot.
    pub fn new(spec: &Spec<'_>, store_sectors: u64, seed: u64) -> Result<Self> {
        let rig = Rig::with_store(spec, store_sectors)?;
        rig.disk()?.stamp_all(rig.sectors(), 1)?;
        Ok(Self::on(rig, seed))
    }

    /// The same on a device that has one stamp everywhere, and no snapshot.
    pub fn on(rig: Rig, seed: u64) -> Self {
        let stamps = || (0..rig.sectors()).map(|_| AtomicU64::new(1)).collect();
        World {
            acked: stamps(),
            begun: stamps(),
            points: Vec::new(),
            designation: vec![true; rig.chunks() as usize],
            doubt: Doubt::None,
            latest: 0,
            stamp: AtomicU64::new(1),
            rng: Rng::new(seed),
            may_give_up: false,
            held: AtomicBool::new(false),
            ledger: None,
            rig,
        }
    }

    /// Writers and the rest go on until the power is cut after some time; then the live device is gone, and the disks
    /// are back.
    pub fn run_and_crash(&mut self, run: Duration) -> Result<()> {
        let store_first = self.rng.chance(50);
        let (cutting, stop) = (AtomicBool::new(false), AtomicBool::new(false));
        let seeds: Vec<u64> = (0..WRITERS).map(|_| self.rng.number()).collect();
        self.held.store(false, Ordering::SeqCst);
        let mut keeper = self.keeper();
        let (keeper, cut) = thread::scope(|scope| {
            for (n, seed) in (0..WRITERS).zip(seeds) {
                let (world, stop) = (&*self, &stop);
                scope.spawn(move || world.write(n, seed, stop));
            }
            let (world, cutting, stop) = (&*self, &cutting, &stop);
            let rest = scope.spawn(move || {
                let result = keeper.run(world, cutting, stop);
                (keeper, result)
            });
            thread::sleep(run);
            cutting.store(true, Ordering::SeqCst);
            let cut = world.rig.hold(store_first).and_then(|()| {
                world.held.store(true, Ordering::SeqCst);
                world.rig.fail_disks()
            });
            stop.store(true, Ordering::SeqCst);
            // Writes may wait for space, and nobody asks for the store: this does, and finds it broken.
            let _ = world.rig.dm.try_message("checkpoint");
            (rest.join(), cut)
        });
        let (keeper, result) = keeper.map_err(|_| anyhow::anyhow!("a thread died"))?;
        result.context("before the crash")?;
        self.points = keeper.points;
        self.designation = keeper.designation;
        self.doubt = keeper.doubt;
        self.latest = keeper.latest;
        cut?;
        self.rig.close().context("removing after the crash")?;
        self.rig.mend()
    }

    /// Writers and the rest go on until the machine goes, or an error.
    pub fn run_for_ever(&mut self) -> Result<()> {
        let stop = AtomicBool::new(false);
        let seeds: Vec<u64> = (0..WRITERS).map(|_| self.rng.number()).collect();
        let mut keeper = self.keeper();
        thread::scope(|scope| {
            for (n, seed) in (0..WRITERS).zip(seeds) {
                let (world, stop) = (&*self, &stop);
                scope.spawn(move || world.write(n, seed, stop));
            }
            let result = keeper.run(self, &AtomicBool::new(false), &stop);
            stop.store(true, Ordering::SeqCst);
            result
        })
    }

    /// Goes on with what a ledger has kept.
    pub fn resume(&mut self, kept: Kept, begun: Vec<u64>, acked: Vec<u64>) {
        let newest = begun.iter().max().copied().unwrap_or(1);
        self.stamp = AtomicU64::new(newest);
        self.begun = begun.into_iter().map(AtomicU64::new).collect();
        self.acked = acked.into_iter().map(AtomicU64::new).collect();
        self.latest = kept.latest;
        self.designation = kept.designation;
        self.points = kept.points;
        self.doubt = kept.doubt;
    }

    fn keeper(&mut self) -> Keeper {
        Keeper {
            points: std::mem::take(&mut self.points),
            designation: std::mem::take(&mut self.designation),
            doubt: Doubt::None,
            latest: self.latest,
            rng: Rng::new(self.rng.number()),
        }
    }

    fn write(&self, writer: u64, seed: u64, stop: &AtomicBool) {
        let Ok(disk) = self.rig.disk() else {
            return;
        };
        let mut rng = Rng::new(seed);
        let part = self.rig.sectors() / WRITERS;
        while !stop.load(Ordering::SeqCst) {
            let longest = if rng.chance(10) { 200 } else { 16 };
            let (start, len) = rng.range(part, longest);
            let start = start + writer * part;
            let stamp = self.stamp.fetch_add(1, Ordering::SeqCst) + 1;
            let sectors = start as usize..(start + len) as usize;
            for sector in &self.begun[sectors.clone()] {
                sector.store(stamp, Ordering::SeqCst);
            }
            if self.note(&sectors).is_err() || disk.stamp(start, len, stamp).is_err() {
                return;
            }
            for sector in &self.acked[sectors.clone()] {
                sector.store(stamp, Ordering::SeqCst);
            }
            if self.note(&sectors).is_err() {
                return;
            }
        }
    }
}

impl World {
    fn note(&self, sectors: &std::ops::Range<usize>) -> Result<()> {
        match &self.ledger {
            Some(ledger) => ledger.note(sectors, &self.begun, &self.acked),
            None => Ok(()),
        }
    }

    /// Keeps what is known in the ledger, if there is one.
    pub fn save(&self) -> Result<()> {
        self.note(&(0..self.begun.len()))?;
        let Some(ledger) = &self.ledger else {
            return Ok(());
        };
        ledger.save(self.latest, &self.designation, &self.points, &self.doubt)
    }
}
