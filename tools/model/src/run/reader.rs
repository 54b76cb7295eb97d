// SPDX-License-Identifier: GPL-2.0

//! The way of a frozen read: rule 5.
//!
//! `Start -capture-> Look -> Lookup -> Done`, or
//! `Look -> Reading -> Arrived -capture-> Look -> ...`

#![forbid(unsafe_code)]

use crate::run::state::Frozen;
use crate::run::state::Reader;
use crate::run::state::State;
use crate::run::trap::Trap;
use crate::run::world::Model;
use crate::timeline::Kept;

/// The step that reader `index` can take, if any: what it is, and the state after it.
pub(crate) fn step(model: &Model, state: &State, index: usize) -> Option<(&'static str, State)> {
    let mut next = *state;
    let reader = state.readers[index];
    let what = match reader.step {
        // Nobody can ask for a snapshot that has not been taken.
        Frozen::Start if reader.snapshot >= state.timeline.count => return None,
        Frozen::Start => capture(model, &mut next, index),
        Frozen::Look => look(model, &mut next, index),
        Frozen::Lookup => {
            match state.timeline.epochs[reader.epoch as usize].copies[reader.chunk as usize] {
                Kept::Copy(data) => finish(model, &mut next, index, Some(data)),
                Kept::Nothing => finish(model, &mut next, index, None),
                Kept::Reused => next.readers[index].step = Frozen::Wrong,
            }
            "asks that epoch's index and ends"
        }
        Frozen::Reading => {
            next.readers[index].data = state.origin[reader.chunk as usize];
            next.readers[index].step = Frozen::Arrived;
            "gets the origin's data"
        }
        Frozen::Arrived => arrived(model, &mut next, index),
        Frozen::Done | Frozen::Wrong | Frozen::Unjust => return None,
    };
    Some((what, next))
}

fn capture(model: &Model, next: &mut State, index: usize) -> &'static str {
    let count = next.timeline.count;
    let reader = &mut next.readers[index];
    if !next.timeline.snapshots[reader.snapshot as usize].live {
        finish(model, next, index, None);
        return "finds its snapshot dropped and ends";
    }
    reader.list = count;
    reader.step = Frozen::Look;
    "captures the list of epochs"
}

fn look(model: &Model, next: &mut State, index: usize) -> &'static str {
    let reader = next.readers[index];
    let (first, end, chunk) = (
        reader.snapshot as usize,
        reader.list as usize,
        reader.chunk as usize,
    );
    let found = match model.trap {
        Some(Trap::NewestMark) => (first..end)
            .rev()
            .find_map(|number| next.timeline.oldest_mark(number, number + 1, chunk)),
        _ => next.timeline.oldest_mark(first, end, chunk),
    };
    match found {
        Some(epoch) => {
            let step = Frozen::Lookup;
            next.readers[index] = Reader {
                step,
                epoch: epoch as u8,
                data: 0,
                ..reader
            };
            "walks its list and finds a mark"
        }
        None if reader.second => {
            finish(model, next, index, Some(reader.data));
            "walks its list, finds no mark and returns the origin's data"
        }
        None => {
            next.readers[index].step = Frozen::Reading;
            "walks its list, finds no mark and reads the origin"
        }
    }
}

fn arrived(model: &Model, next: &mut State, index: usize) -> &'static str {
    let reader = &mut next.readers[index];
    reader.second = true;
    match model.trap {
        Some(Trap::NoSecondLook) => {
            let data = reader.data;
            finish(model, next, index, Some(data));
            "returns the data without a second look"
        }
        Some(Trap::SecondLookOldList) => {
            reader.step = Frozen::Look;
            "keeps the list from before the read"
        }
        _ => capture(model, next, index),
    }
}

/// Ends the read, judges the result, and lets go of what the list referred to.
fn finish(model: &Model, next: &mut State, index: usize, result: Option<u8>) {
    let reader = next.readers[index];
    let (number, chunk) = (reader.snapshot as usize, reader.chunk as usize);
    let right = match result {
        Some(data) => data == next.truth[number].start[chunk],
        None => !next.view().insists(number, chunk),
    };
    next.readers[index] = Reader {
        snapshot: reader.snapshot,
        chunk: reader.chunk,
        step: match (right, result) {
            (true, _) => Frozen::Done,
            (false, Some(_)) => Frozen::Wrong,
            (false, None) => Frozen::Unjust,
        },
        ..Reader::default()
    };
    if right {
        next.give_back(model.trap);
    }
}
