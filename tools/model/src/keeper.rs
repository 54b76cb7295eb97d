// SPDX-License-Identifier: GPL-2.0

//! Snapshots and the gate, drop, release, designation.

#![forbid(unsafe_code)]

use crate::config::Order;
use crate::config::Taking;
use crate::model::Model;
use crate::state::each;
use crate::state::Chunks;
use crate::state::Epoch;
use crate::state::Gate;
use crate::state::Snapshot;
use crate::state::State;
use crate::trap::Trap;

/// Begins to close the gate for the next snapshot, if one is to be taken.
pub(crate) fn close(model: &Model, state: &State) -> Option<State> {
    let taking = model.config.snapshots.get(state.present())?;
    if state.gate != Gate::Open {
        return None;
    }
    let mut next = *state;
    let early = match (model.trap, taking.base) {
        (Some(Trap::NarrowEarly), Some(base)) => state.marked(base as usize, state.count as usize),
        _ => 0,
    };
    next.gate = Gate::Closing { early };
    Some(next)
}

/// Swaps in a new epoch and a new snapshot once the gate has drained, and opens it.
pub(crate) fn swap(model: &Model, state: &State) -> Option<State> {
    let Gate::Closing { early } = state.gate else {
        return None;
    };
    let drained = !state.writers.iter().any(|writer| writer.inside);
    if !drained && model.trap != Some(Trap::NoDrain) {
        return None;
    }
    let taking = model.config.snapshots[state.present()];
    let mut next = *state;
    let marks = next.marks();
    next.now().sealed = marks;
    let number = state.count as usize;
    next.epochs[number] = Epoch {
        start: state.origin,
        ..Epoch::default()
    };
    next.snapshots[number] = snapshot(model, state, taking, early);
    next.count += 1;
    next.gate = Gate::Open;
    if taking.alone {
        for older in (0..number).filter(|&older| state.snapshots[older].live) {
            next.drop_snapshot(older, model.trap);
        }
    }
    Some(next)
}

fn snapshot(model: &Model, state: &State, taking: Taking, early: Chunks) -> Snapshot {
    let protected = state.designation;
    let (mut scope, mut changed) = (!0, !0);
    if let Some(base) = taking.base.map(usize::from) {
        let new = !state.snapshots[base].protected;
        scope = new | state.marked(base, state.count as usize);
        if model.trap == Some(Trap::NarrowEarly) {
            scope = new | early;
        }
        let before = state.epochs[base].start;
        changed = new
            | each(!0).fold(0, |set, chunk| {
                set | Chunks::from(before[chunk] != state.origin[chunk]) << chunk
            });
    }
    Snapshot {
        live: true,
        protected,
        keeps: protected & scope,
        released: 0,
        owed: protected & changed,
    }
}

/// Carries out one of the user's orders, if it has not been and means anything now.
pub(crate) fn order(model: &Model, state: &State, index: usize) -> Option<State> {
    let done = 1 << index;
    if state.orders & done != 0 {
        return None;
    }
    let mut next = *state;
    next.orders |= done;
    match model.config.orders[index] {
        Order::Drop(number) => {
            state.snapshots[number as usize].live.then_some(())?;
            next.drop_snapshot(number as usize, model.trap);
        }
        Order::Release(number, chunks) => {
            let snapshot = &mut next.snapshots[number as usize];
            snapshot.live.then_some(())?;
            snapshot.released |= chunks;
        }
        Order::Protect(chunks) => {
            next.designation |= chunks;
            if model.trap == Some(Trap::LiveDesignation) {
                for snapshot in next.snapshots.iter_mut().filter(|snapshot| snapshot.live) {
                    snapshot.keeps |= chunks;
                    snapshot.owed |= chunks;
                }
            }
        }
        Order::Unprotect(chunks) => next.designation &= !chunks,
    }
    Some(next)
}
