// SPDX-License-Identifier: GPL-2.0

//! What recovery and checkpoints ask of a store: blocks read, written and flushed, one after another.

#![forbid(unsafe_code)]

use crate::ondisk::Block;
use crate::ondisk::BLOCK_BYTES;
use kernel::prelude::*;

/// A store, for use from process context. Blocks are those of [`ondisk`](crate::ondisk).
pub(crate) trait Disk {
    /// Reads whole blocks.
    fn read(&mut self, block: u64, out: &mut [u8]) -> Result;
    /// Writes whole blocks. They are durable after the next [`Disk::flush`].
    fn write(&mut self, block: u64, data: &[u8]) -> Result;
    /// Makes durable what was written.
    fn flush(&mut self) -> Result;
}

/// A block on the heap: the kernel's stack is too small for many.
pub(crate) struct Buffer(KVec<u8>);

impl Buffer {
    /// A block of zeroes. May sleep.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self(KVec::from_elem(0, BLOCK_BYTES, GFP_KERNEL)?))
    }

    /// The block.
    pub(crate) fn block(&mut self) -> Result<&mut Block> {
        self.0.first_chunk_mut().ok_or(EINVAL)
    }

    /// The block, read from a disk.
    pub(crate) fn load(&mut self, disk: &mut impl Disk, at: u64) -> Result<&Block> {
        disk.read(at, &mut self.0)?;
        self.0.first_chunk().ok_or(EINVAL)
    }
}
