// SPDX-License-Identifier: GPL-2.0

//! The right protocol breaks nothing, in any order of steps, and the orders that matter do occur.

#![forbid(unsafe_code)]

mod common;

use common::explore;
use common::happens;
use model::run::config::INCREMENTAL;
use model::run::config::ONE_CHUNK_THREE_WRITERS;
use model::run::config::ONE_CHUNK_TWO_READERS;
use model::run::config::WIDE_BIOS;
use model::run::config::WORLDS;
use model::run::state::Frozen;
use model::run::state::Write;
use model::run::state::Writer;

/// Every world, divided among two tests, which run beside each other.
#[test]
fn nothing_breaks_in_the_even_worlds() {
    explore(WORLDS.iter().step_by(2));
}

#[test]
fn nothing_breaks_in_the_odd_worlds() {
    explore(WORLDS.iter().skip(1).step_by(2));
}

#[test]
fn the_orders_that_matter_occur() {
    happens(
        &ONE_CHUNK_THREE_WRITERS,
        "a copy discarded because of a direct mark",
        |state| {
            state
                .writers
                .iter()
                .any(|me| me.step == Write::Index && me.valid == 0)
        },
    );
    happens(
        &ONE_CHUNK_THREE_WRITERS,
        "a direct mark and its write between check and index",
        |state| {
            let flown = state.origin[0] != state.truth[state.timeline.present()].start[0];
            let marked = |me: &Writer| me.valid & state.timeline.marks() != 0;
            flown
                && state
                    .writers
                    .iter()
                    .any(|me| me.step == Write::Index && marked(me))
        },
    );
    happens(
        &ONE_CHUNK_THREE_WRITERS,
        "content kept for a new epoch",
        |state| {
            state
                .writers
                .iter()
                .any(|me| me.step == Write::Index && me.since < me.decided)
        },
    );
    happens(
        &ONE_CHUNK_THREE_WRITERS,
        "content read again in a new epoch",
        |state| {
            let again = |me: &Writer| me.step == Write::Read && me.decided == me.stay;
            state.writers.iter().any(|me| again(me) && me.stay > 0)
        },
    );
    happens(
        &WIDE_BIOS,
        "a writer that waits for a claim while holding another",
        |state| {
            let taken = |bits: u8| state.writers.iter().any(|other| other.claims & bits != 0);
            let waits = |me: &Writer| me.claims != 0 && taken(me.want & !me.claims);
            state
                .writers
                .iter()
                .any(|me| me.step == Write::Claim && waits(me))
        },
    );
    happens(
        &ONE_CHUNK_TWO_READERS,
        "a mark found at the second look, by both",
        |state| {
            state
                .readers
                .iter()
                .all(|me| me.step == Frozen::Lookup && me.second)
        },
    );
    happens(
        &INCREMENTAL,
        "a chunk out of an incremental scope",
        |state| {
            let snapshot = state.timeline.snapshots[1];
            state.timeline.count > 1 && snapshot.keeps != snapshot.protected
        },
    );
}
