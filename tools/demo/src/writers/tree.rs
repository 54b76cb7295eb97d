// SPDX-License-Identifier: GPL-2.0

//! Work on the documents: lines are added, files appear and vanish, as on anybody's disk.

#![forbid(unsafe_code)]

use std::fs;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;

use super::Random;
use super::Shared;
use crate::tell::run;

const DRAFTS: &str = "/live/drafts";

/// Writes until told to stop.
pub fn write(shared: &Shared) -> Result<()> {
    let files: Vec<_> = run("find /live/Documentation -type f -name '*.rst'")?
        .lines()
        .map(PathBuf::from)
        .collect();
    ensure!(!files.is_empty(), "there are no documents");
    fs::create_dir_all(DRAFTS)?;
    let mut random = Random(0x00d0_c5a1);
    for i in 0u64.. {
        let file = &files[random.below(files.len() as u64) as usize];
        let mut open = File::options().append(true).open(file)?;
        writeln!(open, "Read and found good, {i} times.").context("a document")?;
        let draft = |n: u64| format!("{DRAFTS}/{n}.rst");
        match i % 8 {
            // A copy under a new name, with all that belongs to it: inode, blocks, directory entry.
            0 => drop(fs::copy(file, draft(i)).context("a draft")?),
            4 if i > 200 => fs::remove_file(draft(i - 204)).context("an old draft")?,
            _ => {}
        }
        if !shared.next(40) {
            break;
        }
    }
    Ok(())
}
