// SPDX-License-Identifier: GPL-2.0

//! The protocol survives crashes, every known mistake does not, and for the reason for which it is
//! one.

#![forbid(unsafe_code)]

mod common;

use common::all_are_caught;
use common::caught;
use common::explore;
use common::happens;
use common::harmless_break_nothing;
use common::proved;
use model::crash::config::Config;
use model::crash::config::Saves;
use model::crash::config::BOOKMARK;
use model::crash::config::COPIES;
use model::crash::config::DESIGNATION;
use model::crash::config::DROPPED;
use model::crash::config::FAILING;
use model::crash::config::GIVEN_UP;
use model::crash::config::GONE;
use model::crash::config::REGION;
use model::crash::config::RELEASED;
use model::crash::config::WORLDS;
use model::crash::invariant::CHANGED;
use model::crash::invariant::SUBMITTED;
use model::crash::invariant::UNDONE;
use model::crash::state::Keeper;
use model::crash::state::Record;
use model::crash::state::State;
use model::crash::state::Write;
use model::crash::trap::Trap;
use model::crash::world::Model;
use model::crash::world::Who;
use model::explore::hunt;
use model::explore::prove;
use model::invariant::Broken;
use model::invariant::GARBAGE;
use model::invariant::LOST;
use model::invariant::MISSED;
use model::trap::Mistake;

#[test]
fn nothing_breaks() {
    explore(WORLDS);
}

/// What the shortest run breaks first; nothing for a variant that is none.
fn expected(trap: Trap) -> Option<Broken> {
    Some(match trap {
        Trap::LateRecord => CHANGED,
        Trap::DropEarly | Trap::ReleaseEarly | Trap::AskMarks => LOST,
        Trap::GoneEarly | Trap::GiveUpEarly => LOST,
        Trap::FailingDrops | Trap::FailingSameEpoch => LOST,
        Trap::FailingObeys => UNDONE,
        Trap::ControlsAgain | Trap::CloseAtEnd => LOST,
        Trap::Unwanted => GARBAGE,
        Trap::OutOfOrder | Trap::CutNext | Trap::LetIn => SUBMITTED,
        Trap::AmidOrder => UNDONE,
        Trap::NarrowUnsaved | Trap::NarrowEarly | Trap::NoFlush | Trap::NoWait => MISSED,
        Trap::RegionKeptEpoch | Trap::RegionLateEpoch => MISSED,
        Trap::UnwantedUnmarked | Trap::AskedAgain => MISSED,
        Trap::RegionKeptPeriod | Trap::RegionLatePeriod => MISSED,
        Trap::ProtectEarly | Trap::RegionCarried | Trap::OldPeriod => return None,
    })
}

#[test]
fn every_trap_is_caught() {
    all_are_caught::<Config>(expected);
}

#[test]
fn harmless_variants_break_nothing() {
    let worlds = [&COPIES, &REGION, &RELEASED, &DESIGNATION];
    harmless_break_nothing(&worlds, expected);
}

/// With all marks saved before the index, a saved mark of a chunk that was copied has its copy
/// saved too, and replay may ask the marks. The protocol's rule needs no order.
#[test]
fn the_order_of_saving_matters_only_to_a_replay_that_asks_marks() {
    let saves = |config: &Config, saves| Config { saves, ..*config };
    for config in [&COPIES, &BOOKMARK, &RELEASED, &GONE] {
        let world = saves(config, Saves::MarksFirst);
        assert_eq!(proved(&world, Trap::AskMarks), None, "{}", config.name);
    }
    let world = saves(&COPIES, Saves::IndexFirst);
    assert_eq!(caught(&world, Trap::AskMarks), Some(LOST));
}

#[test]
fn the_situations_that_matter_occur() {
    let marks = |state: &State| state.root.timeline.marks();
    let copies = |state: &State| state.root.timeline.epochs[0].copies;
    happens(&COPIES, "a root with a mark but not its copy", |state| {
        let first = state.root.timeline.count == 1;
        first && marks(state) & 1 != 0 && !copies(state)[0].is_copy()
    });
    happens(&COPIES, "a root with a copy but not its mark", |state| {
        let first = state.root.timeline.count == 1;
        first && marks(state) & 1 == 0 && copies(state)[0].is_copy()
    });
    happens(
        &COPIES,
        "a cut before a snapshot that is in the root",
        |state| state.log.records[..state.root.next as usize].contains(&Record::Epoch),
    );
    happens(&COPIES, "a snapshot beside a checkpoint", |state| {
        let begun = state.saving.map(|saving| saving.timeline.count);
        begun.is_some_and(|count| count < state.now.count)
    });
    happens(&DROPPED, "a crash after a crash", |state| {
        state.crashes == 0 && state.keeper == Keeper::Idle
    });
    happens(&COPIES, "a write that the origin's cache loses", |state| {
        let marked = state.now.epochs[0].marks & 1 != 0;
        let lost = state.origin[0].possible() == &state.truth[0].start[..1];
        state.keeper == Keeper::Recovering && marked && lost
    });
}

/// A loss takes effect when it is durable: else a crash leaves a write of which neither a copy nor
/// a loss is known.
#[test]
fn i1_a_chunk_is_not_gone_before_that_is_durable() {
    happens(&GONE, "a loss that a crash leaves in the log", |state| {
        let (epoch, truth) = (state.now.epochs[0], state.truth[0]);
        state.keeper == Keeper::Recovering && epoch.marks & truth.lost & 1 != 0
    });
    happens(&GONE, "a write of a chunk that is gone", |state| {
        let flying = state
            .writers
            .iter()
            .any(|writer| writer.step == Write::Flying);
        flying && state.truth[0].lost & 1 != 0 && !state.now.epochs[0].copies[0].is_copy()
    });
    assert!(prove(&Model::new(&GONE, None)).found.is_none());
    let found = hunt(&Model::new(&GONE, Some(Trap::GoneEarly))).found;
    let found = found.expect("the trap is not caught");
    assert_eq!(found.broken, LOST);
    // It takes a crash.
    assert!(found.run.iter().any(|(action, _)| action.who == Who::Crash));
    let without = Config { crashes: 0, ..GONE };
    assert_eq!(proved(&without, Trap::GoneEarly), None);
}

/// A snapshot that is given up while the store is good is so when it is durable: else a crash
/// brings it back, without what was overwritten meanwhile.
#[test]
fn i1_a_snapshot_is_not_given_up_before_that_is_durable() {
    let given_up = |state: &State| !state.now.snapshots[0].live;
    happens(&GIVEN_UP, "a snapshot that stays given up", |state| {
        state.keeper == Keeper::Recovering && given_up(state)
    });
    happens(
        &GIVEN_UP,
        "a snapshot that is about to be given up",
        |state| {
            let logged = state.log.records.contains(&Record::GiveUp(0));
            logged && !given_up(state) && state.dirty
        },
    );
    happens(&GIVEN_UP, "a write that goes on without a copy", |state| {
        let (epoch, region) = (state.now.epochs[0], state.dirty);
        let marked = epoch.marks & 1 != 0 && !epoch.copies[0].is_copy();
        given_up(state) && marked && region && state.now.count == 1
    });
    assert!(prove(&Model::new(&GIVEN_UP, None)).found.is_none());
    let found = hunt(&Model::new(&GIVEN_UP, Some(Trap::GiveUpEarly))).found;
    let found = found.expect("the trap is not caught");
    assert_eq!(found.broken, LOST);
    assert!(found.run.iter().any(|(action, _)| action.who == Who::Crash));
    let without = Config {
        crashes: 0,
        ..GIVEN_UP
    };
    assert_eq!(proved(&without, Trap::GiveUpEarly), None);
}

/// While a store fails in which that cannot even be said, every snapshot stays, and what would have
/// to be logged waits: when the store is found again, nothing has passed that it does not know of.
#[test]
fn i1_i3_nothing_is_dropped_while_the_store_is_failing() {
    let waits = |state: &State, chunk: u8| {
        let mut writers = state.writers.iter();
        writers.any(|writer| writer.chunks & chunk != 0 && writer.step == Write::Start)
    };
    let marked = |state: &State| state.now.epochs[0].marks;
    happens(&FAILING, "a first write that waits", |state| {
        state.failing && state.dirty && waits(state, 0b01) && marked(state) == 0
    });
    happens(&FAILING, "one that the log knows of and passes", |state| {
        let mut writers = state.writers.iter();
        let passes = writers.any(|writer| writer.chunks == 0b10 && writer.step == Write::Direct);
        state.failing && passes
    });
    happens(&FAILING, "an epoch that failed and is found", |state| {
        let alone = state.now.count == 2 && !state.now.snapshots[1].live;
        let found = state.log.records.contains(&Record::Epoch);
        state.failing && alone && found && state.keeper == Keeper::Idle
    });
    happens(&FAILING, "a recovery from it", |state| {
        let recovering = state.keeper == Keeper::Recovering;
        recovering && state.failures == 0 && state.now.snapshots[0].live
    });
    assert!(prove(&Model::new(&FAILING, None)).found.is_none());
    for trap in [
        Trap::FailingDrops,
        Trap::FailingObeys,
        Trap::FailingSameEpoch,
    ] {
        let found = hunt(&Model::new(&FAILING, Some(trap))).found;
        let found = found.expect("the trap is not caught");
        assert!(found.run.iter().any(|(action, _)| action.who == Who::Disk));
        // Nobody notices before the store is read again.
        let last = found.run.last().map(|(action, _)| action.who);
        assert_eq!(last, Some(Who::Crash), "{}", trap.name());
    }
}
