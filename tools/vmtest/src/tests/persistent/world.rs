// SPDX-License-Identifier: GPL-2.0

//! A live device under load, of which is known at any moment what must hold after a crash.
//!
//! Writers have a part of the device each, and one write in flight: a sector holds what lasts at
//! least, or what was begun after that. What was acknowledged lasts, unless the disks have a
//! volatile cache: then what was acknowledged before a flush, or written with FUA. Stamps rise, so
//! what a snapshot froze lies between two stamps; and once it has been read, it is known. One
//! thread does all the rest (snapshots, drops, edits, ...), so at a crash at most one of these is
//! in doubt.

#![forbid(unsafe_code)]

use std::ops::Range;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use vmtest::rig::Rig;
use vmtest::rig::Spec;
use vmtest::rng::Rng;

use super::keeper::Keeper;
use super::ledger::Kept;
use super::ledger::Ledger;

/// How many write.
pub const WRITERS: u64 = 3;

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
    /// By sector: the oldest stamp that a crash may leave.
    pub lasting: Vec<AtomicU64>,
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
    /// The highest stamp begun.
    pub stamp: AtomicU64,
    /// For what the test decides.
    pub rng: Rng,
    /// Snapshots may be given up: the store is too small.
    pub may_give_up: bool,
    /// How many have been, before the crashes.
    pub given_up: AtomicU64,
    /// A write has waited for space.
    pub has_waited: AtomicBool,
    /// The disks have a volatile cache.
    pub is_volatile: bool,
    /// The disks are held: answers from here on nobody would get after a real power cut.
    pub held: AtomicBool,
    /// Where all this is kept for the time after a real power cut.
    pub ledger: Option<Ledger>,
}

fn died() -> anyhow::Error {
    anyhow::anyhow!("a thread died")
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
            lasting: stamps(),
            begun: stamps(),
            points: Vec::new(),
            designation: vec![true; rig.chunks() as usize],
            doubt: Doubt::None,
            latest: 0,
            stamp: AtomicU64::new(1),
            rng: Rng::new(seed),
            may_give_up: false,
            given_up: AtomicU64::new(0),
            has_waited: AtomicBool::new(false),
            is_volatile: false,
            held: AtomicBool::new(false),
            ledger: None,
            rig,
        }
    }

    /// Writers and the rest go on until the power is cut after some time; then the live device is
    /// gone, and the disks are back.
    pub fn run_and_crash(&mut self, run: Duration) -> Result<()> {
        let store_first = self.rng.chance(50);
        let cutting = AtomicBool::new(false);
        self.held.store(false, Ordering::SeqCst);
        self.play(&cutting, |world, stop| {
            world.watch(run)?;
            cutting.store(true, Ordering::SeqCst);
            let cut = world.rig.hold(store_first).and_then(|()| {
                world.held.store(true, Ordering::SeqCst);
                world.rig.fail_disks()
            });
            stop.store(true, Ordering::SeqCst);
            // Writes may wait for space, and nobody asks for the store: this does, and finds it
            // broken.
            let _ = world.rig.dm.try_message("checkpoint");
            cut
        })
        .context("before the crash")?;
        self.rig.close().context("removing after the crash")?;
        self.rig.mend()
    }

    /// Lets some time pass, and notes what a small store brings about.
    fn watch(&self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            thread::sleep(Duration::from_millis(5));
            if self.rig.sysfs("state")? == "blocked" {
                self.has_waited.store(true, Ordering::SeqCst);
            }
        }
        let given_up = self.rig.control.info()?.invalidated;
        self.given_up.fetch_add(given_up, Ordering::SeqCst);
        Ok(())
    }

    /// Writers and the rest go on for some time, and until there were so many writes; or until an
    /// error.
    pub fn run(&mut self, time: Duration, writes: u64) -> Result<()> {
        let end = Instant::now() + time;
        let last = self.stamp.load(Ordering::SeqCst) + writes;
        self.play(&AtomicBool::new(false), |world, stop| {
            let goes_on = || Instant::now() < end || world.stamp.load(Ordering::SeqCst) < last;
            while goes_on() && !stop.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(10));
            }
            Ok(())
        })
    }

    /// Writers and the rest go on until `end` returns; it can see whether they have stopped because
    /// of an error. With `cutting`, writes may fail.
    fn play(
        &mut self,
        cutting: &AtomicBool,
        end: impl FnOnce(&Self, &AtomicBool) -> Result<()>,
    ) -> Result<()> {
        let stop = AtomicBool::new(false);
        let seeds: Vec<u64> = (0..WRITERS).map(|_| self.rng.number()).collect();
        let mut keeper = self.keeper();
        let (keeper, results) = thread::scope(|scope| {
            let (world, stop) = (&*self, &stop);
            let told = move |result| {
                stop.store(true, Ordering::SeqCst);
                result
            };
            let writers = (0..WRITERS).zip(seeds);
            let writers: Vec<_> = writers
                .map(|(n, seed)| scope.spawn(move || told(world.write(n, seed, stop))))
                .collect();
            let rest = scope.spawn(move || {
                let result = keeper.run(world, cutting, stop);
                (keeper, told(result))
            });
            let mut results = vec![end(world, stop)];
            stop.store(true, Ordering::SeqCst);
            for writer in writers {
                let result = writer.join().unwrap_or_else(|_| Err(died()));
                results.push(match cutting.load(Ordering::SeqCst) {
                    true => Ok(()),
                    false => result,
                });
            }
            (rest.join().map_err(|_| died()), results)
        });
        let (keeper, result) = keeper?;
        self.points = keeper.points;
        self.designation = keeper.designation;
        self.doubt = keeper.doubt;
        self.latest = keeper.latest;
        results.into_iter().fold(result, Result::and)
    }

    /// Looks whether all holds that a ledger has kept, and goes on from there.
    pub fn look(&mut self, ledger: &Ledger, kept: Kept) -> Result<()> {
        let [begun, lasting] = ledger.stamps(self.rig.sectors())?;
        let newest = begun.iter().max().copied().unwrap_or(1);
        let stamps = |stamps: &[u64]| stamps.iter().map(|s| AtomicU64::new(*s)).collect();
        self.stamp = AtomicU64::new(newest);
        self.begun = stamps(&begun);
        self.acked = stamps(&lasting);
        self.lasting = stamps(&lasting);
        self.latest = kept.latest;
        self.designation = kept.designation;
        self.points = kept.points;
        self.doubt = kept.doubt;
        self.check()
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

    /// Notes the stamps of some sectors in the ledger, if there is one.
    pub fn note(&self, sectors: &Range<usize>) -> Result<()> {
        match &self.ledger {
            Some(ledger) => ledger.note(sectors, &self.begun, &self.lasting),
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
