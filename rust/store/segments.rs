// SPDX-License-Identifier: GPL-2.0

//! Segments of a persistent store: which are free, which wait, and what has been promised.
//!
//! # States of a segment
//!
//! 1. *Free*.
//! 2. *Owned* by an epoch's copies; one of them is the current one, where contents are appended.
//! 3. *Waiting*: the epoch is not needed any longer, but the checkpoint on disk may still refer to
//!    it. Free when a checkpoint that was begun after that is durable in both superblocks.
//!
//! This is safe only if records settle (or are abandoned) in log order. A checkpoint's cut then
//! lies behind all records of a segment that waited when the checkpoint began. If an old record
//! stayed unsettled while later ones settled, of an epoch that has ended since, the cut would lie
//! before these, and replay would stop where their segment has been reused.
//!
//! A copy reserves blocks before it starts, and takes its place when its record is made. What does
//! not fit at the end of a segment goes to the next one, so each segment counts for less than its
//! blocks: those that may be lost at its end do not count.

#![forbid(unsafe_code)]

use crate::base::bug;
use crate::base::EUCLEAN;
use crate::format::run_blocks;
use crate::format::Layout;
use crate::maps::Bitmap;
use crate::maps::Chunks;
use kernel::prelude::*;

/// The segments. See the [module's documentation](self).
pub struct Segments {
    layout: Layout,
    /// Free segments, the next one last. There is room for all.
    free: KVVec<u64>,
    /// Waiting segments, in the order in which they came. There is room for all.
    waiting: KVVec<u64>,
    /// Blocks left in the current segment.
    room: u64,
    /// Blocks promised.
    reserved: u64,
}

impl Segments {
    /// Makes the list of a store's segments, of which those in `owned` are not free. May sleep.
    ///
    /// Errors: `EUCLEAN` for an owned segment that does not exist or is there twice, `EFBIG` for a
    /// store that is too large, `ENOMEM`.
    pub fn new(layout: Layout, owned: &[u64]) -> Result<Self> {
        let count = usize::try_from(layout.segments).map_err(|_| EFBIG)?;
        let taken = Bitmap::new(layout.segments)?;
        for segment in owned {
            let (start, end) = (*segment, segment.saturating_add(1));
            taken.prepare(Chunks { start, end })?;
            if taken.set(start) != Some(false) {
                return Err(EUCLEAN);
            }
        }
        let mut free = KVVec::with_capacity(count, GFP_KERNEL)?;
        for segment in (0..layout.segments).rev() {
            if !taken.get(segment) {
                free.push(segment, GFP_KERNEL)?;
            }
        }
        Ok(Self {
            layout,
            free,
            waiting: KVVec::with_capacity(count, GFP_KERNEL)?,
            room: 0,
            reserved: 0,
        })
    }

    /// Adds the segments of a store that has grown as free ones. May sleep.
    ///
    /// Errors: `EFBIG` for a store that is too large, `ENOMEM`; nothing is changed then.
    pub fn grow(&mut self, layout: Layout) -> Result {
        let more = layout.segments.saturating_sub(self.layout.segments);
        let total = usize::try_from(layout.segments).map_err(|_| EFBIG)?;
        let room = |list: &KVVec<u64>| total.saturating_sub(list.len());
        let (free, waiting) = (room(&self.free), room(&self.waiting));
        self.free.reserve(free, GFP_KERNEL)?;
        self.waiting.reserve(waiting, GFP_KERNEL)?;
        for segment in self.layout.segments..self.layout.segments + more {
            if self.free.push_within_capacity(segment).is_err() {
                bug("there is no room for a new segment: its space is not used");
            }
        }
        self.layout = layout;
        Ok(())
    }

    /// Returns the layout of the store.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Returns the number of blocks of all segments.
    pub fn capacity(&self) -> u64 {
        self.layout.segments * self.layout.segment_blocks
    }

    /// Returns the number of blocks in segments that are not free, without the rest of the current
    /// one.
    pub fn used(&self) -> u64 {
        // CAST: A length in memory.
        let free = self.free.len() as u64 * self.layout.segment_blocks;
        self.capacity().saturating_sub(free + self.room)
    }

    /// Returns true if segments wait for a checkpoint.
    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Returns true if blocks are promised to copies that have no place yet. Most get less in the
    /// end, as they share a header.
    pub fn has_reserved(&self) -> bool {
        self.reserved > 0
    }

    /// Returns the bound on the blocks that may be lost at the end of a segment: what a copy and
    /// its header take.
    fn loss(&self) -> u64 {
        run_blocks(self.layout.chunk_blocks) + 1
    }

    /// Reserves blocks for up to `wanted` contents and their header. Returns the number of contents
    /// that they are for.
    pub fn reserve(&mut self, wanted: u64) -> u64 {
        let each = self.layout.segment_blocks.saturating_sub(self.loss());
        // CAST: A length in memory.
        let total = self.free.len() as u64 * each + self.room.saturating_sub(self.loss());
        let left = total.saturating_sub(self.reserved).saturating_sub(1);
        let contents = left.checked_div(self.layout.chunk_blocks).unwrap_or(0);
        let granted = wanted.min(contents);
        if granted > 0 {
            self.reserved += self.cost(granted);
        }
        granted
    }

    fn cost(&self, contents: u64) -> u64 {
        contents * self.layout.chunk_blocks + 1
    }

    /// Gives a reservation back, whether it was used or not.
    pub fn unreserve(&mut self, contents: u64) {
        let cost = self.cost(contents);
        self.reserved = self.reserved.saturating_sub(cost);
    }

    /// Reduces a reservation from `from` contents to `to`.
    pub fn narrow(&mut self, from: u64, to: u64) {
        self.reserved = self
            .reserved
            .saturating_sub(self.cost(from).saturating_sub(self.cost(to)));
    }

    /// Makes a free segment the current one, and returns it.
    pub fn take(&mut self) -> Option<u64> {
        let segment = self.free.pop()?;
        self.room = self.layout.segment_blocks;
        Some(segment)
    }

    /// Takes blocks of the current segment that are used now.
    pub fn used_of_current(&mut self, blocks: u64) {
        self.room = self.room.saturating_sub(blocks);
    }

    /// Closes the current segment: no more contents go there.
    pub fn close_current(&mut self) {
        self.room = 0;
    }

    /// Makes segments wait that no snapshot needs any longer.
    pub fn give_back(&mut self, segments: &[u64]) {
        for segment in segments {
            // There is room for every segment that exists.
            if self.waiting.push_within_capacity(*segment).is_err() {
                bug("a segment comes back twice: its space is lost until the next activation");
            }
        }
    }

    /// Returns how many segments wait. A checkpoint that begins now does not refer to them.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Frees the first `count` of the segments that wait.
    pub fn free_waiting(&mut self, count: usize) {
        let Self { free, waiting, .. } = self;
        let mut left = count;
        waiting.retain(|segment| {
            let keep = left == 0;
            if !keep {
                left -= 1;
                // There is room for every segment that exists.
                if free.push_within_capacity(*segment).is_err() {
                    bug("a segment is freed twice: its space is lost until the next activation");
                }
            }
            keep
        });
    }
}
