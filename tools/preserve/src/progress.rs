// SPDX-License-Identifier: GPL-2.0

//! Progress of long work: a bar on stderr, when somebody looks at it.

#![forbid(unsafe_code)]

use std::io;
use std::io::IsTerminal;

use indicatif::ProgressBar;
use indicatif::ProgressDrawTarget;
use indicatif::ProgressStyle;

/// A bar for so many bytes; invisible unless stderr is a terminal.
pub fn bytes(what: &'static str, total: u64, quiet: bool) -> ProgressBar {
    if quiet || !is_seen() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
    let style = "{prefix:9} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    // A template that does not parse would cost us the bar's looks, nothing else.
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    bar.set_prefix(what);
    bar
}

/// The same when the total is not known.
pub fn unknown(what: &'static str, quiet: bool) -> ProgressBar {
    if quiet || !is_seen() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{prefix:9} {spinner} {bytes}") {
        bar.set_style(style);
    }
    bar.set_prefix(what);
    bar
}

fn is_seen() -> bool {
    io::stderr().is_terminal()
}
