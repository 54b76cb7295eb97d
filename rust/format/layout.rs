// SPDX-License-Identifier: GPL-2.0

//! Where things are in a persistent store, in blocks of 4 KiB.
//!
//! ```text
//! 0       1       2        2 + ring     ...                ...                       data_start
//! superblocks     ring     image area 0     image area 1   (rest)                    segments ...
//! ```
//!
//! The ring takes the log's records without contents, the image areas a checkpoint each, by turns;
//! so what is needed to drop a snapshot never competes with contents for space. Segments take the
//! records with contents, each those of one epoch.

#![forbid(unsafe_code)]

use crate::format::block::BLOCK_SECTORS;
use crate::format::superblock::Superblock;
use zerocopy::little_endian::U64;

/// The segment length is chosen so that a store has about so many segments ...
const SEGMENTS: u64 = 512;
/// ... but a segment has at most so many blocks, unless that is too few for 32 copies.
const MAX_SEGMENT: u64 = 1024;
const MIN_RING: u64 = 64;
const MAX_RING: u64 = 2048;
/// Bits of marks that a block of an image holds, about.
const MARKS_PER_BLOCK: u64 = 32_000;
/// Index entries that it holds.
const ENTRIES_PER_BLOCK: u64 = 200;

/// The layout.
///
/// # Invariants
///
/// All areas are within [`MAX_BLOCKS`], in the order shown above, and do not overlap; a segment
/// holds at least one header and the contents of one copy; there are at least one segment and 16
/// blocks in the ring, and at most [`MAX_RING`], which bounds the work of replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// First block of the ring.
    pub ring_start: u64,
    /// Blocks of it.
    pub ring_blocks: u64,
    /// First block of the first image area.
    pub image_start: u64,
    /// Blocks of each.
    pub image_blocks: u64,
    /// First block of the segments.
    pub data_start: u64,
    /// Blocks of each.
    pub segment_blocks: u64,
    /// Their number.
    pub segments: u64,
    /// Blocks of a content.
    pub chunk_blocks: u64,
}

/// Blocks of the largest store: as many as an index can name
/// ([`MAX_POSITION`](crate::maps::MAX_POSITION)).
pub const MAX_BLOCKS: u64 = 1 << 40;

/// Returns the most blocks of the contents of one copy, which are never divided between two
/// segments.
pub fn run_blocks(chunk_blocks: u64) -> u64 {
    chunk_blocks.max(16)
}

impl Layout {
    /// Returns the layout of a new store of `blocks` blocks, for a device of `chunks` chunks;
    /// `None` if the store is too small.
    pub fn new(blocks: u64, chunks: u64, chunk_sectors: u64) -> Option<Self> {
        let chunk_blocks = chunk_sectors / BLOCK_SECTORS;
        let blocks = blocks.min(MAX_BLOCKS);
        let ring_start = 2;
        let ring_blocks = (blocks / 64).clamp(MIN_RING, MAX_RING);
        let image_start = ring_start + ring_blocks;
        // Marks of some epochs that are full, and of more that are not; an index of nothing but
        // single chunks.
        let marks = 32 * (chunks / MARKS_PER_BLOCK + 1);
        let index = blocks / (chunk_blocks + 1) / ENTRIES_PER_BLOCK;
        let image_blocks = (16 + marks + index).min((blocks / 16).max(64));
        let data_start = image_start + 2 * image_blocks;
        let rest = blocks.checked_sub(data_start)?;
        let unit = run_blocks(chunk_blocks) + 2;
        let segment_blocks = (rest / SEGMENTS).clamp(8 * unit, MAX_SEGMENT.max(32 * unit));
        let layout = Self {
            ring_start,
            ring_blocks,
            image_start,
            image_blocks,
            data_start,
            segment_blocks,
            segments: rest / segment_blocks,
            chunk_blocks,
        };
        layout.is_sound().then_some(layout)
    }

    /// Returns the layout that a superblock describes, if it is sound.
    pub fn from_superblock(superblock: &Superblock) -> Option<Self> {
        let chunk_sectors = u64::from(superblock.chunk_sectors.get());
        let layout = Self {
            ring_start: superblock.ring_start.get(),
            ring_blocks: superblock.ring_blocks.get(),
            image_start: superblock.image_start.get(),
            image_blocks: superblock.image_blocks.get(),
            data_start: superblock.data_start.get(),
            segment_blocks: superblock.segment_blocks.get(),
            segments: superblock.segments.get(),
            chunk_blocks: chunk_sectors / BLOCK_SECTORS,
        };
        (chunk_sectors.is_power_of_two() && layout.is_sound()).then_some(layout)
    }

    /// Writes the layout to a superblock.
    pub fn store(&self, superblock: &mut Superblock) {
        superblock.ring_start = U64::new(self.ring_start);
        superblock.ring_blocks = U64::new(self.ring_blocks);
        superblock.image_start = U64::new(self.image_start);
        superblock.image_blocks = U64::new(self.image_blocks);
        superblock.data_start = U64::new(self.data_start);
        superblock.segment_blocks = U64::new(self.segment_blocks);
        superblock.segments = U64::new(self.segments);
    }

    fn is_sound(&self) -> bool {
        // Each small enough that sums and products below cannot overflow.
        let parts = [
            self.ring_start,
            self.ring_blocks,
            self.image_start,
            self.image_blocks,
            self.data_start,
            self.segment_blocks,
            self.segments,
        ];
        if parts.iter().any(|part| *part > MAX_BLOCKS) {
            return false;
        }
        let data = self.segment_blocks.checked_mul(self.segments);
        self.ring_start >= 2
            && (16..=MAX_RING).contains(&self.ring_blocks)
            && self.image_blocks >= 8
            && self.image_start >= self.ring_start + self.ring_blocks
            && self.data_start >= self.image_start + 2 * self.image_blocks
            && (1..=256).contains(&self.chunk_blocks)
            && self.segment_blocks >= run_blocks(self.chunk_blocks) + 2
            && self.segments >= 1
            && data.is_some_and(|data| self.data_start + data <= MAX_BLOCKS)
    }

    /// Returns the number of blocks that the store must have.
    pub fn blocks(&self) -> u64 {
        self.data_start + self.segments * self.segment_blocks
    }

    /// Returns the layout of a store that has `blocks` blocks: with more segments, never fewer.
    pub fn grown(&self, blocks: u64) -> Self {
        let data = blocks.min(MAX_BLOCKS).saturating_sub(self.data_start);
        let segments = data.checked_div(self.segment_blocks).unwrap_or(0);
        Self {
            segments: segments.max(self.segments),
            ..*self
        }
    }

    /// Returns the block of record number `n` in the ring. Records are counted since formatting.
    pub fn ring_block(&self, n: u64) -> u64 {
        self.ring_start + n.checked_rem(self.ring_blocks).unwrap_or(0)
    }

    /// Returns the first block of an image area.
    pub fn image_block(&self, area: u32) -> u64 {
        self.image_start + u64::from(area) * self.image_blocks
    }

    /// Returns the first block of a segment, if the segment exists.
    pub fn segment_start(&self, segment: u64) -> Option<u64> {
        (segment < self.segments).then(|| self.data_start + segment * self.segment_blocks)
    }

    /// Returns the segment that a block lies in, if it lies in one.
    pub fn segment_of(&self, block: u64) -> Option<u64> {
        let segment = block
            .checked_sub(self.data_start)?
            .checked_div(self.segment_blocks)?;
        (segment < self.segments).then_some(segment)
    }
}
