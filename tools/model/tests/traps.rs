// SPDX-License-Identifier: GPL-2.0

//! Every known mistake is caught, for the reason for which it is one.

#![forbid(unsafe_code)]

use model::config::Config;
use model::config::Order;
use model::config::FULL;
use model::config::INCREMENTAL;
use model::config::ONE_CHUNK_THREE_WRITERS;
use model::config::WIDE_BIOS;
use model::explore::hunt;
use model::explore::prove;
use model::explore::search;
use model::invariant::reads;
use model::invariant::Broken;
use model::invariant::CLOSED;
use model::invariant::GARBAGE;
use model::invariant::INEXACT;
use model::invariant::LOST;
use model::invariant::STUCK;
use model::invariant::UNJUST;
use model::invariant::WRONG;
use model::model::Model;
use model::trap::Trap;

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
    for &trap in Trap::ALL
        .iter()
        .filter(|trap| !Trap::HARMLESS.contains(trap))
    {
        let outcome = hunt(&Model::new(trap.world(), Some(trap)));
        let broken = outcome.found.map(|found| found.broken);
        assert_eq!(broken, expected(trap), "{}", trap.name());
    }
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
    for &trap in Trap::HARMLESS {
        for config in [&ONE_CHUNK_THREE_WRITERS, &WIDE_BIOS, &INCREMENTAL] {
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
        let found = prove(&Model::new(&steady, Some(trap))).found;
        assert_eq!(found.map(|found| found.broken), None, "{}", trap.name());
    }
    let found = hunt(&Model::new(&steady, Some(Trap::NoClaims))).found;
    assert_eq!(found.map(|found| found.broken), Some(GARBAGE));
}
