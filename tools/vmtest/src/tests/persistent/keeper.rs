// SPDX-License-Identifier: GPL-2.0

//! What happens to a [world](super::world) besides writes: snapshots, drops, edits, releases,
//! checkpoints, one after another.

#![forbid(unsafe_code)]

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use preserve::uapi::Range;
use vmtest::live::Live;
use vmtest::rng::Rng;

use super::portrait::cells;
use super::portrait::Cell;
use super::world::now;
use super::world::Doubt;
use super::world::Point;
use super::world::World;

/// Live snapshots kept at most.
const KEEP: u32 = 4;
/// Snapshots and bookmarks at most, with which a step forgets one.
const POINTS: usize = 12;

/// Does what writers do not.
pub struct Keeper {
    pub points: Vec<Point>,
    pub designation: Vec<bool>,
    pub doubt: Doubt,
    pub latest: u64,
    pub rng: Rng,
}

impl Keeper {
    /// Until the crash, which is an error. What is acknowledged while the disks are being held must
    /// be durable as well, so it goes on until `stop`.
    pub fn run(&mut self, world: &World, cutting: &AtomicBool, stop: &AtomicBool) -> Result<()> {
        while !stop.load(Ordering::SeqCst) {
            match self.step(world) {
                Ok(()) => (),
                Err(_) if cutting.load(Ordering::SeqCst) => return Ok(()),
                // A snapshot that was given up meanwhile.
                Err(_) if world.may_give_up => self.doubt = Doubt::None,
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn step(&mut self, world: &World) -> Result<()> {
        let live = world.rig.live();
        match self.rng.below(10) {
            _ if self.points.len() > POINTS => self.forget_one(world)?,
            0..3 => self.take(world)?,
            3..5 => self.edit(world)?,
            5 => self.drop_one(world)?,
            6 => self.forget_one(world)?,
            7 => self.release(world)?,
            8 => live.dm.message("checkpoint").map(drop)?,
            _ => thread::sleep(Duration::from_millis(self.rng.below(20))),
        }
        self.doubt = Doubt::None;
        self.save(world)
    }

    /// Fails when an answer came too late to count, so that what it is about stays in doubt.
    fn in_time(world: &World) -> Result<()> {
        ensure!(!world.held.load(Ordering::SeqCst), "after the power cut");
        Ok(())
    }

    fn save(&self, world: &World) -> Result<()> {
        match &world.ledger {
            Some(ledger) => ledger.save(self.latest, &self.designation, &self.points, &self.doubt),
            None => Ok(()),
        }
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
        self.save(world)?;
        point.id = live.control.snapshot_keeping(base, KEEP)?;
        Self::in_time(world)?;
        point.to = now(&world.begun);
        let id = point.id;
        self.latest = id;
        self.points.push(point);
        self.doubt = Doubt::None;
        let alive = self.points.iter().filter(|point| !point.dropped).count();
        let beyond = alive.saturating_sub(KEEP as usize);
        let oldest = self.points.iter_mut().filter(|point| !point.dropped);
        oldest.take(beyond).for_each(|point| point.dropped = true);
        self.save(world)?;
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

    fn edit(&mut self, world: &World) -> Result<()> {
        let live = world.rig.live();
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
        self.save(world)?;
        live.control.edit(protect, &[Range { start, len }])?;
        Self::in_time(world)?;
        self.designation = edited;
        Ok(())
    }

    fn drop_one(&mut self, world: &World) -> Result<()> {
        let live = world.rig.live();
        let Some(i) = self.any(false) else {
            return Ok(());
        };
        let id = self.points[i].id;
        self.doubt = Doubt::Drop(id);
        self.save(world)?;
        live.control.drop_snapshot(id)?;
        Self::in_time(world)?;
        self.points[i].dropped = true;
        Ok(())
    }

    fn forget_one(&mut self, world: &World) -> Result<()> {
        let live = world.rig.live();
        let Some(i) = self.any(true) else {
            return Ok(());
        };
        let id = self.points[i].id;
        self.doubt = Doubt::Forget(id);
        self.save(world)?;
        live.control.forget(id)?;
        Self::in_time(world)?;
        self.points.remove(i);
        Ok(())
    }

    fn release(&mut self, world: &World) -> Result<()> {
        let live = world.rig.live();
        let Some(i) = self.any(false) else {
            return Ok(());
        };
        let (start, len) = self.rng.range(live.sectors(), 100);
        let (first, end) = (start.div_ceil(live.chunk()), (start + len) / live.chunk());
        // Whether the release counted or not, these may be gone.
        for chunk in first..end {
            self.points[i].may_go[chunk as usize] = true;
        }
        self.save(world)?;
        Ok(live.control.release(self.points[i].id, start, len)?)
    }
}

/// Reads all of a snapshot, while writes go on: what has been read once must be read again ever
/// after.
fn learn(live: &Live, point: &mut Point) -> Result<()> {
    for (chunk, cell) in (0..).zip(cells(live, point.id)?) {
        if let Cell::Data(stamps) = cell {
            for (sector, stamp) in (chunk * live.chunk()..).zip(stamps) {
                point.frozen[sector as usize] = Some(stamp);
            }
        }
    }
    Ok(())
}
