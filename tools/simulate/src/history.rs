// SPDX-License-Identifier: GPL-2.0

//! The history of a device: lives, each from what the one before has left, or a crash in it.

#![forbid(unsafe_code)]

use crate::config::Config;
use crate::config::Faults;
use crate::crash;
use crate::crash::Point;
use crate::crash::LIMIT;
use crate::device::Disks;
use crate::device::Machine;
use crate::mapped::Mapped;
use crate::oracle::Oracle;
use crate::totals::Totals;
use crate::users::Users;
use dm_shim::drive;
use dm_shim::on_close;
use kernel::machine;
use kernel::machine::Setup;
use kernel::pr_info;
use sim::Fate;
use sim::Rng;
use std::cell::RefCell;
use std::panic::catch_unwind;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;

/// How long nobody uses a device before it is looked at, in nanoseconds.
const REST_NS: u64 = 5_000_000_000;

/// What a life has left.
struct Left {
    disks: Disks,
    known: Oracle,
    points: Vec<Point>,
    written: u64,
}

/// Runs the history of a seed.
///
/// Errors: what is wrong, and where.
pub fn run(config: &Config) -> Result<Totals, String> {
    let result = catch_unwind(AssertUnwindSafe(|| run_lives(config)));
    drive::watch(None);
    on_close(None);
    result.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string()));
        Err(format!("panic: {}", text.unwrap_or_default()))
    })
}

fn run_lives(config: &Config) -> Result<Totals, String> {
    let mut totals = Totals::default();
    let mut rng = Rng::new(config.seed);
    let (mut disks, mut known) = (Disks::new(config), Oracle::new(config));
    let mut written = 0;
    for life in 0..config.get("lives") {
        let in_life = |what: String| format!("life {life}: {what}");
        pr_info!("=== life {life}");
        let left = live(config, disks, known, written, rng.next()).map_err(in_life)?;
        totals.lives += 1;
        totals.writes += left.written - written;
        totals.snapshots += left.known.next_id - 1;
        written = left.written;
        (disks, known) = (left.disks, left.known);
        if known.was_bypassed {
            (disks, known) = reboot(config, disks, known, rng.next()).map_err(in_life)?;
        }
        // The device goes on after its removal, or after one of the crashes.
        let goes_on = rng.below(2 * left.points.len().max(1) as u64) as usize;
        for (n, point) in left.points.iter().enumerate() {
            let in_crash = |what: String| format!("life {life}, crash {n}: {what}");
            pr_info!("=== life {life}, crash {n}, at {}", point.at);
            let recovered = crash::recover(config, point, rng.next()).map_err(in_crash)?;
            totals.recoveries += 1;
            totals.hard += u64::from(recovered.is_hard);
            if let (true, Some(there)) = (n == goes_on, recovered.known) {
                (disks, known) = (recovered.disks, there);
            }
        }
    }
    Ok(totals)
}

/// A life: the device is made, used and removed.
fn live(
    config: &Config,
    disks: Disks,
    known: Oracle,
    written: u64,
    seed: u64,
) -> Result<Left, String> {
    let setup = Setup {
        seed,
        odds: config.get("odds"),
        limit: LIMIT,
    };
    let config = config.clone();
    machine::run(setup, move || {
        let machine = Machine::boot(disks, seed)?;
        let known = Rc::new(RefCell::new(known));
        let watched = Rc::new(RefCell::new(None));
        let points = crash::collect(&config, &machine, &watched, &known);
        let mapped = machine.create(&config)?;
        watched.replace(Some(mapped.clone()));
        let there = crash::compare(&config, &machine, &mapped, &known.borrow())?;
        known.replace(there.ok_or("the store is not trusted")?);
        let users = Users::new(&config, &machine, &mapped, known.clone(), written);
        users.run();
        // The engine may still be busy with what has gone wrong.
        machine::sleep(REST_NS);
        note_given_up(&mapped, &known, &points);
        let mut known = known.borrow().clone();
        known.has_failed = mapped.engine.has_failed();
        let there = crash::compare(&config, &machine, &mapped, &known)?;
        let written = users.written();
        drop(users);
        let known = there.unwrap_or(known);
        let replaced = Replaced::of(&config);
        match replaced {
            Replaced::No => machine.remove(mapped),
            Replaced::SameBoot | Replaced::OtherBoot => machine.replace(mapped),
        }
        watched.take();
        drive::watch(None);
        let points = points.take();
        let known = match replaced {
            Replaced::No => again(&config, &machine, known)?,
            Replaced::SameBoot => again(&config, &machine, bypassed(&machine, known))?,
            Replaced::OtherBoot => bypassed(&machine, known),
        };
        Ok(Left {
            disks: machine.shut_down(),
            known,
            points: match config.options.transient {
                true => Vec::new(),
                false => points,
            },
            written,
        })
    })
}

/// Whether a foreign table takes the device's place at the end of a life.
#[derive(Clone, Copy)]
enum Replaced {
    No,
    /// And the device is made again in the same boot.
    SameBoot,
    /// And the power goes before the device is made again.
    OtherBoot,
}

impl Replaced {
    fn of(config: &Config) -> Self {
        match config.get("replaced") {
            // A store that cannot be written does not say that it must not be believed.
            _ if config.faults == Faults::Store => Self::No,
            0 => Self::No,
            1 => Self::SameBoot,
            _ => Self::OtherBoot,
        }
    }
}

/// Writes past the engine, as a foreign table does: now and then where the origin's fingerprint
/// shows it. Returns what is known then.
fn bypassed(machine: &Machine, known: Oracle) -> Oracle {
    if machine::below(2) == 0 {
        // Whether it succeeds or not, it might have.
        let written = machine.write_past();
        pr_info!("a write past the engine: {written:?}");
    }
    Oracle {
        was_bypassed: true,
        ..known
    }
}

/// Lets the power go after a foreign table has had the device's place, and makes the device again.
fn reboot(
    config: &Config,
    disks: Disks,
    known: Oracle,
    seed: u64,
) -> Result<(Disks, Oracle), String> {
    let setup = Setup {
        seed,
        odds: config.get("odds"),
        limit: LIMIT,
    };
    let mut rng = Rng::new(seed);
    let disks = Disks {
        origin: disks.origin.crash_as(Fate::Any, &mut rng),
        store: disks.store.crash_as(Fate::Lost, &mut rng),
    };
    let config = config.clone();
    machine::run(setup, move || {
        let machine = Machine::boot(disks, seed)?;
        let known = again(&config, &machine, known)?;
        Ok((machine.shut_down(), known))
    })
}

/// Makes the device once more in the same boot, compares, and removes it.
fn again(config: &Config, machine: &Machine, known: Oracle) -> Result<Oracle, String> {
    let mapped = machine.create(config)?;
    let there = crash::compare(config, machine, &mapped, &known);
    machine.remove(mapped);
    there?.ok_or("a store of the same boot is not trusted".into())
}

/// Takes note of what the engine has given up in a life by itself: from then on it may be gone.
fn note_given_up(mapped: &Mapped, known: &Rc<RefCell<Oracle>>, points: &Rc<RefCell<Vec<Point>>>) {
    let timeline = mapped.engine.state().timeline();
    // Others may run while it is asked.
    let mut gone: Vec<u64> = known.borrow().snaps.keys().copied().collect();
    gone.retain(|id| {
        timeline
            .snapshot(*id)
            .is_none_or(|entry| entry.is_dropped())
    });
    let (mut oracle, mut points) = (known.borrow_mut(), points.borrow_mut());
    let all = points.iter_mut().map(|point| &mut point.known);
    for known in all.chain([&mut *oracle]) {
        for id in &gone {
            if let Some(snap) = known.snaps.get_mut(id) {
                snap.may_be_gone = true;
            }
        }
    }
}
