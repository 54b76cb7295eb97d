// SPDX-License-Identifier: GPL-2.0

//! A program that uses more memory than it can have: it takes new memory all the time, and gives
//! the oldest back when it has a lot or the swap file is nearly full. Each page knows what it is,
//! and is asked before it goes: what comes back from the swap file must be what went there.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::fs;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;

use super::Shared;

const PAGE: usize = 4096;
/// Bytes taken or given back at a time.
const BLOCK: usize = 1 << 20;
/// Free KiB of swap at which there is enough of it in use.
const ENOUGH: u64 = 6 << 10;
/// Blocks given back then: fewer than the kernel swaps out at a time would end in no memory at all.
const RELIEF: usize = 8;

/// Writes until told to stop.
pub fn write(shared: &Shared) -> Result<()> {
    // Such memory goes to swap before cached files go, and early, so that nobody else has to wait
    // for memory.
    for (name, value) in [("swappiness", "190"), ("watermark_scale_factor", "200")] {
        fs::write(format!("/proc/sys/vm/{name}"), value).context(name)?;
    }
    // The rest is for others: what they read again and again must stay in memory too.
    let most = usize::try_from(meminfo("MemTotal:")? * 1024)? / BLOCK * 6 / 10;
    let mut blocks: VecDeque<Block> = VecDeque::new();
    let mut next = 0;
    while shared.next(30) {
        let give = match meminfo("SwapFree:")? {
            free if free < ENOUGH => RELIEF.min(blocks.len()),
            _ if blocks.len() >= most => 1,
            _ => 0,
        };
        blocks.drain(..give).try_for_each(|block| block.check())?;
        if give < RELIEF {
            blocks.push_back(Block::new(next));
            next += 1;
        }
    }
    blocks.iter().try_for_each(Block::check)
}

/// Some memory.
struct Block {
    number: u64,
    bytes: Vec<u8>,
}

impl Block {
    fn new(number: u64) -> Self {
        let mut bytes = vec![0; BLOCK];
        for (i, page) in bytes.chunks_exact_mut(PAGE).enumerate() {
            let stamp = Self::stamp(number, i);
            page[..8].copy_from_slice(&stamp);
            page[PAGE - 8..].copy_from_slice(&stamp);
        }
        Block { number, bytes }
    }

    /// A page's own number.
    fn stamp(number: u64, page: usize) -> [u8; 8] {
        (number << 16 | page as u64).to_le_bytes()
    }

    fn check(&self) -> Result<()> {
        for (i, page) in self.bytes.chunks_exact(PAGE).enumerate() {
            let stamp = Self::stamp(self.number, i);
            ensure!(
                page.starts_with(&stamp) && page.ends_with(&stamp),
                "page {i} of block {} came back from the swap file with other content",
                self.number
            );
        }
        Ok(())
    }
}

/// A line of `/proc/meminfo`, in KiB.
fn meminfo(name: &str) -> Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let value = line.and_then(|rest| rest.split_whitespace().next());
    value
        .with_context(|| format!("no {name} in /proc/meminfo"))?
        .parse()
        .with_context(|| format!("{name} in /proc/meminfo"))
}
