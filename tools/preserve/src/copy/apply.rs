// SPDX-License-Identifier: GPL-2.0

//! Brings a snapshot copy (an image or a block device) from one snapshot to the next.
//!
//! The stream is staged and verified whole before anything is touched. Then the copy's state file
//! says "applying", the content is written and synced, and the state file says where the copy is
//! now. After a crash in between, applying the same stream again finishes the work.

#![forbid(unsafe_code)]

mod resume;
mod stage;
mod target;

use std::path::Path;
use std::path::PathBuf;

use serde::Serialize;

pub use stage::verify;
pub use stage::Contents;
use stage::Staged;
use target::Target;

use crate::copy::state::Position;
use crate::copy::state::State;
use crate::progress;
use crate::Error;
use crate::Result;

/// What the user asks for.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// A full stream may replace what the target holds.
    pub overwrite: bool,
    /// The state file, if not beside the target.
    pub state: Option<PathBuf>,
    /// No progress bar.
    pub quiet: bool,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The copy.
    pub target: PathBuf,
    /// Its state file.
    pub state_file: PathBuf,
    /// What was applied.
    #[serde(flatten)]
    pub stream: Contents,
}

/// Applies a stream (`-` is stdin) to a target.
pub fn apply(stream: &Path, target_path: &Path, options: &Options) -> Result<Report> {
    let state_file = state_path(target_path, options)?;
    let mut staged = Staged::new(stream, &state_file, options.quiet)?;
    let contents = staged.contents().clone();
    let target = Target::open(target_path, &contents.header)?;
    let mut state = State::load(&state_file)?.unwrap_or_default();
    check(&state, &state_file, &contents, &target, options)?;
    staged.keep()?;

    state.applying = Some(Position::after(&contents.header, &contents.digest));
    state.save(&state_file)?;
    let moved = transfer(&staged, &target, options.quiet).and_then(|()| {
        state.at = state.applying.take();
        state.save(&state_file)
    });
    moved.inspect_err(|_| {
        let advice = resume::advice(staged.path(), target_path, options);
        eprintln!("preserve: {advice}");
    })?;
    staged.discard();
    Ok(Report {
        target: target_path.to_path_buf(),
        state_file,
        stream: contents,
    })
}

fn state_path(target: &Path, options: &Options) -> Result<PathBuf> {
    match &options.state {
        Some(path) => Ok(path.clone()),
        None if target::is_block_device(target) => Err(Error::Usage(format!(
            "{} is a block device: say with --state FILE where to keep its position",
            target.display()
        ))),
        None => Ok(State::beside(target)),
    }
}

/// Refuses what does not fit.
fn check(
    state: &State,
    state_file: &Path,
    stream: &Contents,
    target: &Target,
    options: &Options,
) -> Result<()> {
    let full = stream.header.from == 0;
    let resuming = state
        .applying
        .as_ref()
        .is_some_and(|next| next.digest == stream.digest);
    if resuming || full && (options.overwrite || target.is_empty()) {
        return Ok(());
    }
    if let Some(next) = &state.applying {
        return Err(resume::refusal(next, target.path(), state_file, options));
    }
    if full {
        return Err(Error::Misfit(format!(
            "{} is in use and a full stream replaces all of it; give --overwrite if that is meant",
            target.path().display()
        )));
    }
    let at = state.accept(&stream.header)?;
    target.check_size(at.origin_bytes)
}

fn transfer(staged: &Staged, target: &Target, quiet: bool) -> Result<()> {
    let Contents { header, moved, .. } = staged.contents();
    target.prepare(header.from == 0)?;
    let bar = progress::bytes("applying", moved.bytes, quiet);
    staged.read(|at, content| {
        target.write(at, content)?;
        bar.inc(content.len() as u64);
        Ok(())
    })?;
    target.sync()
}
