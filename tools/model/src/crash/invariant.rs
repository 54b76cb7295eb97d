// SPDX-License-Identifier: GPL-2.0

//! What must hold in every state, before, in and after crashes.

#![forbid(unsafe_code)]

use crate::chunks::each;
use crate::crash::config::Config;
use crate::crash::state::Cached;
use crate::crash::state::Keeper;
use crate::crash::state::Record;
use crate::crash::state::State;
use crate::crash::state::Write;
use crate::crash::state::CHUNKS;
use crate::crash::state::EPOCHS;
use crate::crash::world::Model;
use crate::invariant::Broken;
use crate::invariant::View;
use crate::invariant::STUCK;
use crate::user::Order;
use crate::world::Step;

/// I2: a write was submitted before the content that it destroys was durable and sure to be found.
pub const SUBMITTED: Broken =
    "I2: a write was submitted before the content that it destroys was durable \
     and sure to be found";
/// A snapshot, drop or release that was reported as done is undone by a crash.
pub const UNDONE: Broken =
    "a snapshot, drop or release that was reported as done is undone by a crash";
/// Rule 1: a closed epoch lost a mark, or changed although the root has it as closed.
pub const CHANGED: Broken =
    "rule 1: a closed epoch lost a mark, or changed although the root has it as closed";

/// The first property that `state` breaks. `steps` are those that it allows.
pub(crate) fn broken(model: &Model, state: &State, steps: &[Step<Config>]) -> Option<Broken> {
    promises(model, state)
        .or_else(|| state.view().contents())
        .or_else(|| submitted(state))
        .or_else(|| state.view().changes())
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

impl State {
    /// What is checked in both worlds.
    pub(crate) fn view(&self) -> View<'_, CHUNKS, EPOCHS> {
        View {
            timeline: &self.now,
            truth: &self.truth,
            origin: self.origin.each_ref().map(Cached::possible),
        }
    }
}

/// I2, for the writes under way. That recovery finds the copies of those that have ended is seen in
/// crashes.
fn submitted(state: &State) -> Option<Broken> {
    let flying = state
        .writers
        .iter()
        .filter(|writer| writer.step == Write::Flying);
    let chunks = flying.fold(0, |chunks, writer| chunks | writer.chunks);
    let view = state.view();
    for chunk in each(chunks) {
        for number in 0..state.now.count as usize {
            let mark = view.oldest_mark(number, chunk);
            let found = mark.is_some_and(|mark| durable(state, mark, chunk));
            if view.insists(number, chunk) && !found {
                return Some(SUBMITTED);
            }
        }
    }
    None
}

/// Returns true if the copy of `chunk` for that epoch is in the root, or in the part of the log
/// that is durable.
fn durable(state: &State, number: usize, chunk: usize) -> bool {
    let log = &state.log.records[..state.log.durable as usize];
    let logged = log.iter().any(|record| match record {
        Record::Copy { epoch, chunks, .. } => {
            *epoch as usize == number && chunks & (1 << chunk) != 0
        }
        _ => false,
    });
    logged || state.root.timeline.epochs[number].copies[chunk].is_copy()
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
fn stuck(state: &State, steps: &[Step<Config>]) -> Option<Broken> {
    let done = state
        .writers
        .iter()
        .all(|writer| writer.step == Write::Done);
    let ended = done && state.keeper == Keeper::Idle;
    let goes_on = steps.iter().any(|(action, _)| action.who.is_due());
    (!ended && !goes_on && !state.failing).then_some(STUCK)
}
