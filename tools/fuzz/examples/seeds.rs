// SPDX-License-Identifier: GPL-2.0

//! Writes the inputs to begin with: `cargo run --example seeds DIRECTORY`.

#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::path::PathBuf;

use dm_preserve_fuzz::targets::seeds;
use dm_preserve_fuzz::targets::Seed;

fn main() -> io::Result<()> {
    let Some(corpus) = std::env::args_os().nth(1).map(PathBuf::from) else {
        return Err(io::Error::other("say into which directory, corpus for one"));
    };
    let seeds = seeds().map_err(|error| io::Error::from_raw_os_error(-error))?;
    for Seed(target, name, bytes) in seeds {
        let directory = corpus.join(target);
        fs::create_dir_all(&directory)?;
        fs::write(directory.join(name), bytes)?;
    }
    Ok(())
}
