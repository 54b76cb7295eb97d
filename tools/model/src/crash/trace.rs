// SPDX-License-Identifier: GPL-2.0

//! A state for people.

#![forbid(unsafe_code)]

use std::fmt::Write;

use crate::chunks::each;
use crate::chunks::Content;
use crate::crash::config::Config;
use crate::crash::state::Record;
use crate::crash::state::State;
use crate::crash::state::Timeline;
use crate::trace::names;
use crate::trace::set;

/// Origin, memory, log, root.
pub(crate) fn parts(config: &Config, state: &State) -> Vec<String> {
    let origin: Vec<String> = state
        .origin
        .iter()
        .map(|chunk| names(chunk.possible()))
        .collect();
    let log = &state.log.records[..state.log.len as usize];
    let log: Vec<String> = log
        .iter()
        .map(|record| tell_record(config, *record))
        .collect();
    let dirty = if state.dirty { ", region dirty" } else { "" };
    let period = state.period;
    vec![
        format!("        origin {}\n", origin.join(" ")),
        format!(
            "        memory: period {period}{dirty}\n{}",
            tell_timeline(&state.now)
        ),
        format!(
            "        log: {} (durable: {} or more)\n",
            log.join("; "),
            state.log.durable
        ),
        format!(
            "        root: next {}, period {}\n{}",
            state.root.next,
            state.root.period,
            tell_timeline(&state.root.timeline)
        ),
    ]
}

fn tell_record(config: &Config, record: Record) -> String {
    match record {
        Record::Nothing => String::new(),
        Record::Copy {
            epoch,
            chunks,
            data,
        } => {
            let data: Vec<Content> = each(chunks).map(|chunk| data[chunk]).collect();
            format!("COPY epoch {epoch} {}={}", set(chunks), names(&data))
        }
        Record::Gone { epoch, chunks } => format!("GONE epoch {epoch} {}", set(chunks)),
        Record::Region { epoch, period } => {
            format!("REGION epoch {epoch} period {period}")
        }
        Record::Epoch => "EPOCH".into(),
        Record::Order(index) => format!("{:?}", config.orders[index as usize]),
        Record::Narrow(number) => format!("NARROW {number}"),
        Record::GiveUp(number) => format!("GIVE UP {number}"),
    }
}

fn tell_timeline(timeline: &Timeline) -> String {
    let mut lines = String::new();
    for number in 0..timeline.count as usize {
        let (beginner, held) = (timeline.beginner(number), timeline.held(number));
        let _ = writeln!(lines, "          {beginner} {held}");
    }
    lines
}
