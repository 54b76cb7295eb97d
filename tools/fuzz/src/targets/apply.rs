// SPDX-License-Identifier: GPL-2.0

//! Applying a stream to a copy, with any state file beside it (I7): afterwards the copy is where
//! the stream leads to, or its state says so no more than before.
//!
//! ```text
//! flags (1 byte), length of the copy in KiB (1), length of the state file (2),
//! the state file, a stream as in `stream`
//! ```

#![forbid(unsafe_code)]

use std::fs;
use std::fs::File;
use std::path::Path;

use preserve::copy::apply;
use preserve::copy::apply::Options;
use preserve::copy::state::State;
use preserve::copy::stream::Reader;
use tempfile::TempDir;

use super::stream::sealed;
use crate::input::Input;

/// A full stream may replace what is there.
const OVERWRITE: u8 = 1;
/// There is no state file.
const NEW: u8 = 2;

thread_local! {
    static DIRECTORY: TempDir = tempfile::tempdir().expect("a directory");
}

/// `data` is a copy's length, its state file and a stream.
pub fn apply(data: &[u8]) {
    DIRECTORY.with(|directory| run(directory.path(), Input(data)).expect("small files"));
}

fn run(directory: &Path, mut input: Input<'_>) -> std::io::Result<()> {
    let (target, stream) = (directory.join("copy"), directory.join("stream"));
    let state = State::beside(&target);
    let (flags, size) = (input.byte(), u64::from(input.byte()) << 10);
    let len = input.short();
    let before = input.bytes(len.into());
    let bytes = sealed(input);
    // A copy as large as a header may ask for is sparse, but takes its time.
    if Reader::new(&bytes[..]).is_ok_and(|reader| reader.header().origin_bytes > 1 << 30) {
        return Ok(());
    }
    fs::write(&stream, &bytes)?;
    File::create(&target)?.set_len(size)?;
    match flags & NEW {
        0 => fs::write(&state, before)?,
        _ => drop(fs::remove_file(&state)),
    }
    let known = State::load(&state).ok().flatten();
    let options = Options {
        overwrite: flags & OVERWRITE != 0,
        quiet: true,
        ..Options::default()
    };
    match apply::apply(&stream, &target, &options) {
        Ok(report) => {
            let at = State::load(&state).ok().flatten().expect("a new state");
            let position = at.at.expect("a position");
            assert_eq!(at.applying, None);
            assert_eq!(position.snapshot, report.stream.header.to);
            assert_eq!(position.digest, report.stream.digest);
            assert_eq!(fs::metadata(&target)?.len(), position.origin_bytes);
            let resuming = known.as_ref().and_then(|known| known.applying.as_ref());
            if resuming.is_none_or(|next| next.digest != position.digest) {
                let from = report.stream.header.from;
                let was = known.and_then(|known| known.at);
                assert!(from == 0 || was.is_some_and(|was| was.snapshot == from));
            }
        }
        // What is refused is refused before anything is touched.
        Err(_) => assert_eq!(State::load(&state).ok().flatten(), known),
    }
    Ok(())
}
