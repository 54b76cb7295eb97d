// SPDX-License-Identifier: GPL-2.0

//! A counterexample with crashes, for people.

#![forbid(unsafe_code)]

use std::fmt::Write;

use crate::crash::model::Model;
use crate::crash::model::Who;
use crate::crash::state::each;
use crate::crash::state::Record;
use crate::crash::state::State;
use crate::crash::state::Timeline;
use crate::crash::state::CHUNKS;
use crate::explore::Counterexample;
use crate::explore::Machine;
use crate::state::Content;
use crate::trace::name;
use crate::trace::set;

/// The run, step by step, with what changed.
pub fn tell(model: &Model, found: &Counterexample<Model>) -> String {
    let mut text = String::new();
    for (index, chunks) in model.config.writers.iter().enumerate() {
        let _ = writeln!(text, "writer {index}: one bio over chunks {}", set(*chunks));
    }
    let mut before = parts(model, &model.first());
    let _ = writeln!(text, "\n      at first:\n{}", before.concat());
    for (number, (action, state)) in found.run.iter().enumerate() {
        let _ = writeln!(text, "{:4}. {action}", number + 1);
        let now = parts(model, state);
        for (part, old) in now.iter().zip(&before) {
            if part != old || (action.who == Who::Crash && !part.is_empty()) {
                let _ = write!(text, "{part}");
            }
        }
        before = now;
    }
    let _ = writeln!(text, "\nbroken: {}", found.broken);
    text
}

/// Origin, memory, log, root.
fn parts(model: &Model, state: &State) -> [String; 4] {
    let origin: Vec<String> = state
        .origin
        .iter()
        .map(|chunk| text(chunk.possible()))
        .collect();
    let log = &state.log.records[..state.log.len as usize];
    let log: Vec<String> = log
        .iter()
        .map(|record| tell_record(model, *record))
        .collect();
    let dirty = if state.dirty { ", region dirty" } else { "" };
    let generation = state.now.generation;
    [
        format!("        origin {}\n", origin.join(" ")),
        format!(
            "        memory: generation {generation}{dirty}\n{}",
            tell_timeline(&state.now)
        ),
        format!(
            "        log: {} (durable: {} or more)\n",
            log.join("; "),
            state.log.durable
        ),
        format!(
            "        root: next {}, generation {}\n{}",
            state.root.next,
            state.root.timeline.generation,
            tell_timeline(&state.root.timeline)
        ),
    ]
}

fn tell_record(model: &Model, record: Record) -> String {
    match record {
        Record::Nothing => String::new(),
        Record::Copy {
            epoch,
            chunks,
            data,
        } => {
            let data: Vec<Content> = each(chunks).map(|chunk| data[chunk]).collect();
            format!("COPY epoch {epoch} {}={}", set(chunks), text(&data))
        }
        Record::Gone { epoch, chunks } => format!("GONE epoch {epoch} {}", set(chunks)),
        Record::Region { epoch, generation } => {
            format!("REGION epoch {epoch} generation {generation}")
        }
        Record::Epoch => "EPOCH".into(),
        Record::Order(index) => format!("{:?}", model.config.orders[index as usize]),
        Record::Narrow(number) => format!("NARROW {number}"),
        Record::GiveUp(number) => format!("GIVE UP {number}"),
    }
}

fn tell_timeline(timeline: &Timeline) -> String {
    let mut lines = String::new();
    for number in 0..timeline.count as usize {
        let (epoch, snapshot) = (&timeline.epochs[number], &timeline.snapshots[number]);
        let copies: String = (0..CHUNKS)
            .map(|chunk| epoch.copies[chunk].map_or('-', name))
            .collect();
        let kind = match snapshot.live {
            true => "snapshot",
            false => "bookmark",
        };
        let keeps = set(snapshot.keeps & !snapshot.released);
        let marks = set(epoch.marks);
        let _ = writeln!(
            lines,
            "          {kind} {number} keeps {keeps}; epoch {number} marks {marks}, copies {copies}"
        );
    }
    lines
}

fn text(contents: &[Content]) -> String {
    contents.iter().map(|content| name(*content)).collect()
}
