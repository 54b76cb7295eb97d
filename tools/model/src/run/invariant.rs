// SPDX-License-Identifier: GPL-2.0

//! What must hold in every state of a running device.

#![forbid(unsafe_code)]

use std::slice;

use crate::chunks::those;
use crate::invariant::Broken;
use crate::invariant::View;
use crate::invariant::STUCK;
use crate::run::config::Config;
use crate::run::config::Policy;
use crate::run::state::Frozen;
use crate::run::state::Gate;
use crate::run::state::State;
use crate::run::state::Write;
use crate::run::state::CHUNKS;
use crate::run::state::EPOCHS;
use crate::run::world::Model;
use crate::world::Step;

/// I1: a frozen read returned something else than the content at the snapshot.
pub const WRONG: Broken =
    "I1: a frozen read returned something else than the content at the snapshot";
/// I1: a frozen read failed although the snapshot owes the content.
pub const UNJUST: Broken = "I1: a frozen read failed although the snapshot owes the content";
/// I6: a chunk was stored that no snapshot up to then selects.
pub const UNWANTED: Broken = "I6: a chunk was stored that no snapshot up to then selects";
/// Rule 1: the marks of a closed epoch changed.
pub const CLOSED: Broken = "rule 1: the marks of a closed epoch changed";
/// Rule 1: the marks of a closed epoch are not exactly what was written in it.
pub const INEXACT: Broken =
    "rule 1: the marks of a closed epoch are not exactly what was written in it";

/// The first property that `state` breaks. `steps` are those that it allows.
pub(crate) fn broken(model: &Model, state: &State, steps: &[Step<Config>]) -> Option<Broken> {
    reads(state)
        .or_else(|| selected(state))
        .or_else(|| state.view().contents())
        .or_else(|| state.view().changes())
        .or_else(|| marks(model, state))
        .or_else(|| stuck(state, steps))
}

impl State {
    /// What is checked in both worlds.
    pub(crate) fn view(&self) -> View<'_, CHUNKS, EPOCHS> {
        View {
            timeline: &self.timeline,
            truth: &self.truth,
            origin: self.origin.each_ref().map(slice::from_ref),
        }
    }
}

/// What a user would see: the result of a frozen read.
pub fn reads(state: &State) -> Option<Broken> {
    state.readers.iter().find_map(|reader| match reader.step {
        Frozen::Wrong => Some(WRONG),
        Frozen::Unjust => Some(UNJUST),
        _ => None,
    })
}

/// I6, for every epoch and chunk.
fn selected(state: &State) -> Option<Broken> {
    let mut selected = 0;
    for number in 0..state.timeline.count as usize {
        selected |= state.timeline.snapshots[number].keeps;
        let copies = state.timeline.epochs[number].copies;
        let stored = those(CHUNKS, |chunk| copies[chunk].is_copy());
        if stored & !selected != 0 {
            return Some(UNWANTED);
        }
    }
    None
}

/// Closed marks never change, and are exact where the policy promises it.
fn marks(model: &Model, state: &State) -> Option<Broken> {
    let exact = model.config.policy == Policy::Whole;
    (0..state.timeline.present()).find_map(|number| {
        let marks = state.timeline.epochs[number].marks;
        if marks != state.truth[number].sealed {
            return Some(CLOSED);
        }
        (exact && marks != state.written[number]).then_some(INEXACT)
    })
}

/// I4: when nobody begins anything new, everything that was begun can end.
fn stuck(state: &State, steps: &[Step<Config>]) -> Option<Broken> {
    let ended = state.gate == Gate::Open
        && state
            .writers
            .iter()
            .all(|writer| writer.step == Write::Done)
        && state
            .readers
            .iter()
            .all(|reader| reader.step == Frozen::Done || reader.snapshot >= state.timeline.count);
    let goes_on = steps.iter().any(|(action, _)| action.who.is_due());
    (!ended && !goes_on).then_some(STUCK)
}
