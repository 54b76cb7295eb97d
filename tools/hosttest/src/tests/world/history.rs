// SPDX-License-Identifier: GPL-2.0

//! Random histories: writes, snapshots and all the rest, crashes, and on.

#![forbid(unsafe_code)]

use super::device::Config;
use super::device::Step;
use super::device::Stop;
use super::device::World;
use super::recovery::format;
use super::totals::Totals;
use dm_preserve_core::format::STATE_CLOSED;
use dm_preserve_core::format::STATE_OPEN;
use dm_preserve_core::maps::Chunks;
use sim::Rng;
use sim::SimDisk;

/// Plays a history of so many steps.
pub(crate) fn run(config: &Config, steps: u64) -> Result<Totals, String> {
    let store = SimDisk::new(config.layout.blocks());
    run_on(config, steps, store, 0x11).map(|(totals, _)| totals)
}

/// A device with records in its log, all of them durable and none of them settled by a checkpoint.
pub(crate) fn busy(seed: u64, records: u64) -> World {
    let config = Config {
        check_every: 0,
        ..super::config(seed, None)
    };
    let store = SimDisk::new(config.layout.blocks());
    let mut world = format(&config, store, 0x11).unwrap();
    for round in 0..200 {
        world.make_room().unwrap();
        let action = match round {
            0..12 => world.rng.below(16),
            _ => world.rng.below(8),
        };
        world.act(action).unwrap();
        for _ in 0..40 {
            world.step(true).unwrap();
        }
        let cut = world.trail.first().map_or(0, |first| first.sequence);
        if round > 12 && world.logbook.place().sequence - cut > records {
            break;
        }
    }
    world.finish().unwrap();
    world
}

/// Plays a history of so many steps on a new store in place of what was on the disk; the result has
/// what is there in the end.
pub(crate) fn run_on(
    config: &Config,
    steps: u64,
    store: SimDisk,
    uuid: u8,
) -> Result<(Totals, SimDisk), String> {
    let mut totals = Totals::default();
    let mut result = format(config, store, uuid).map(|mut world| {
        let result = world.live();
        (world, result)
    });
    loop {
        let (mut world, result_of_life) = match result {
            Ok(life) => life,
            Err(Stop::Failed(what)) => return Err(what),
            Err(Stop::Dead) => return Err("dead before it lived".into()),
        };
        totals.add(&world.totals);
        match result_of_life {
            Err(Stop::Failed(what)) => return Err(what),
            _ if totals.steps >= steps => return Ok((totals, world.left.take().unwrap().1)),
            Ok(()) | Err(Stop::Dead) => (),
        }
        totals.restarts += 1;
        totals.crashes += 1;
        result = world.revive();
    }
}

impl World {
    /// Goes on with what the crash has left.
    fn revive(&mut self) -> Step<(Self, Step)> {
        let (origin, mut store) = self.left.take().unwrap();
        let recovered = self
            .known
            .check(&origin, &mut store)
            .map_err(Stop::Failed)?;
        let exact = recovered.superblock.state.get() == STATE_CLOSED
            && recovered.replayed.records == 0
            && self.rng.once_in(2);
        let mut rng = Rng::new(self.rng.next());
        let again = rng.once_in(3).then(|| rng.below(60));
        let (config, known) = (self.config.clone(), self.known.clone());
        let mut world = Self::assemble(config, rng, (origin, store), recovered, known)?;
        world.crash_in = again;
        let started = match exact {
            true => world.start_exact(),
            false => world.start(),
        };
        let result = started.and_then(|()| world.live());
        Ok((world, result))
    }

    /// Does what comes, until the power goes or after a clean shutdown.
    fn live(&mut self) -> Step {
        if self.crash_in.is_none() {
            self.crash_in = Some(self.rng.below(self.config.life));
        }
        loop {
            for _ in 0..self.rng.below(self.config.pause) {
                self.step(true)?;
            }
            self.make_room()?;
            let action = self.rng.below(16);
            self.act(action)?;
            if self.rng.once_in(60) {
                return self.shut_down();
            }
        }
    }

    /// Whatever is waited for: ring, then space.
    fn make_room(&mut self) -> Step {
        if self.ring_full || self.logbook.ring_room() < 6 {
            self.checkpoint(STATE_OPEN, 2)?;
            self.ring_full = false;
        }
        while std::mem::take(&mut self.full) {
            self.totals.full += 1;
            if self.segments.has_waiting() {
                self.checkpoint(STATE_OPEN, 2)?;
            } else if let Some(oldest) = self.known.model.ids(true).first() {
                self.drop_snapshot(*oldest)?;
            }
            // Those that wait ask again.
            for _ in 0..20 {
                self.step(false)?;
            }
        }
        if self.logbook.ring_room() < 6 {
            self.checkpoint(STATE_OPEN, 2)?;
        }
        Ok(())
    }

    fn act(&mut self, action: u64) -> Step {
        let (live, bookmarks) = (self.known.model.ids(true), self.known.model.ids(false));
        let some_run = |rng: &mut Rng, hot: &[u64]| {
            let (a, b) = (rng.pick(hot).unwrap(), rng.pick(hot).unwrap());
            (a.min(b), a.max(b) + 1)
        };
        let (start, end) = some_run(&mut self.rng, &self.config.hot);
        let end = end.min(self.shape.chunks());
        let run = Chunks { start, end };
        match action {
            0..=3 => {
                let all = [live, bookmarks].concat();
                let base = self.rng.pick(&all).filter(|_| self.rng.once_in(2));
                let keep = 1 + self.rng.below(self.config.keep) as usize;
                let reset = self.rng.once_in(6).then_some(self.config.default);
                self.snapshot(base, keep, reset)
            }
            4 => match self.rng.pick(&live) {
                Some(id) => self.drop_snapshot(id),
                None => Ok(()),
            },
            5 | 15 => match self.rng.pick(&bookmarks) {
                Some(id) => self.forget(id),
                _ => Ok(()),
            },
            6 => match self.rng.pick(&live).filter(|_| !run.is_empty()) {
                Some(id) => self.release(id, run),
                None => Ok(()),
            },
            7 if !run.is_empty() => {
                let protected = self.rng.once_in(2);
                self.protect(run, protected)
            }
            8 => {
                let chunks =
                    (self.shape.chunks() + 1 + self.rng.below(3)).min(self.config.max_chunks);
                match chunks > self.shape.chunks() && self.rng.once_in(4) {
                    true => self.grow(chunks),
                    false => Ok(()),
                }
            }
            9 | 10 => self.narrow(),
            11..=13 => {
                let steps = 1 + self.rng.below(10);
                self.checkpoint(STATE_OPEN, steps)
            }
            14 if self.config.growth > 0 => self.grow_store_some(),
            _ => Ok(()),
        }
    }

    /// Everything under way is finished.
    fn finish(&mut self) -> Step {
        let mut patience = 20_000;
        while !self.writes.is_empty() || !self.records.is_empty() || !self.claims.is_empty() {
            self.step(false)?;
            if self.full || self.ring_full {
                self.make_room()?;
            }
            patience -= 1;
            if patience == 0 {
                return super::device::failed("writes hang");
            }
        }
        Ok(())
    }

    /// Finishes, and writes the last checkpoint.
    pub(crate) fn shut_down(&mut self) -> Step {
        self.finish()?;
        self.origin.sync();
        self.checkpoint(STATE_CLOSED, 0)?;
        let before = self.contents();
        self.left = Some((
            self.origin.crash(&mut self.rng),
            self.store.crash(&mut self.rng),
        ));
        self.origin = self.left.as_ref().unwrap().0.clone();
        match before == self.contents() {
            true => Ok(()),
            false => super::device::failed("a clean shutdown has lost something"),
        }
    }
}
