// SPDX-License-Identifier: GPL-2.0

//! What must hold in every state, before, in and after crashes.

#![forbid(unsafe_code)]

use crate::config::Order;
use crate::crash::model::Action;
use crate::crash::model::Model;
use crate::crash::state::each;
use crate::crash::state::Keeper;
use crate::crash::state::Record;
use crate::crash::state::State;
use crate::crash::state::Step;
use crate::invariant::Broken;
use crate::invariant::GARBAGE;
use crate::invariant::LOST;
use crate::invariant::MISSED;
use crate::invariant::MISSED_BETWEEN;
use crate::invariant::STUCK;

/// I2: a write was submitted before the content that it destroys was durable and sure to be found.
pub const SUBMITTED: Broken =
    "I2: a write was submitted before the content that it destroys was durable and sure to be \
     found";
/// A snapshot, drop or release that was reported as done is undone by a crash.
pub const UNDONE: Broken =
    "a snapshot, drop or release that was reported as done is undone by a crash";
/// Rule 1: a closed epoch lost a mark, or changed although the root has it as closed.
pub const CHANGED: Broken =
    "rule 1: a closed epoch lost a mark, or changed although the root has it as closed";

/// The first property that `state` breaks. `steps` are those that it allows.
pub fn broken(model: &Model, state: &State, steps: &[(Action, State)]) -> Option<Broken> {
    promises(model, state)
        .or_else(|| contents(state))
        .or_else(|| submitted(state))
        .or_else(|| changes(state))
        .or_else(|| marks(state))
        .or_else(|| stuck(state, steps))
}

/// What was reported as done stays done.
fn promises(model: &Model, state: &State) -> Option<Broken> {
    let done = |(index, order): (usize, &Order)| {
        let snapshot = |number: u8| &state.now.snapshots[number as usize];
        state.reported & (1 << index) == 0
            || match *order {
                Order::Drop(number) => !snapshot(number).live,
                Order::Release(number, chunks) => snapshot(number).released & chunks == chunks,
                // Seen in what the next snapshot protects.
                Order::Protect(_) | Order::Unprotect(_) => true,
            }
    };
    let orders = model.config.orders.iter().enumerate().all(done);
    (!orders || state.now.count < state.begun).then_some(UNDONE)
}

/// Whether `snapshot` owes the content of `chunk`.
fn insists(state: &State, number: usize, chunk: usize) -> bool {
    let snapshot = &state.now.snapshots[number];
    let mark = state.now.oldest_mark(number, chunk);
    let lost = mark.is_some_and(|mark| state.truth[mark].lost & (1 << chunk) != 0);
    let owed = state.truth[number].owed & !snapshot.released;
    snapshot.live && !lost && owed & (1 << chunk) != 0
}

/// I1, for every snapshot and chunk, whether or not anybody reads it.
fn contents(state: &State) -> Option<Broken> {
    for chunk in each(!0) {
        for number in 0..state.now.count as usize {
            let start = state.truth[number].start[chunk];
            let copy = state.now.epochs[number].copies[chunk];
            if copy.is_some_and(|content| content != start) {
                return Some(GARBAGE);
            }
            let read = match state.now.oldest_mark(number, chunk) {
                _ if state.now.snapshots[number].protected & (1 << chunk) == 0 => None,
                Some(mark) => state.now.epochs[mark].copies[chunk],
                None => Some(state.origin[chunk].now()),
            };
            if insists(state, number, chunk) && read != Some(start) {
                return Some(LOST);
            }
        }
    }
    None
}

/// I2, for the writes under way. That recovery finds the copies of those that have ended is seen in
/// crashes.
fn submitted(state: &State) -> Option<Broken> {
    let flying = state
        .writers
        .iter()
        .filter(|writer| writer.step == Step::Flying);
    let chunks = flying.fold(0, |chunks, writer| chunks | writer.chunks);
    for chunk in each(chunks) {
        for number in 0..state.now.count as usize {
            let mark = state.now.oldest_mark(number, chunk);
            let found = mark.is_some_and(|mark| durable(state, mark, chunk));
            if insists(state, number, chunk) && !found {
                return Some(SUBMITTED);
            }
        }
    }
    None
}

/// Whether the copy of `chunk` for that epoch is in the root, or in the part of the log that is
/// durable.
fn durable(state: &State, number: usize, chunk: usize) -> bool {
    let log = &state.log.records[..state.log.durable as usize];
    let logged = log.iter().any(|record| match record {
        Record::Copy { epoch, chunks, .. } => {
            *epoch as usize == number && chunks & (1 << chunk) != 0
        }
        _ => false,
    });
    logged || state.root.timeline.epochs[number].copies[chunk].is_some()
}

/// I3, since every snapshot and bookmark: up to now, whatever the origin's cache may lose, and up
/// to every later one.
fn changes(state: &State) -> Option<Broken> {
    let count = state.now.count as usize;
    for chunk in each(!0) {
        for from in 0..count {
            let start = state.truth[from].start[chunk];
            let marked = |to| state.now.marked(from, to) & (1 << chunk) != 0;
            let possible = state.origin[chunk].possible();
            if possible.iter().any(|content| *content != start) && !marked(count) {
                return Some(MISSED);
            }
            let missed = |to: &usize| start != state.truth[*to].start[chunk] && !marked(*to);
            if (from + 1..count).any(|to| missed(&to)) {
                return Some(MISSED_BETWEEN);
            }
        }
    }
    None
}

/// A closed epoch keeps its marks; a crash may add some, until the root has it as closed.
fn marks(state: &State) -> Option<Broken> {
    let saved = state.root.timeline.present();
    (0..state.now.present()).find_map(|number| {
        let (epoch, sealed) = (&state.now.epochs[number], state.truth[number].sealed);
        let kept = match state.keeper {
            Keeper::Recovering => epoch.marks & sealed == sealed,
            _ => epoch.marks == sealed,
        };
        let same = number >= saved || *epoch == state.root.timeline.epochs[number];
        (!kept || !same).then_some(CHANGED)
    })
}

/// I4: when nobody begins anything new, everything that was begun can end, unless it waits for a
/// store that can be written.
fn stuck(state: &State, steps: &[(Action, State)]) -> Option<Broken> {
    let done = state.writers.iter().all(|writer| writer.step == Step::Done);
    let ended = done && state.keeper == Keeper::Idle;
    let goes_on = steps.iter().any(|(action, _)| action.is_due());
    (!ended && !goes_on && !state.failing).then_some(STUCK)
}
