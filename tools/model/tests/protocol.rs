// SPDX-License-Identifier: GPL-2.0

//! The right protocol breaks nothing, in any order of steps, and the orders that matter do occur.

#![forbid(unsafe_code)]

use model::config::Config;
use model::config::INCREMENTAL;
use model::config::ONE_CHUNK_THREE_WRITERS;
use model::config::ONE_CHUNK_TWO_READERS;
use model::config::WIDE_BIOS;
use model::config::WORLDS;
use model::explore::prove;
use model::explore::search;
use model::model::Model;
use model::state::Frozen;
use model::state::State;
use model::state::Write;
use model::trace::tell;

/// Every world, divided among two tests, which run beside each other.
fn explore<'a>(worlds: impl Iterator<Item = &'a Config>) {
    for config in worlds {
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

#[test]
fn nothing_breaks_in_the_even_worlds() {
    explore(WORLDS.iter().step_by(2));
}

#[test]
fn nothing_breaks_in_the_odd_worlds() {
    explore(WORLDS.iter().skip(1).step_by(2));
}

/// What has been shown never to break must also happen: a situation that the model cannot reach
/// proves nothing.
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
            let flown = state.origin[0] != state.epochs[state.present()].start[0];
            let marked = |me: &model::state::Writer| me.valid & state.marks() != 0;
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
            let again = |me: &model::state::Writer| me.step == Write::Read && me.decided == me.stay;
            state.writers.iter().any(|me| again(me) && me.stay > 0)
        },
    );
    happens(
        &WIDE_BIOS,
        "a writer that waits for a claim while holding another",
        |state| {
            let taken = |bits: u8| state.writers.iter().any(|other| other.claims & bits != 0);
            let waits = |me: &model::state::Writer| me.claims != 0 && taken(me.want & !me.claims);
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
        |state| state.count > 1 && state.snapshots[1].keeps != state.snapshots[1].protected,
    );
}
