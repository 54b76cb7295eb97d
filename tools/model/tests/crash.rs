// SPDX-License-Identifier: GPL-2.0

//! The protocol survives crashes, every known mistake does not, and for the reason for which it is one.

#![forbid(unsafe_code)]

use model::crash::config::Config;
use model::crash::config::Saves;
use model::crash::config::BOOKMARK;
use model::crash::config::COPIES;
use model::crash::config::DESIGNATION;
use model::crash::config::DROPPED;
use model::crash::config::GONE;
use model::crash::config::REGION;
use model::crash::config::RELEASED;
use model::crash::config::WORLDS;
use model::crash::invariant::CHANGED;
use model::crash::invariant::SUBMITTED;
use model::crash::invariant::UNDONE;
use model::crash::model::Model;
use model::crash::state::Keeper;
use model::crash::state::Record;
use model::crash::state::State;
use model::crash::trace::tell;
use model::crash::trap::Trap;
use model::explore::hunt;
use model::explore::prove;
use model::explore::search;
use model::invariant::Broken;
use model::invariant::GARBAGE;
use model::invariant::LOST;
use model::invariant::MISSED;

#[test]
fn nothing_breaks() {
    for config in WORLDS {
        let model = Model::new(config, None);
        let outcome = prove(&model);
        println!(
            "{}: {} states, {} steps",
            config.name, outcome.states, outcome.steps
        );
        if let Some(found) = outcome.found {
            panic!("{}\n{}", config.name, tell(&model, &found));
        }
    }
}

/// What the shortest run breaks first; nothing for a variant that is none.
fn expected(trap: Trap) -> Option<Broken> {
    Some(match trap {
        Trap::LateRecord => CHANGED,
        Trap::DropEarly | Trap::ReleaseEarly | Trap::AskMarks => LOST,
        Trap::ControlsAgain | Trap::CloseAtEnd => LOST,
        Trap::Unwanted => GARBAGE,
        Trap::OutOfOrder | Trap::CutNext | Trap::LetIn => SUBMITTED,
        Trap::AmidOrder => UNDONE,
        Trap::NarrowUnsaved | Trap::NarrowEarly | Trap::NoFlush | Trap::NoWait => MISSED,
        Trap::RegionKeptEpoch | Trap::RegionLateEpoch => MISSED,
        Trap::UnwantedUnmarked | Trap::AskedAgain => MISSED,
        Trap::RegionKeptGeneration | Trap::RegionLateGeneration => MISSED,
        Trap::ProtectEarly | Trap::RegionCarried | Trap::OldGeneration => return None,
    })
}

#[test]
fn every_trap_is_caught() {
    for &trap in Trap::ALL
        .iter()
        .filter(|trap| !Trap::HARMLESS.contains(trap))
    {
        let found = hunt(&Model::new(trap.world(), Some(trap))).found;
        assert_eq!(
            found.map(|found| found.broken),
            expected(trap),
            "{}",
            trap.name()
        );
    }
}

#[test]
fn harmless_variants_break_nothing() {
    for &trap in Trap::HARMLESS {
        for config in [&COPIES, &REGION, &RELEASED, &DESIGNATION] {
            let found = prove(&Model::new(config, Some(trap))).found;
            assert_eq!(
                found.map(|found| found.broken),
                expected(trap),
                "{}",
                trap.name()
            );
        }
    }
}

/// With all marks saved before the index, a saved mark of a chunk that was copied has its copy saved too, and
/// replay may ask the marks. The protocol's rule needs no order.
#[test]
fn the_order_of_saving_matters_only_to_a_replay_that_asks_marks() {
    let saves = |config: &Config, saves| Config { saves, ..*config };
    for config in [&COPIES, &BOOKMARK, &RELEASED, &GONE] {
        let model = Model::new(&saves(config, Saves::MarksFirst), Some(Trap::AskMarks));
        assert!(prove(&model).found.is_none(), "{}", config.name);
    }
    let model = Model::new(&saves(&COPIES, Saves::IndexFirst), Some(Trap::AskMarks));
    assert_eq!(hunt(&model).found.map(|found| found.broken), Some(LOST));
}

/// What has been shown never to break must also happen.
fn happens(config: &Config, what: &str, judge: impl Fn(&State) -> bool) {
    let model = Model::new(config, None);
    let outcome = search(&model, |state, _| judge(state).then_some("reached"));
    assert!(
        outcome.found.is_some(),
        "{} never happens in {}",
        what,
        config.name
    );
}

#[test]
fn the_situations_that_matter_occur() {
    let marks = |state: &State| state.root.timeline.marks();
    let copies = |state: &State| state.root.timeline.epochs[0].copies;
    happens(&COPIES, "a root with a mark but not its copy", |state| {
        let first = state.root.timeline.count == 1;
        first && marks(state) & 1 != 0 && copies(state)[0].is_none()
    });
    happens(&COPIES, "a root with a copy but not its mark", |state| {
        let first = state.root.timeline.count == 1;
        first && marks(state) & 1 == 0 && copies(state)[0].is_some()
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
