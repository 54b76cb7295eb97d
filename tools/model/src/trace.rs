// SPDX-License-Identifier: GPL-2.0

//! A counterexample for people.

#![forbid(unsafe_code)]

use std::fmt::Write;

use crate::explore::Counterexample;
use crate::explore::Machine;
use crate::model::Model;
use crate::model::Who;
use crate::state::each;
use crate::state::Chunks;
use crate::state::Content;
use crate::state::Kept;
use crate::state::State;

/// The run, step by step, with the timeline wherever it changed.
pub fn tell(model: &Model, found: &Counterexample<Model>) -> String {
    let mut text = String::new();
    for (index, chunks) in model.config.writers.iter().enumerate() {
        let _ = writeln!(text, "writer {index}: one bio over chunks {}", set(*chunks));
    }
    for (index, (snapshot, chunk)) in model.config.readers.iter().enumerate() {
        let _ = writeln!(text, "reader {index}: chunk {chunk} of snapshot {snapshot}");
    }
    let mut before = timeline(&model.first());
    let _ = writeln!(text, "\n      at first:\n{before}");
    for (number, (action, state)) in found.run.iter().enumerate() {
        let what = match action.who {
            Who::User(index) => format!("{:?}", model.config.orders[index]),
            who => format!("{who} {}", action.what),
        };
        let _ = writeln!(text, "{:4}. {what}", number + 1);
        let now = timeline(state);
        if now != before {
            let _ = write!(text, "{now}");
        }
        before = now;
    }
    let _ = writeln!(text, "\nbroken: {}", found.broken);
    text
}

fn timeline(state: &State) -> String {
    let mut text = String::new();
    let origin: String = state.origin.iter().map(|content| name(*content)).collect();
    let _ = writeln!(text, "        origin {origin}");
    for number in 0..state.count as usize {
        let (epoch, snapshot) = (&state.epochs[number], &state.snapshots[number]);
        let start: String = epoch.start.iter().map(|content| name(*content)).collect();
        let copies: String = epoch.copies.iter().map(|kept| copy(*kept)).collect();
        let kind = if snapshot.live {
            "snapshot"
        } else {
            "bookmark"
        };
        let keeps = set(snapshot.keeps & !snapshot.released);
        let marks = set(epoch.marks);
        let _ = writeln!(
            text,
            "        {kind} {number} of {start} keeps {keeps}; epoch {number} marks {marks}, \
             copies {copies}"
        );
    }
    text
}

pub(crate) fn set(chunks: Chunks) -> String {
    let list: Vec<String> = each(chunks).map(|chunk| chunk.to_string()).collect();
    format!("{{{}}}", list.join(","))
}

pub(crate) fn name(content: Content) -> char {
    char::from(b'a' + content)
}

fn copy(kept: Kept) -> char {
    match kept {
        Kept::Nothing => '-',
        Kept::Copy(content) => name(content),
        Kept::Reused => '#',
    }
}
