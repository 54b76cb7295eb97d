// SPDX-License-Identifier: GPL-2.0

//! A copy that is half way, as applying a stream was interrupted: how that is finished.

#![forbid(unsafe_code)]

use std::path::Path;

use super::stage;
use super::Options;
use crate::copy::state::Position;
use crate::Error;

/// What to do when applying a stream has failed on the way.
pub(super) fn advice(stream: &Path, target: &Path, options: &Options) -> String {
    format!(
        "{} is half way; finish it with `{}`",
        target.display(),
        command(stream, target, options)
    )
}

/// Why another stream than the one that leads to `next` cannot be applied.
pub(super) fn refusal(next: &Position, target: &Path, state: &Path, options: &Options) -> Error {
    let kept = stage::kept(state);
    let finish = match kept.exists() {
        true => format!("finish that with `{}`", command(&kept, target, options)),
        false => "apply the stream that leads there again".to_string(),
    };
    Error::Misfit(format!(
        "{} is half way to snapshot {}; {finish}, or apply a full stream with --overwrite",
        target.display(),
        next.snapshot
    ))
}

fn command(stream: &Path, target: &Path, options: &Options) -> String {
    let state = match &options.state {
        Some(state) => format!("--state {} ", state.display()),
        None => String::new(),
    };
    format!(
        "preserve apply {state}{} {}",
        stream.display(),
        target.display()
    )
}
