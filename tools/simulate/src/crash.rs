// SPDX-License-Identifier: GPL-2.0

//! The power goes: what is on the drives then, and what the engine makes of it.

#![forbid(unsafe_code)]

use crate::config::Config;
use crate::device::Device;
use crate::device::Disks;
use crate::oracle;
use crate::oracle::Oracle;
use crate::verify;
use dm_shim::drive;
use dm_shim::drive::Drive;
use kernel::machine;
use kernel::machine::Setup;
use sim::Fate;
use sim::Rng;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc as StdArc;

/// Points at which a run of the machine must have ended.
pub(crate) const LIMIT: u64 = 20_000_000;
/// Most crashes of a life that are looked at.
const MAX_POINTS: usize = 60;

/// A moment at which the power may go.
#[derive(Clone)]
pub(crate) struct Point {
    /// What is on the drives, in their caches, and on its way.
    disks: Disks,
    /// What is known then.
    pub(crate) known: Oracle,
}

/// What came of a recovery.
pub(crate) struct Recovered {
    pub(crate) disks: Disks,
    pub(crate) known: Oracle,
    /// A write was torn, or one kept that was begun after one that was lost.
    pub(crate) is_hard: bool,
}

/// Collects moments, after some of the operations of the drives.
pub(crate) fn collect(
    config: &Config,
    origin: &StdArc<Drive>,
    store: &StdArc<Drive>,
    known: &Rc<RefCell<Oracle>>,
) -> Rc<RefCell<Vec<Point>>> {
    let points = Rc::new(RefCell::new(Vec::new()));
    let (list, known) = (points.clone(), known.clone());
    let (origin, store, crashes) = (origin.clone(), store.clone(), config.crashes);
    drive::watch(Some(Rc::new(move || {
        if (machine::random() & 0xffff) >= crashes || list.borrow().len() >= MAX_POINTS {
            return;
        }
        let disks = Disks {
            origin: origin.disk().clone(),
            store: store.disk().clone(),
        };
        let known = known.borrow().clone();
        list.borrow_mut().push(Point { disks, known });
    })));
    points
}

/// Lets the power go, recovers, and compares.
///
/// Errors: what is wrong.
pub(crate) fn recover(config: &Config, point: &Point, seed: u64) -> Result<Recovered, String> {
    let mut rng = Rng::new(seed);
    let fates = [Fate::Any, Fate::Any, Fate::Kept, Fate::Lost];
    let mut crash = |disk: &sim::SimDisk| {
        let fate = fates[rng.below(fates.len() as u64) as usize];
        disk.crash_as(fate, &mut rng)
    };
    let disks = Disks {
        origin: crash(&point.disks.origin),
        store: crash(&point.disks.store),
    };
    let is_hard = [&disks.origin, &disks.store]
        .iter()
        .any(|disk| disk.torn || disk.reordered);
    let setup = Setup {
        seed,
        odds: 200,
        limit: LIMIT,
    };
    let (config, known) = (config.clone(), point.known.clone());
    machine::run(setup, move || {
        let device = Device::create(&config, disks, seed)?;
        let known = compare(&config, &device, &known)?;
        let disks = device.remove();
        Ok(Recovered {
            disks,
            known,
            is_hard,
        })
    })
}

/// Compares a device that has just been made with what is known.
///
/// Errors: what is wrong.
pub(crate) fn compare(config: &Config, device: &Device, known: &Oracle) -> Result<Oracle, String> {
    if device.mapped.engine.state().unproven() > 0 {
        let trusted = device.mapped.engine.upkeep().trust();
        trusted.map_err(|error| format!("trust: {error:?}"))?;
    }
    let now = oracle::image(config, &device.origin);
    verify::recovered(config, &device.mapped, known, &now)
}
