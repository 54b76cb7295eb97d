// SPDX-License-Identifier: GPL-2.0

//! Snapshots and the gate, drop, release, designation.

#![forbid(unsafe_code)]

use crate::run::state::Gate;
use crate::run::state::State;
use crate::run::trap::Trap;
use crate::run::world::Model;
use crate::user::Order;

/// Begins to close the gate for the next snapshot, if one is to be taken.
pub(crate) fn close(model: &Model, state: &State) -> Option<State> {
    let taking = model.config.snapshots.get(state.timeline.present())?;
    if state.gate != Gate::Open {
        return None;
    }
    let count = state.timeline.count as usize;
    let early = match taking.base {
        Some(base) if model.is(Trap::NarrowEarly) => state.timeline.marked(base as usize, count),
        _ => 0,
    };
    let mut next = *state;
    next.gate = Gate::Closing { early };
    Some(next)
}

/// Swaps in a new epoch and a new snapshot once the gate has drained, and opens it.
pub(crate) fn swap(model: &Model, state: &State) -> Option<State> {
    let Gate::Closing { early } = state.gate else {
        return None;
    };
    let drained = !state.writers.iter().any(|writer| writer.inside);
    if !drained && !model.is(Trap::NoDrain) {
        return None;
    }
    let before = &state.timeline;
    let taking = model.config.snapshots[before.present()];
    let number = before.count as usize;
    let mut next = *state;
    next.truth[number - 1].sealed = before.marks();
    next.truth[number] = state.view().beginning(taking);
    next.timeline.begin(taking);
    if let Some(base) = taking.base.map(usize::from) {
        match model.is(Trap::NarrowEarly) {
            true => next.timeline.narrow_to(number, base, early),
            false => next.timeline.narrow(number, base),
        }
    }
    next.gate = Gate::Open;
    for older in (0..number).filter(|&older| before.snapshots[older].live && taking.alone) {
        next.dropped(older, model.trap);
    }
    Some(next)
}

/// Carries out one of the user's orders, if it has not been and means anything now.
pub(crate) fn order(model: &Model, state: &State, index: usize) -> Option<State> {
    let order = model.config.orders[index];
    let done = 1 << index;
    if state.orders & done != 0 || !state.timeline.allows(order) {
        return None;
    }
    let mut next = *state;
    next.orders |= done;
    next.timeline.obey(order);
    match order {
        Order::Drop(number) => next.dropped(number as usize, model.trap),
        Order::Protect(chunks) if model.is(Trap::LiveDesignation) => {
            for (snapshot, truth) in next.timeline.snapshots.iter_mut().zip(&mut next.truth) {
                if snapshot.live {
                    snapshot.protected |= chunks;
                    snapshot.keeps |= chunks;
                    truth.owed |= chunks;
                }
            }
        }
        _ => {}
    }
    Some(next)
}
