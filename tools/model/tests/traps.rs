// SPDX-License-Identifier: GPL-2.0

//! Every known mistake is caught, for the reason for which it is one.

#![forbid(unsafe_code)]

mod common;

use common::all_are_caught;
use common::caught;
use common::harmless_break_nothing;
use common::proved;
use model::explore::search;
use model::invariant::Broken;
use model::invariant::GARBAGE;
use model::invariant::LOST;
use model::invariant::STUCK;
use model::run::config::Config;
use model::run::config::INCREMENTAL;
use model::run::config::ONE_CHUNK_THREE_WRITERS;
use model::run::config::WIDE_BIOS;
use model::run::invariant::reads;
use model::run::invariant::CLOSED;
use model::run::invariant::INEXACT;
use model::run::invariant::UNJUST;
use model::run::invariant::WRONG;
use model::run::trap::Trap;
use model::run::world::Model;
use model::trap::Mistake;
use model::user::Order;
use model::user::FULL;

/// What the shortest run breaks first; nothing for a variant that is none.
fn expected(trap: Trap) -> Option<Broken> {
    Some(match trap {
        Trap::SecondLookOldList | Trap::NoSecondLook | Trap::FreeUnderReader => WRONG,
        Trap::NewestMark => UNJUST,
        Trap::DropFreesEpoch | Trap::NeedOfLatestOnly | Trap::LiveDesignation => LOST,
        Trap::NarrowEarly | Trap::NoDrain | Trap::IndexMarkSplit | Trap::StaleNoNeed => LOST,
        Trap::MarkBeforeIndex | Trap::SubmitBeforeMark | Trap::TwoStays => LOST,
        Trap::MarkClosed | Trap::NoLook => CLOSED,
        Trap::StaleRecord | Trap::StaleContent | Trap::NoRecheck | Trap::NoClaims => GARBAGE,
        Trap::MarkLeftBehind => INEXACT,
        Trap::ClaimWhileHolding | Trap::WaitInside => STUCK,
        Trap::NoClaimsButRecheck => return None,
    })
}

#[test]
fn every_trap_is_caught() {
    all_are_caught::<Config>(expected);
}

/// Reads of both snapshots, and need that shrinks for each of them without dropping it.
const READ: Config = Config {
    writers: &[0b001, 0b001],
    readers: &[(0, 0), (1, 0)],
    snapshots: &[FULL, FULL],
    orders: &[
        Order::Release(0, 0b001),
        Order::Drop(0),
        Order::Release(1, 0b001),
    ],
    ..ONE_CHUNK_THREE_WRITERS
};

/// Not only the checker, who sees everything, but a frozen read finds out.
#[test]
fn a_frozen_read_suffers() {
    const SUFFERS: &[Trap] = &[
        Trap::SecondLookOldList,
        Trap::NoSecondLook,
        Trap::NewestMark,
        Trap::FreeUnderReader,
        Trap::DropFreesEpoch,
        Trap::NeedOfLatestOnly,
        Trap::NoDrain,
        Trap::MarkClosed,
        Trap::IndexMarkSplit,
        Trap::NoLook,
        Trap::StaleRecord,
        Trap::StaleNoNeed,
        Trap::StaleContent,
        Trap::NoRecheck,
        Trap::NoClaims,
        Trap::MarkBeforeIndex,
        Trap::SubmitBeforeMark,
    ];
    for &trap in SUFFERS {
        let model = Model::new(&READ, Some(trap));
        let outcome = search(&model, |state, _| reads(state));
        assert!(outcome.found.is_some(), "{}", trap.name());
    }
}

/// Without claims, copiers of a chunk meet in the recheck; what they lose is a copy, no content.
#[test]
fn harmless_variants_break_nothing() {
    let worlds = [&ONE_CHUNK_THREE_WRITERS, &WIDE_BIOS, &INCREMENTAL];
    harmless_break_nothing(&worlds, expected);
}

/// While need shrinks only from one epoch to the next, claims alone keep the copiers right; the
/// recheck is what a drop or release in the middle of a copy asks for. So the two guard against
/// different things.
#[test]
fn the_recheck_is_for_need_that_shrinks() {
    let steady = Config {
        orders: &[],
        ..ONE_CHUNK_THREE_WRITERS
    };
    for trap in [Trap::NoRecheck, Trap::StaleContent] {
        assert_eq!(proved(&steady, trap), None, "{}", trap.name());
    }
    assert_eq!(caught(&steady, Trap::NoClaims), Some(GARBAGE));
}
