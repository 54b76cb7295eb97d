// SPDX-License-Identifier: GPL-2.0

//! Which chunks are claimed, by whom: each holder of a claim is a slot, a small number.
//!
//! Claims are found by slot, and by any of their chunks, whatever their number: those that begin or
//! end in the same block of chunks are in one hash chain. A claim is no longer than a block, so it
//! is in two chains at most. Nothing here allocates, once it is made.

#![forbid(unsafe_code)]

use crate::maps::chunk::Chunks;
use kernel::prelude::*;

/// Most slots: two links of each have a number below [`END`].
const MAX_SLOTS: usize = 1 << 14;

/// A link of a chain: twice the slot's number for the block of the first chunk; one more for that
/// of the last chunk, if that is another one.
type Link = u16;

/// The end of a chain.
const END: Link = Link::MAX;

/// 2^64 divided by the golden ratio: blocks that follow one another get chains far apart.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// No chunk.
const NONE: Chunks = Chunks { start: 0, end: 0 };

/// The claims.
///
/// # Invariants
///
/// No two claims have a chunk in common, as long as the caller looks before it claims.
pub struct Claims {
    /// What each slot has claimed; empty if nothing.
    runs: KVec<Chunks>,
    /// The first link of each chain. Their number is a power of two.
    chains: KVec<Link>,
    /// The link behind each.
    next: KVec<Link>,
    /// Chunks of a block: most chunks of a claim.
    block: u64,
    count: usize,
}

impl Claims {
    /// Makes the table for so many slots and claims of up to `block` chunks: nothing is claimed.
    /// May sleep.
    ///
    /// Errors: `EINVAL` for no or too many slots, or blocks of no chunks; `ENOMEM`.
    pub fn new(slots: usize, block: u64) -> Result<Self> {
        if block == 0 || slots == 0 || slots > MAX_SLOTS {
            return Err(EINVAL);
        }
        Ok(Self {
            runs: KVec::from_elem(NONE, slots, GFP_KERNEL)?,
            chains: KVec::from_elem(END, slots.next_power_of_two(), GFP_KERNEL)?,
            next: KVec::from_elem(END, 2 * slots, GFP_KERNEL)?,
            block,
            count: 0,
        })
    }

    /// Returns true if nothing is claimed.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Returns what a slot has claimed.
    pub fn of(&self, slot: usize) -> Option<Chunks> {
        self.runs.get(slot).filter(|run| !run.is_empty()).copied()
    }

    /// Returns the slot that has claimed a chunk.
    pub fn holder(&self, chunk: u64) -> Option<usize> {
        let mut link = *self.chains.get(self.chain_of(chunk / self.block))?;
        while link != END {
            let slot = usize::from(link / 2);
            if self.runs.get(slot)?.contains(chunk) {
                return Some(slot);
            }
            link = *self.next.get(usize::from(link))?;
        }
        None
    }

    /// Claims chunks for a slot. Returns false, and does nothing, for an unknown slot, one that has
    /// a claim, no chunks or too many.
    pub fn add(&mut self, slot: usize, run: Chunks) -> bool {
        let place = self.runs.get_mut(slot).filter(|old| old.is_empty());
        let Some(place) = place.filter(|_| (1..=self.block).contains(&run.len())) else {
            return false;
        };
        *place = run;
        self.count += 1;
        for (link, block) in links(slot, run, self.block) {
            let chain = self.chain_of(block);
            let first = self.chains.get_mut(chain);
            let next = self.next.get_mut(usize::from(link));
            if let (Some(first), Some(next)) = (first, next) {
                *next = core::mem::replace(first, link);
            }
        }
        true
    }

    /// Gives up the claim of a slot, and returns what it was.
    pub fn remove(&mut self, slot: usize) -> Option<Chunks> {
        let run = self.of(slot)?;
        for (link, block) in links(slot, run, self.block) {
            self.unlink(link, block);
        }
        *self.runs.get_mut(slot)? = NONE;
        self.count -= 1;
        Some(run)
    }

    /// Takes a link out of the chain of a block.
    fn unlink(&mut self, link: Link, block: u64) -> Option<()> {
        let behind = *self.next.get(usize::from(link))?;
        let chain = self.chain_of(block);
        let first = self.chains.get_mut(chain)?;
        if *first == link {
            *first = behind;
            return Some(());
        }
        let mut at = *first;
        while at != END {
            let next = self.next.get_mut(usize::from(at))?;
            if *next == link {
                *next = behind;
                return Some(());
            }
            at = *next;
        }
        None
    }

    /// Returns the number of the chain for a block.
    fn chain_of(&self, block: u64) -> usize {
        // CAST: Lengths in memory; masked by one.
        (block.wrapping_mul(GOLDEN) >> 32) as usize & (self.chains.len() - 1)
    }
}

/// Returns the links of a claim, with the blocks whose chains they are in.
fn links(slot: usize, run: Chunks, block: u64) -> impl Iterator<Item = (Link, u64)> {
    let first = run.start / block;
    let last = run.end.saturating_sub(1) / block;
    // CAST: Below `MAX_SLOTS`.
    let link = 2 * slot as Link;
    let other = (last != first).then_some((link + 1, last));
    Iterator::chain(core::iter::once((link, first)), other)
}
