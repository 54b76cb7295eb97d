// SPDX-License-Identifier: GPL-2.0

//! What must hold in every state, whatever happened on the way.

#![forbid(unsafe_code)]

use crate::config::Policy;
use crate::model::Action;
use crate::model::Model;
use crate::reader::insists;
use crate::state::each;
use crate::state::Frozen;
use crate::state::Gate;
use crate::state::Kept;
use crate::state::State;
use crate::state::Write;

/// What a state breaks.
pub type Broken = &'static str;

/// I1: a frozen read returned something else than the content at the snapshot.
pub const WRONG: Broken =
    "I1: a frozen read returned something else than the content at the snapshot";
/// I1: a frozen read failed although the snapshot owes the content.
pub const UNJUST: Broken = "I1: a frozen read failed although the snapshot owes the content";
/// I1: a needed chunk is gone, or would be read wrongly.
pub const LOST: Broken = "I1: a needed chunk is gone, or would be read wrongly";
/// I1: a copy is not what the chunk held when its epoch began.
pub const GARBAGE: Broken = "I1: a copy is not what the chunk held when its epoch began";
/// I3: a chunk that differs from a snapshot or bookmark is not marked since.
pub const MISSED: Broken =
    "I3: a chunk that differs from a snapshot or bookmark is not marked since";
/// I3: a chunk that differs between two snapshots is not in their map.
pub const MISSED_BETWEEN: Broken =
    "I3: a chunk that differs between two snapshots is not in their map";
/// I4: a write, a read or a snapshot never ends.
pub const STUCK: Broken = "I4: a write, a read or a snapshot never ends";
/// I4: a run can go in circles for ever.
pub const CYCLE: Broken = "I4: a run can go in circles for ever";
/// I6: a chunk was stored that no snapshot up to then selects.
pub const UNWANTED: Broken = "I6: a chunk was stored that no snapshot up to then selects";
/// Rule 1: the marks of a closed epoch changed.
pub const CLOSED: Broken = "rule 1: the marks of a closed epoch changed";
/// Rule 1: the marks of a closed epoch are not exactly what was written in it.
pub const INEXACT: Broken =
    "rule 1: the marks of a closed epoch are not exactly what was written in it";

/// The first property that `state` breaks. `steps` are those that it allows.
pub fn broken<S>(model: &Model, state: &State, steps: &[(Action, S)]) -> Option<Broken> {
    reads(state)
        .or_else(|| contents(state))
        .or_else(|| changes(state))
        .or_else(|| marks(model, state))
        .or_else(|| stuck(state, steps))
}

/// What a user would see: the result of a frozen read.
pub fn reads(state: &State) -> Option<Broken> {
    state.readers.iter().find_map(|reader| match reader.step {
        Frozen::Wrong => Some(WRONG),
        Frozen::Unjust => Some(UNJUST),
        _ => None,
    })
}

/// I1 and I6, for every snapshot and chunk, whether or not anybody reads it.
fn contents(state: &State) -> Option<Broken> {
    let count = state.count as usize;
    for chunk in each(!0) {
        for number in 0..count {
            let epoch = &state.epochs[number];
            let selected = state.snapshots[..=number]
                .iter()
                .any(|snapshot| snapshot.keeps & (1 << chunk) != 0);
            match epoch.copies[chunk] {
                Kept::Copy(_) if !selected => return Some(UNWANTED),
                Kept::Copy(content) if content != epoch.start[chunk] => return Some(GARBAGE),
                _ => {}
            }
            let kept = match state.oldest_mark(number, count, chunk) {
                Some(mark) => state.epochs[mark].copies[chunk],
                None => Kept::Copy(state.origin[chunk]),
            };
            if insists(state, number, chunk) && kept != Kept::Copy(epoch.start[chunk]) {
                return Some(LOST);
            }
        }
    }
    None
}

/// I3, since every snapshot and bookmark, up to now and up to every later one.
fn changes(state: &State) -> Option<Broken> {
    let count = state.count as usize;
    for chunk in each(!0) {
        for from in 0..count {
            let start = state.epochs[from].start[chunk];
            let marked = |to| state.marked(from, to) & (1 << chunk) != 0;
            if start != state.origin[chunk] && !marked(count) {
                return Some(MISSED);
            }
            let missed = |to: &usize| start != state.epochs[*to].start[chunk] && !marked(*to);
            if (from + 1..count).any(|to| missed(&to)) {
                return Some(MISSED_BETWEEN);
            }
        }
    }
    None
}

/// Closed marks never change, and are exact where the policy promises it.
fn marks(model: &Model, state: &State) -> Option<Broken> {
    let exact = model.config.policy == Policy::Whole;
    state.epochs[..state.present()].iter().find_map(|epoch| {
        if epoch.marks != epoch.sealed {
            return Some(CLOSED);
        }
        (exact && epoch.marks != epoch.written).then_some(INEXACT)
    })
}

/// I4: when nobody begins anything new, everything that was begun can end.
fn stuck<S>(state: &State, steps: &[(Action, S)]) -> Option<Broken> {
    let ended = state.gate == Gate::Open
        && state
            .writers
            .iter()
            .all(|writer| writer.step == Write::Done)
        && state
            .readers
            .iter()
            .all(|reader| reader.step == Frozen::Done || reader.snapshot >= state.count);
    let goes_on = steps.iter().any(|(action, _)| action.is_due());
    (!ended && !goes_on).then_some(STUCK)
}
