// SPDX-License-Identifier: GPL-2.0

//! Runs of chunks whose contents follow one another in the store: a sorted list, a node of the
//! [index](crate::maps::index).
//!
//! The list is in blocks that the kernel's allocator has a size for, one filled up after the other,
//! so that at most the last one has room to spare, in whatever order the runs come. Inserting
//! shifts what lies behind, at most 7 KiB; it never allocates.

#![forbid(unsafe_code)]

use kernel::prelude::*;

const OFFSET_BITS: u32 = 28;
const LEN_BITS: u32 = 12;
const POSITION_BITS: u32 = 40;
/// Offsets of a list's chunks are below this: those of a TiB, if a chunk is 4 KiB.
pub const REGION: u64 = 1 << OFFSET_BITS;
/// Most chunks of a run.
pub const MAX_RUN: u64 = 1 << LEN_BITS;
/// Positions in the store are below this.
pub const MAX_POSITION: u64 = 1 << POSITION_BITS;

/// Bytes that a block occupies.
pub const BLOCK_BYTES: usize = 256;
/// Runs of a block.
const BLOCK: usize = BLOCK_BYTES / core::mem::size_of::<Packed>();
/// Most blocks of a list: with them a node of the index occupies 256 bytes.
const BLOCKS: usize = 27;
/// Most runs of a list.
pub const MAX_RUNS: usize = BLOCK * BLOCKS;

/// A run. Its contents begin at `position` in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Offset of the first chunk, below [`REGION`].
    pub offset: u64,
    /// Number of chunks, up to [`MAX_RUN`].
    pub len: u64,
    /// Below [`MAX_POSITION`].
    pub position: u64,
}

impl Run {
    /// Returns the offset of the chunk behind the last one.
    pub fn end(&self) -> u64 {
        self.offset + self.len
    }
}

/// A run in 10 bytes: offset and length - 1, position; both little endian.
#[derive(Clone, Copy)]
struct Packed([u8; 5], [u8; 5]);

fn pack(value: u64) -> [u8; 5] {
    let [a, b, c, d, e, ..] = value.to_le_bytes();
    [a, b, c, d, e]
}

fn unpack([a, b, c, d, e]: [u8; 5]) -> u64 {
    u64::from_le_bytes([a, b, c, d, e, 0, 0, 0])
}

impl From<Run> for Packed {
    fn from(run: Run) -> Self {
        Self(
            pack(run.offset << LEN_BITS | (run.len - 1)),
            pack(run.position),
        )
    }
}

impl From<Packed> for Run {
    fn from(Packed(place, position): Packed) -> Self {
        let place = unpack(place);
        Self {
            offset: place >> LEN_BITS,
            len: (place & (MAX_RUN - 1)) + 1,
            position: unpack(position),
        }
    }
}

/// Room for runs.
pub struct Block([Packed; BLOCK]);

impl Block {
    /// Allocates a block. May sleep.
    ///
    /// Errors: `ENOMEM`.
    pub fn new() -> Result<KBox<Self>> {
        let empty = Packed([0; 5], [0; 5]);
        Ok(KBox::new(Self([empty; BLOCK]), GFP_KERNEL)?)
    }
}

/// The list.
///
/// # Invariants
///
/// The blocks that there are come first, and hold at least `len` runs; those are sorted and do not
/// overlap.
pub struct Runs {
    blocks: [Option<KBox<Block>>; BLOCKS],
    len: usize,
}

impl Runs {
    /// Returns an empty list, without a block.
    pub fn new() -> Self {
        Self {
            blocks: [const { None }; BLOCKS],
            len: 0,
        }
    }

    /// Returns the number of runs that can be added to the blocks that are there.
    pub fn room(&self) -> usize {
        self.blocks.iter().flatten().count() * BLOCK - self.len
    }

    /// Returns the number of runs that can be added if blocks are added too.
    pub fn spare(&self) -> usize {
        MAX_RUNS - self.len
    }

    /// Returns run number `at`, if there are so many.
    pub fn get(&self, at: usize) -> Option<Run> {
        let block = self.blocks.get(at / BLOCK)?.as_ref()?;
        let run = block.0.get(at % BLOCK).filter(|_| at < self.len)?;
        Some(Run::from(*run))
    }

    /// Returns the runs in order.
    pub fn iter(&self) -> impl Iterator<Item = Run> + '_ {
        let blocks = self.blocks.iter().flatten();
        let runs = blocks.flat_map(|block| block.0.iter());
        runs.take(self.len).map(|run| Run::from(*run))
    }

    /// Returns the number of the last run that begins at or before `offset`, if there is one.
    pub fn at_or_before(&self, offset: u64) -> Option<usize> {
        let (mut low, mut high) = (0, self.len);
        while low < high {
            let middle = (low + high) / 2;
            match self.get(middle) {
                Some(run) if run.offset <= offset => low = middle + 1,
                _ => high = middle,
            }
        }
        low.checked_sub(1)
    }

    /// Replaces run number `at`.
    pub fn set(&mut self, at: usize, run: Run) {
        let block = self.blocks.get_mut(at / BLOCK).and_then(Option::as_mut);
        if let Some(place) = block.and_then(|block| block.0.get_mut(at % BLOCK)) {
            *place = Packed::from(run);
        }
    }

    /// Inserts a run before run number `at`. Returns false if there is no room for it.
    pub fn insert(&mut self, at: usize, run: Run) -> bool {
        if self.room() == 0 {
            return false;
        }
        let mut moving = Packed::from(run);
        let mut first = at % BLOCK;
        let used = self.blocks.iter_mut().flatten().take(self.len / BLOCK + 1);
        for block in used.skip(at / BLOCK) {
            let Block(places) = &mut **block;
            // `first` is below `BLOCK`, so nothing here can panic.
            let next = places[BLOCK - 1];
            places.copy_within(first..BLOCK - 1, first + 1);
            places[first] = moving;
            moving = next;
            first = 0;
        }
        self.len += 1;
        true
    }

    /// Adds a block. Returns it if there are too many.
    pub fn add_block(&mut self, block: KBox<Block>) -> Option<KBox<Block>> {
        match self.blocks.iter_mut().find(|place| place.is_none()) {
            Some(place) => place.replace(block),
            None => Some(block),
        }
    }

    /// Moves the lower half of the list, in whole blocks, to a new list. Returns that list and the
    /// last offset that belongs to it. The runs must take two blocks at least.
    ///
    /// If `offset` lies behind the last run, everything moves, so that runs that are added in order
    /// leave full lists.
    pub fn split(&mut self, offset: u64) -> (Self, u64) {
        let last = self.len.checked_sub(1).and_then(|last| self.get(last));
        if let Some(last) = last.filter(|last| last.end() <= offset) {
            return (core::mem::replace(self, Self::new()), last.end() - 1);
        }
        let half = self.len.div_ceil(BLOCK) / 2;
        let mut lower = Self::new();
        for (to, from) in lower
            .blocks
            .iter_mut()
            .zip(self.blocks.iter_mut())
            .take(half)
        {
            core::mem::swap(to, from);
        }
        lower.len = half * BLOCK;
        self.blocks.rotate_left(half);
        self.len -= lower.len;
        let first = self.get(0).map_or(offset, |run| run.offset);
        (lower, first.saturating_sub(1))
    }
}
