// SPDX-License-Identifier: GPL-2.0

//! A run and its states for people.

#![forbid(unsafe_code)]

use std::fmt::Write;

use crate::run::config::Config;
use crate::run::state::State;
use crate::trace::names;
use crate::trace::writers;

/// Who takes part: a line each.
pub(crate) fn parties(config: &Config) -> String {
    let mut text = writers(config.writers);
    for (index, (snapshot, chunk)) in config.readers.iter().enumerate() {
        let _ = writeln!(text, "reader {index}: chunk {chunk} of snapshot {snapshot}");
    }
    text
}

/// The origin and the timeline.
pub(crate) fn timeline(state: &State) -> String {
    let mut text = format!("        origin {}\n", names(&state.origin));
    let timeline = &state.timeline;
    for number in 0..timeline.count as usize {
        let (beginner, held) = (timeline.beginner(number), timeline.held(number));
        let start = names(&state.truth[number].start);
        let _ = writeln!(text, "        {beginner} of {start} {held}");
    }
    text
}
