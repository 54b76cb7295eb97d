// SPDX-License-Identifier: GPL-2.0

//! Scratch files, rewritten in place: their content never moves, so what was unprotected stays the
//! right place.

#![forbid(unsafe_code)]

use std::fs::File;
use std::os::unix::fs::FileExt;

use anyhow::Context;
use anyhow::Result;

use super::Random;
use super::Shared;
use crate::setup::SCRATCH;

const BLOCK: usize = 64 << 10;

/// Writes until told to stop.
pub fn write(shared: &Shared) -> Result<()> {
    let files = SCRATCH
        .iter()
        .map(|path| {
            let file = File::options().write(true).open(path)?;
            let blocks = file.metadata()?.len() / BLOCK as u64;
            Ok((file, blocks))
        })
        .collect::<Result<Vec<_>>>()?;
    let mut random = Random(0x5c2a_7c11);
    for round in 1u64.. {
        for (file, blocks) in &files {
            let content = vec![random.below(256) as u8; BLOCK];
            let at = random.below(*blocks) * BLOCK as u64;
            file.write_all_at(&content, at).context("scratch file")?;
            if round % 8 == 0 {
                file.sync_data().context("scratch file")?;
            }
        }
        if !shared.next(10) {
            break;
        }
    }
    Ok(())
}
