// SPDX-License-Identifier: GPL-2.0

//! The power goes: what is on the drives then, and what the engine makes of it.

#![forbid(unsafe_code)]

use crate::config::Config;
use crate::config::Faults;
use crate::device::Disks;
use crate::device::Machine;
use crate::mapped::Mapped;
use crate::oracle;
use crate::oracle::Oracle;
use crate::verify;
use dm_preserve_core::uapi::args::OnError;
use dm_shim::drive;
use kernel::machine;
use kernel::machine::Setup;
use sim::Fate;
use sim::Rng;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc as StdArc;

/// Points at which a run of the machine must have ended.
pub(crate) const LIMIT: u64 = 4_000_000;
/// Most crashes of a life that are looked at.
const MAX_POINTS: usize = 60;

/// How a store is refused whose superblocks were both being written when the power went, for the
/// first time, or in vain as it has failed: nothing in it is shown.
const NO_SUPERBLOCK: [&str; 2] = [
    "refused: The store holds something else: if it may go, wipe its first 8 KiB",
    "refused: Both superblocks of the store are damaged: see preserve check",
];

/// A moment at which the power may go.
#[derive(Clone)]
pub(crate) struct Point {
    /// What is on the drives, in their caches, and on its way.
    disks: Disks,
    /// The time, in nanoseconds.
    pub(crate) at: u64,
    /// What is known then.
    pub(crate) known: Oracle,
}

/// What came of a recovery.
pub(crate) struct Recovered {
    pub(crate) disks: Disks,
    pub(crate) known: Option<Oracle>,
    /// A write was torn, or one kept that was begun after one that was lost.
    pub(crate) is_hard: bool,
}

/// Collects moments, after some of the operations of the drives. `mapped` is the device, once it is
/// there.
pub(crate) fn collect(
    config: &Config,
    machine: &Machine,
    mapped: &Rc<RefCell<Option<StdArc<Mapped>>>>,
    known: &Rc<RefCell<Oracle>>,
) -> Rc<RefCell<Vec<Point>>> {
    let points = Rc::new(RefCell::new(Vec::new()));
    let (list, known) = (points.clone(), known.clone());
    let (origin, store) = (machine.origin.clone(), machine.store.clone());
    let (mapped, crashes) = (mapped.clone(), config.get("crashes"));
    drive::watch(Some(Rc::new(move || {
        if (machine::random() & 0xffff) >= crashes || list.borrow().len() >= MAX_POINTS {
            return;
        }
        let disks = Disks {
            origin: origin.disk().clone(),
            store: store.disk().clone(),
        };
        let mut known = known.borrow().clone();
        let mapped = mapped.borrow();
        known.has_failed = mapped
            .as_ref()
            .is_some_and(|mapped| mapped.engine.has_failed());
        let at = machine::now();
        list.borrow_mut().push(Point { disks, at, known });
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
        let machine = Machine::boot(disks, seed)?;
        let may_have_none = known.has_failed || known.generation.is_none();
        let mapped = match machine.create(&config) {
            Err(why) if may_have_none && NO_SUPERBLOCK.contains(&why.as_str()) => {
                return Ok(Recovered {
                    disks: machine.shut_down(),
                    known: None,
                    is_hard,
                });
            }
            mapped => mapped?,
        };
        let known = match is_behind(&config, &mapped, &known) {
            true => None,
            false => compare(&config, &machine, &mapped, &known)?,
        };
        machine.remove(mapped);
        Ok(Recovered {
            disks: machine.shut_down(),
            known,
            is_hard,
        })
    })
}

/// Returns true if a store may not know of what was done after it had failed. Who keeps notes knows
/// that, whatever it says itself.
fn is_behind(config: &Config, mapped: &Mapped, known: &Oracle) -> bool {
    let is_believed = known.generation == Some(mapped.engine.device().generation());
    let goes_on = config.options.on_error == OnError::Continue;
    known.has_failed && goes_on && is_believed
}

/// Compares a device that has just been made with what is known. Returns what is known then; `None`
/// if what is there must not be relied on.
///
/// Errors: what is wrong.
pub(crate) fn compare(
    config: &Config,
    machine: &Machine,
    mapped: &Mapped,
    known: &Oracle,
) -> Result<Option<Oracle>, String> {
    let generation = mapped.engine.device().generation();
    if known.generation.is_some_and(|before| before != generation) {
        // An origin that cannot be read looks like one that others have written to.
        let may_begin_anew = known.has_failed
            || known.was_bypassed
            || config.options.transient
            || config.faults == Faults::Origin;
        if !may_begin_anew {
            return Err("begins anew, though the store has not failed".into());
        }
        return Ok(Some(Oracle {
            generation: Some(generation),
            ..Oracle::new(config)
        }));
    }
    if known.was_bypassed {
        return Err("is believed, though a foreign table had the device's place".into());
    }
    if mapped.engine.state().unproven() > 0 {
        if known.has_failed {
            // Who keeps notes knows that it must not be trusted.
            return Ok(None);
        }
        let trusted = mapped.engine.upkeep().trust();
        trusted.map_err(|error| format!("trust: {error:?}"))?;
    }
    let now = oracle::image(config, &machine.origin);
    let mut found = verify::recovered(config, mapped, known, &now)?;
    found.generation = Some(generation);
    found.has_failed = mapped.engine.has_failed();
    Ok(Some(found))
}
