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
use preserve::uapi::Range;
use vmtest::live::Live;
use vmtest::rig::Rig;
use vmtest::rig::Spec;
use vmtest::rng::Rng;

use super::portrait::cells;
use super::portrait::Cell;

const WRITERS: u64 = 3;
/// Live snapshots kept at most.
const KEEP: u32 = 4;

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
}

fn now(stamps: &[AtomicU64]) -> Vec<u64> {
    stamps.iter().map(|s| s.load(Ordering::SeqCst)).collect()
}

impl World {
    /// A device with one stamp everywhere, and no snapshot.
    pub fn new(spec: &Spec<'_>, store_sectors: u64, seed: u64) -> Result<Self> {
        let rig = Rig::with_store(spec, store_sectors)?;
        rig.disk()?.stamp_all(rig.sectors(), 1)?;
        let stamps = || (0..rig.sectors()).map(|_| AtomicU64::new(1)).collect();
        Ok(World {
            acked: stamps(),
            begun: stamps(),
            points: Vec::new(),
            designation: vec![true; rig.chunks() as usize],
            doubt: Doubt::None,
            latest: 0,
            stamp: AtomicU64::new(1),
            rng: Rng::new(seed),
            may_give_up: false,
            rig,
        })
    }

    /// Writers and the rest go on until the power is cut after some time; then the live device is gone, and the disks
    /// are back.
    pub fn run_and_crash(&mut self, run: Duration) -> Result<()> {
        let store_first = self.rng.chance(50);
        let (cutting, stop) = (AtomicBool::new(false), AtomicBool::new(false));
        let seeds: Vec<u64> = (0..WRITERS).map(|_| self.rng.number()).collect();
        let mut keeper = Keeper {
            points: std::mem::take(&mut self.points),
            designation: std::mem::take(&mut self.designation),
            doubt: Doubt::None,
            latest: self.latest,
            rng: Rng::new(self.rng.number()),
        };
        let (keeper, cut) = thread::scope(|scope| {
            for (n, seed) in (0..WRITERS).zip(seeds) {
                let (world, stop) = (&*self, &stop);
                scope.spawn(move || world.write(n, seed, stop));
            }
            let (world, cutting) = (&*self, &cutting);
            let rest = scope.spawn(move || {
                let result = keeper.run(world, cutting);
                (keeper, result)
            });
            thread::sleep(run);
            cutting.store(true, Ordering::SeqCst);
            let cut = world.rig.cut(store_first);
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
            if disk.stamp(start, len, stamp).is_err() {
                return;
            }
            for sector in &self.acked[sectors] {
                sector.store(stamp, Ordering::SeqCst);
            }
        }
    }
}

/// Does what writers do not.
struct Keeper {
    points: Vec<Point>,
    designation: Vec<bool>,
    doubt: Doubt,
    latest: u64,
    rng: Rng,
}

impl Keeper {
    /// Until the crash, which is an error.
    fn run(&mut self, world: &World, cutting: &AtomicBool) -> Result<()> {
        loop {
            let result = self.step(world);
            let cut = cutting.load(Ordering::SeqCst);
            match result {
                Ok(()) if cut => return Ok(()),
                Ok(()) => (),
                Err(_) if cut => return Ok(()),
                // A snapshot that was given up meanwhile.
                Err(_) if world.may_give_up => self.doubt = Doubt::None,
                Err(e) => return Err(e),
            }
        }
    }

    fn step(&mut self, world: &World) -> Result<()> {
        let live = world.rig.live();
        match self.rng.below(10) {
            0..3 => self.take(world)?,
            3..5 => self.edit(live)?,
            5 => self.drop_one(live)?,
            6 => self.forget_one(live)?,
            7 => self.release(live)?,
            8 => live.dm.message("checkpoint").map(drop)?,
            _ => thread::sleep(Duration::from_millis(self.rng.below(20))),
        }
        self.doubt = Doubt::None;
        Ok(())
    }

    fn any(&mut self, dropped: bool) -> Option<usize> {
        let all = self.points.iter().enumerate();
        let matching = all.filter(|(_, point)| point.dropped == dropped);
        let matching: Vec<usize> = matching.map(|(i, _)| i).collect();
        match matching.len() as u64 {
            0 => None,
            n => Some(matching[self.rng.below(n) as usize]),
        }
    }

    fn take(&mut self, world: &World) -> Result<()> {
        let live = world.rig.live();
        let dropped = self.rng.chance(50);
        let base = match self.rng.chance(30) {
            true => self.any(dropped).map(|i| self.points[i].id),
            false => None,
        };
        let sectors = live.sectors() as usize;
        let mut point = Point {
            id: self.latest + 1,
            from: now(&world.acked),
            to: vec![u64::MAX; sectors],
            frozen: vec![None; sectors],
            protected: self.designation.clone(),
            // Which chunks are in the scope is looked up below.
            may_go: vec![base.is_some(); live.chunks() as usize],
            dropped: false,
        };
        self.doubt = Doubt::Snapshot(point.clone());
        point.id = live.control.snapshot_keeping(base, KEEP)?;
        point.to = now(&world.begun);
        let id = point.id;
        self.latest = id;
        self.points.push(point);
        self.doubt = Doubt::None;
        let alive = self.points.iter().filter(|point| !point.dropped).count();
        let beyond = alive.saturating_sub(KEEP as usize);
        let oldest = self.points.iter_mut().filter(|point| !point.dropped);
        oldest.take(beyond).for_each(|point| point.dropped = true);
        if let Some(base) = base {
            let changed = live.control.chunks(base, id, 1, 1)?;
            let known = self.points.iter().find(|point| point.id == base);
            let base = known.context("no base")?.protected.clone();
            if let Some(point) = self.points.last_mut() {
                for (chunk, may_go) in (0..).zip(&mut point.may_go) {
                    *may_go = base[chunk as usize] && !changed.contains(&chunk);
                }
            }
        }
        if let Some(point) = self.points.last_mut() {
            learn(live, point)?;
        }
        Ok(())
    }

    fn edit(&mut self, live: &Live) -> Result<()> {
        let protect = self.rng.chance(60);
        let (start, len) = self.rng.range(live.sectors(), 200);
        let (chunk, end) = (live.chunk(), start + len);
        let chunks = match protect {
            true => start / chunk..end.div_ceil(chunk),
            false if end == live.sectors() => start.div_ceil(chunk)..live.chunks(),
            false => start.div_ceil(chunk)..end / chunk,
        };
        let mut edited = self.designation.clone();
        for chunk in chunks {
            edited[chunk as usize] = protect;
        }
        self.doubt = Doubt::Edit(edited.clone());
        live.control.edit(protect, &[Range { start, len }])?;
        self.designation = edited;
        Ok(())
    }

    fn drop_one(&mut self, live: &Live) -> Result<()> {
        let Some(i) = self.any(false) else {
            return Ok(());
        };
        let id = self.points[i].id;
        self.doubt = Doubt::Drop(id);
        live.control.drop_snapshot(id)?;
        self.points[i].dropped = true;
        Ok(())
    }

    fn forget_one(&mut self, live: &Live) -> Result<()> {
        let Some(i) = self.any(true) else {
            return Ok(());
        };
        let id = self.points[i].id;
        self.doubt = Doubt::Forget(id);
        live.control.forget(id)?;
        self.points.remove(i);
        Ok(())
    }

    fn release(&mut self, live: &Live) -> Result<()> {
        let Some(i) = self.any(false) else {
            return Ok(());
        };
        let (start, len) = self.rng.range(live.sectors(), 100);
        let (first, end) = (start.div_ceil(live.chunk()), (start + len) / live.chunk());
        // Whether the release counted or not, these may be gone.
        for chunk in first..end {
            self.points[i].may_go[chunk as usize] = true;
        }
        Ok(live.control.release(self.points[i].id, start, len)?)
    }
}

/// Reads all of a snapshot, while writes go on: what has been read once must be read again ever after.
pub fn learn(live: &Live, point: &mut Point) -> Result<()> {
    for (chunk, cell) in (0..).zip(cells(live, point.id)?) {
        if let Cell::Data(stamps) = cell {
            for (sector, stamp) in (chunk * live.chunk()..).zip(stamps) {
                point.frozen[sector as usize] = Some(stamp);
            }
        }
    }
    Ok(())
}
