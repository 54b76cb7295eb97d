// SPDX-License-Identifier: GPL-2.0

//! Crashes: the disks go at a random moment, and come back. What was promised must hold, see
//! [`super::world`].

#![forbid(unsafe_code)]

use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use preserve::uapi::ATTR_CHANGED;
use preserve::uapi::KIND_BOOKMARK;
use vmtest::disk::Disk;
use vmtest::pattern;
use vmtest::pattern::SECTOR;
use vmtest::rig::Spec;

use super::portrait::cells;
use super::portrait::points;
use super::portrait::Cell;
use super::world::Doubt;
use super::world::Point;
use super::world::World;
use crate::tests::slow;
use crate::tests::Test;
use crate::Env;

pub const TESTS: &[Test] = &[
    slow("i1_i2_i3_crashes_at_random_moments", 300, |env| {
        crashes(env, 8, 1)
    }),
    slow("i1_i2_i3_crashes_with_chunks_of_32_sectors", 300, |env| {
        crashes(env, 32, 2)
    }),
    slow("i1_i2_i3_crashes_with_a_full_store", 300, full),
    slow("i1_i2_i3_crashes_with_writes_that_wait", 300, blocked),
];

/// Sectors of a store of four segments.
const SMALL: u64 = 3 * 2048;
/// Sectors of the device; the last chunk is short.
const SECTORS: u64 = 2048 + 5;

fn spec(chunk: u64, args: &'static [&'static str]) -> Spec<'static> {
    Spec {
        sectors: SECTORS,
        chunk,
        args,
        ..Spec::mb(1)
    }
    .persistent()
}

fn crashes(env: &Env, chunk: u64, seed: u64) -> Result<()> {
    let seed = env.seed.unwrap_or(seed);
    let mut world = World::new(&spec(chunk, &[]), 64 * 2048, seed)?;
    rounds(env, &mut world, seed, if chunk == 8 { 14 } else { 8 })
}

/// The store has fewer segments than there are epochs with contents at times.
fn full(env: &Env) -> Result<()> {
    let seed = env.seed.unwrap_or(3);
    let mut world = World::new(&spec(8, &[]), SMALL, seed)?;
    world.may_give_up = true;
    rounds(env, &mut world, seed, 8)?;
    ensure!(world.given_up.into_inner() > 0, "nothing was given up");
    Ok(())
}

/// The same, and writes wait rather than that a snapshot is given up.
fn blocked(env: &Env) -> Result<()> {
    let seed = env.seed.unwrap_or(4);
    let mut world = World::new(&spec(8, &["on_full=block"]), SMALL, seed)?;
    rounds(env, &mut world, seed, 8)?;
    ensure!(world.has_waited.into_inner(), "no write waited");
    Ok(())
}

fn rounds(env: &Env, world: &mut World, seed: u64, rounds: u64) -> Result<()> {
    for round in 0..env.rounds(rounds, 5) {
        let run = Duration::from_millis(20 + world.rng.below(400));
        let again = world.rng.below(3);
        let mut crash = || -> Result<()> {
            world.run_and_crash(run)?;
            if again == 0 {
                world.crash_in_activation()?;
            }
            if again == 1 {
                // Before anything happens after the first checkpoint.
                world.rig.open()?;
                let store_first = world.rng.chance(50);
                world.rig.cut(store_first)?;
                world.rig.close()?;
                world.rig.mend()?;
            }
            world.rig.open()?;
            world.check()
        };
        crash().with_context(|| format!("seed {seed}, round {round} (again: --seed {seed})"))?;
    }
    Ok(())
}

impl World {
    /// The power goes while the store is being recovered.
    fn crash_in_activation(&mut self) -> Result<()> {
        let wait = Duration::from_millis(self.rng.below(60));
        let store_first = self.rng.chance(50);
        let sectors = self.rig.sectors();
        let table = self.rig.table(sectors, &[]);
        let cut = thread::scope(|scope| {
            let opener = scope.spawn(move || {
                // With other arguments it is the same store. It may fail, or be too early to fail.
                drop(vmtest::dm::Dm::create("vt-live", &table));
            });
            thread::sleep(wait);
            let cut = self.rig.cut(store_first);
            (cut, opener.join().is_ok())
        });
        cut.0?;
        ensure!(cut.1, "a thread died");
        self.rig.mend()
    }

    /// Compares everything with what was promised, and goes on from what is found.
    pub fn check(&mut self) -> Result<()> {
        let now = self.check_live()?;
        self.resolve_doubt()?;
        self.check_points(&now)?;
        let map = self.rig.map("protection_map")?;
        let differ = (0..map.len()).find(|i| map[*i] != self.designation[*i]);
        ensure!(differ.is_none(), "the designation differs at {differ:?}");
        let info = self.rig.control.info()?;
        ensure!(info.gone_chunks == 0, "{info:?}");
        ensure!(
            info.latest >= self.latest,
            "the latest is {} and was {}",
            info.latest,
            self.latest
        );
        self.latest = info.latest;
        Ok(())
    }

    /// What must last is there, or what was begun later.
    fn check_live(&mut self) -> Result<Vec<u64>> {
        let found = self.rig.disk()?.read(0, self.rig.sectors())?;
        let mut stamps = Vec::new();
        for (n, bytes) in (0..).zip(found.chunks_exact(SECTOR)) {
            let at = n as usize;
            let lasting = self.lasting[at].load(Ordering::SeqCst);
            let begun = self.begun[at].load(Ordering::SeqCst);
            // A stamp in between that was not written to this sector is not found in it.
            let stamp = pattern::stamp_of(bytes, n).filter(|s| (lasting..=begun).contains(s));
            let stamp = stamp.with_context(|| {
                let found = pattern::describe(bytes, n);
                format!("the live sector {n}: {found} instead of {lasting}..={begun}")
            })?;
            for of in [&self.lasting, &self.acked, &self.begun] {
                of[at].store(stamp, Ordering::SeqCst);
            }
            stamps.push(stamp);
        }
        Ok(stamps)
    }

    /// What was in doubt has happened or not; from here on it is known.
    fn resolve_doubt(&mut self) -> Result<()> {
        let found = points(&self.rig)?;
        let is = |id: u64| found.iter().find(|point| point.id == id);
        match std::mem::replace(&mut self.doubt, Doubt::None) {
            Doubt::None => (),
            Doubt::Snapshot(mut point) => {
                if is(point.id).is_some() {
                    point.to = self
                        .begun
                        .iter()
                        .map(|s| s.load(Ordering::SeqCst))
                        .collect();
                    self.points.push(point);
                    self.follow_keep();
                }
            }
            Doubt::Drop(id) => {
                let dropped = is(id).is_some_and(|point| point.kind == KIND_BOOKMARK);
                let mut same = self.points.iter_mut().filter(|point| point.id == id);
                same.by_ref().for_each(|point| point.dropped |= dropped);
            }
            Doubt::Forget(id) => {
                if is(id).is_none() {
                    self.points.retain(|point| point.id != id);
                }
            }
            Doubt::Edit(edited) => {
                if self.rig.map("protection_map")? == edited {
                    self.designation = edited;
                }
            }
        }
        if self.may_give_up {
            for point in &mut self.points {
                let kept = is(point.id).is_some_and(|found| found.kind != KIND_BOOKMARK);
                point.dropped |= !kept;
            }
        }
        let found: Vec<_> = found
            .iter()
            .map(|p| (p.id, p.kind == KIND_BOOKMARK))
            .collect();
        let known: Vec<_> = self.points.iter().map(|p| (p.id, p.dropped)).collect();
        ensure!(found == known, "there are {found:?} instead of {known:?}");
        Ok(())
    }

    /// A snapshot that was in doubt dropped what was too many.
    fn follow_keep(&mut self) {
        let alive = self.points.iter().filter(|point| !point.dropped).count();
        let oldest = self.points.iter_mut().filter(|point| !point.dropped);
        let beyond = alive.saturating_sub(4);
        oldest.take(beyond).for_each(|point| point.dropped = true);
    }

    fn check_points(&mut self, now: &[u64]) -> Result<()> {
        let chosen = self.rng.below(8) as usize;
        let mut known = std::mem::take(&mut self.points);
        for (n, point) in known.iter_mut().enumerate() {
            if !point.dropped {
                self.check_frozen(point)
                    .with_context(|| format!("snapshot {}", point.id))?;
            }
            self.check_changes(point, now)
                .with_context(|| format!("changes since {}", point.id))?;
            if !point.dropped && n % 8 == chosen {
                self.check_view(point)?;
            }
        }
        self.points = known;
        Ok(())
    }

    /// I1, and that nothing is gone without a reason.
    fn check_frozen(&self, point: &mut Point) -> Result<()> {
        let chunk_sectors = self.rig.chunk();
        for (n, found) in cells(&self.rig, point.id)?.iter().enumerate() {
            let chunk = n as u64;
            match found {
                Cell::Hole => ensure!(!point.protected[n], "chunk {chunk}: a hole"),
                Cell::Gone => ensure!(
                    point.protected[n] && point.may_go[n],
                    "chunk {chunk} is gone"
                ),
                Cell::Data(stamps) => {
                    ensure!(point.protected[n], "chunk {chunk}: unprotected, but there");
                    for (sector, stamp) in (chunk * chunk_sectors..).zip(stamps) {
                        let at = sector as usize;
                        let frozen = &mut point.frozen[at];
                        let fits = match frozen {
                            Some(frozen) => frozen == stamp,
                            None => (point.from[at]..=point.to[at]).contains(stamp),
                        };
                        ensure!(
                            fits,
                            "sector {sector}: {stamp} instead of {frozen:?} ({}..={})",
                            point.from[at],
                            point.to[at]
                        );
                        *frozen = Some(*stamp);
                    }
                }
            }
        }
        Ok(())
    }

    /// I3.
    fn check_changes(&self, point: &Point, now: &[u64]) -> Result<()> {
        let changed = self
            .rig
            .control
            .chunks(point.id, 0, ATTR_CHANGED, ATTR_CHANGED)?;
        for (at, stamp) in now.iter().enumerate() {
            let differs = match point.frozen[at] {
                Some(frozen) => frozen != *stamp,
                None => *stamp > point.to[at],
            };
            let chunk = at as u64 / self.rig.chunk();
            ensure!(
                !differs || changed.contains(&chunk),
                "chunk {chunk}: sector {at} has {stamp}, was {:?}, and counts as unchanged",
                point.frozen[at]
            );
        }
        Ok(())
    }

    fn check_view(&self, point: &Point) -> Result<()> {
        let view = self.rig.view("vt-view", point.id, &[])?;
        let disk = Disk::open_ro(view.path())?;
        for chunk in 0..self.rig.chunks() {
            let start = chunk * self.rig.chunk();
            let sectors = self.rig.chunk().min(self.rig.sectors() - start);
            let range = start as usize..(start + sectors) as usize;
            let wanted: Option<Vec<u64>> = point.frozen[range].iter().copied().collect();
            match (wanted, disk.read(start, sectors)) {
                (Some(stamps), Ok(found)) => pattern::check(&found, start, &stamps)?,
                (None, _) => (),
                (Some(_), Err(e)) => ensure!(
                    point.may_go[chunk as usize],
                    "view {}, chunk {chunk}: {e}",
                    point.id
                ),
            }
        }
        Ok(())
    }
}
