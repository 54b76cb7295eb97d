// SPDX-License-Identifier: GPL-2.0

//! Crashes that are tried: what would be left if the power went now, and can it be recovered?

#![forbid(unsafe_code)]

use super::device::Config;
use super::device::Doing;
use super::device::Step;
use super::device::Stop;
use super::device::World;
use super::verify::Recovered;
use sim::Fate;
use sim::Rng;
use sim::SimDisk;

impl World {
    /// Tries each outcome; when nothing is under way and no cache holds anything there is but one.
    pub(crate) fn try_crashes(&mut self) -> Step {
        let settled = self.origin.is_settled() && self.store.is_settled();
        let all = self.config.outcomes;
        let some = if settled { &all[..1] } else { all };
        some.iter().try_for_each(|fates| self.try_crash(*fates))
    }

    /// What would be left, and whether that can be recovered; now and then also when the power goes
    /// again while that is done.
    fn try_crash(&mut self, [of_origin, of_store]: [Fate; 2]) -> Step {
        let origin = self.origin.crash_as(of_origin, &mut self.rng);
        let mut store = self.store.crash_as(of_store, &mut self.rng);
        let recovered = self
            .known
            .check(&origin, &mut store)
            .map_err(Stop::Failed)?;
        self.count(&origin, &store, &recovered);
        match self.rng.once_in(6) {
            true => self.crash_again((origin, store), recovered),
            false => Ok(()),
        }
    }

    fn crash_again(&mut self, disks: (SimDisk, SimDisk), recovered: Recovered) -> Step {
        self.totals.crashes += 1;
        let config = Config {
            check_every: 0,
            ..self.config.clone()
        };
        let mut rng = Rng::new(self.rng.next());
        let crash_in = rng.below(40);
        let known = self.known.clone();
        let mut again = Self::assemble(config, rng, disks, recovered, known)?;
        again.crash_in = Some(crash_in);
        let (origin, mut store) = match again.start() {
            Ok(()) => (again.origin, again.store),
            Err(Stop::Dead) => {
                self.totals.recoveries += 1;
                again.left.take().unwrap()
            }
            Err(failed) => return Err(failed),
        };
        let second = again.known.check(&origin, &mut store);
        second
            .map(drop)
            .map_err(|what| Stop::Failed(format!("second crash: {what}")))
    }

    fn count(&mut self, origin: &SimDisk, store: &SimDisk, recovered: &Recovered) {
        let sectors = self.shape.chunk_sectors();
        let totals = &mut self.totals;
        totals.crashes += 1;
        totals.replayed += recovered.replayed.records;
        totals.torn += u64::from(origin.torn || store.torn);
        totals.reordered += u64::from(origin.reordered || store.reordered);
        let Some(doing) = self.doing else {
            return;
        };
        let done = match doing {
            Doing::StoreGrowth => recovered.layout.segments > self.known.segments,
            _ => self.known.model.same_as(&recovered.state, sectors).is_err(),
        };
        let counter = match (doing, done) {
            (Doing::Drop, true) => &mut totals.drops_done,
            (Doing::Drop, false) => &mut totals.drops_undone,
            (Doing::Growth, true) => &mut totals.growths_done,
            (Doing::Growth, false) => &mut totals.growths_undone,
            (Doing::OtherControl, true) => &mut totals.controls_done,
            (Doing::OtherControl, false) => &mut totals.controls_undone,
            (Doing::StoreGrowth, true) => &mut totals.store_growths_done,
            (Doing::StoreGrowth, false) => &mut totals.store_growths_undone,
        };
        *counter += 1;
    }
}
