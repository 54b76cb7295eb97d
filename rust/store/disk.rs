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
    ///
    /// Errors: those of the device, as `EIO`.
    fn read(&mut self, block: u64, out: &mut [u8]) -> Result;
    /// Writes whole blocks. They are durable after the next [`Disk::flush`].
    ///
    /// Errors: those of the device, as `EIO`.
    fn write(&mut self, block: u64, data: &[u8]) -> Result;
    /// Makes durable what was written.
    ///
    /// Errors: those of the device, as `EIO`.
    fn flush(&mut self) -> Result;
}

/// A block on the heap: the kernel's stack is too small for many.
pub struct Buffer(KVec<u8>);

impl Buffer {
    /// Allocates a block of zeroes. May sleep.
    ///
    /// Errors: `ENOMEM`.
    pub fn new() -> Result<Self> {
        Ok(Self(KVec::from_elem(0, BLOCK_BYTES, GFP_KERNEL)?))
    }

    /// Returns the block, to read and write.
    ///
    /// Errors: `EINVAL` if the buffer is too short, which cannot be.
    pub fn block(&mut self) -> Result<&mut Block> {
        self.0.first_chunk_mut().ok_or(EINVAL)
    }

    /// Returns the block, to read.
    ///
    /// Errors: `EINVAL` if the buffer is too short, which cannot be.
    pub fn as_block(&self) -> Result<&Block> {
        self.0.first_chunk().ok_or(EINVAL)
    }

    /// Reads the block from a disk and returns it.
    ///
    /// Errors: those of reading `disk`.
    pub fn load(&mut self, disk: &mut impl Disk, at: u64) -> Result<&Block> {
        disk.read(at, &mut self.0)?;
        self.0.first_chunk().ok_or(EINVAL)
    }
}
