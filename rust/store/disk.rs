// SPDX-License-Identifier: GPL-2.0

//! What recovery and checkpoints ask of a store: blocks read, written and flushed, one after
//! another.

#![forbid(unsafe_code)]

use crate::format::Block;
use crate::format::BLOCK_BYTES;
use kernel::prelude::*;

/// A store, for use from process context. Blocks are those of [`format`](crate::format).
pub trait Disk {
    /// Reads whole blocks.
    fn read(&mut self, block: u64, out: &mut [u8]) -> Result;
    /// Writes whole blocks. They are durable after the next [`Disk::flush`].
    fn write(&mut self, block: u64, data: &[u8]) -> Result;
    /// Makes durable what was written.
    fn flush(&mut self) -> Result;
}

/// A block on the heap: the kernel's stack is too small for many.
pub struct Buffer(KVec<u8>);

impl Buffer {
    /// A block of zeroes. May sleep.
    pub fn new() -> Result<Self> {
        Ok(Self(KVec::from_elem(0, BLOCK_BYTES, GFP_KERNEL)?))
    }

    /// The block.
    pub fn block(&mut self) -> Result<&mut Block> {
        self.0.first_chunk_mut().ok_or(EINVAL)
    }

    /// Returns the block, to read.
    ///
    /// Errors: `EINVAL` cannot be.
    pub fn as_block(&self) -> Result<&Block> {
        self.0.first_chunk().ok_or(EINVAL)
    }

    /// The block, read from a disk.
    pub fn load(&mut self, disk: &mut impl Disk, at: u64) -> Result<&Block> {
        disk.read(at, &mut self.0)?;
        self.0.first_chunk().ok_or(EINVAL)
    }
}
