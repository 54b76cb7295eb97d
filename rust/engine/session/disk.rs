// SPDX-License-Identifier: GPL-2.0

//! A store's device, read and written block by block.

#![forbid(unsafe_code)]

use crate::dm::BlockDevice;
use crate::dm::Direction;
use crate::dm::Io;
use crate::format::BLOCK_BYTES;
use crate::format::BLOCK_SECTORS;
use crate::store::Disk;
use kernel::prelude::*;
use kernel::time::Instant;
use kernel::time::Monotonic;

/// Bytes read or written at once.
pub(in crate::engine) const PIECE_BYTES: usize = 64 << 10;

/// How often recovery tells how far it is, in milliseconds.
const PROGRESS_MS: i64 = 5000;

/// Returns what a store's device has failed with, as one error: its own have other meanings here,
/// such as `ENODEV` (there is no session) and `ENOSPC` (a checkpoint does not fit).
fn as_eio(error: Error) -> Error {
    match error {
        ENOMEM => ENOMEM,
        _ => EIO,
    }
}

/// A store's device, for recovery and checkpoints. What is read is not written by others meanwhile.
pub(in crate::engine) struct StoreDisk<'a> {
    device: &'a BlockDevice,
    io: &'a mut Io<()>,
    /// Single blocks are read with what follows them.
    reads_ahead: bool,
    /// The first block that was read ahead, and how many follow.
    ahead: (u64, u64),
    /// Set while what is read is told.
    progress: Option<Progress>,
}

/// How far reading the store has come.
struct Progress {
    began: Instant<Monotonic>,
    told: Instant<Monotonic>,
    bytes: u64,
}

impl Progress {
    fn begin() -> Self {
        let now = Instant::now();
        Self {
            began: now,
            told: now,
            bytes: 0,
        }
    }

    /// Counts bytes read from a block on, and logs the progress now and then.
    fn count(&mut self, device: &BlockDevice, block: u64, bytes: u64) {
        self.bytes += bytes;
        if self.told.elapsed().as_millis() < PROGRESS_MS {
            return;
        }
        self.told = Instant::now();
        pr_info!(
            "{}: reading the store for {} s now: {} MiB so far, at block {block} of {}\n",
            device.devt(),
            self.began.elapsed().as_millis() / 1000,
            self.bytes >> 20,
            device.sectors() / BLOCK_SECTORS
        );
    }
}

impl<'a> StoreDisk<'a> {
    /// Returns a disk that reads and writes through `io`, of 64 KiB or more.
    pub(in crate::engine) fn new(device: &'a BlockDevice, io: &'a mut Io<()>) -> Self {
        Self {
            device,
            io,
            reads_ahead: false,
            ahead: (0, 0),
            progress: None,
        }
    }

    /// Prepares the disk for recovery, which reads block by block: blocks are read ahead, and the
    /// progress is logged if it takes long.
    pub(super) fn for_recovery(self) -> Self {
        Self {
            reads_ahead: true,
            progress: Some(Progress::begin()),
            ..self
        }
    }

    /// Reads into the buffer.
    fn read_piece(&mut self, block: u64, sector: u64, bytes: u32) -> Result {
        let read = self.io.run(self.device, Direction::Read, sector, bytes);
        read.map_err(as_eio)?;
        if let Some(progress) = self.progress.as_mut() {
            progress.count(self.device, block, u64::from(bytes));
        }
        Ok(())
    }

    /// Reads one block, which may have been read ahead. If not, it is read together with those that
    /// follow it.
    fn read_block(&mut self, block: u64, out: &mut [u8]) -> Result {
        let (first, count) = self.ahead;
        let skip = block.wrapping_sub(first);
        if skip < count {
            // CAST: Less than a piece.
            return self.io.copy_out(skip as usize * BLOCK_BYTES, out);
        }
        self.ahead = (0, 0);
        let sector = self.place(block, 0, out.len())?;
        let left = (self.device.sectors() - sector) / BLOCK_SECTORS;
        let blocks = left.min((PIECE_BYTES / BLOCK_BYTES) as u64);
        // CAST: At most a piece.
        let bytes = blocks as u32 * BLOCK_BYTES as u32;
        match self.read_piece(block, sector, bytes) {
            Ok(()) => self.ahead = (block, blocks),
            // Something that follows cannot be read.
            Err(_) => {
                // CAST: One block.
                let bytes = out.len() as u32;
                self.read_piece(block, sector, bytes)?;
            }
        }
        self.io.copy_out(0, out)
    }

    fn place(&self, block: u64, offset: usize, len: usize) -> Result<u64> {
        // CAST: An offset in memory.
        let sector = block * BLOCK_SECTORS + offset as u64 / crate::maps::SECTOR_BYTES;
        let end = sector + len as u64 / crate::maps::SECTOR_BYTES;
        match len % BLOCK_BYTES == 0 && end <= self.device.sectors() {
            true => Ok(sector),
            false => Err(EIO),
        }
    }
}

impl Disk for StoreDisk<'_> {
    fn read(&mut self, block: u64, out: &mut [u8]) -> Result {
        if self.reads_ahead && out.len() == BLOCK_BYTES {
            return self.read_block(block, out);
        }
        self.ahead = (0, 0);
        for (n, piece) in (0..).zip(out.chunks_mut(PIECE_BYTES)) {
            let sector = self.place(block, n * PIECE_BYTES, piece.len())?;
            // CAST: At most a piece.
            let bytes = piece.len() as u32;
            self.read_piece(block, sector, bytes)?;
            self.io.copy_out(0, piece)?;
        }
        Ok(())
    }

    fn write(&mut self, block: u64, data: &[u8]) -> Result {
        self.ahead = (0, 0);
        for (n, piece) in (0..).zip(data.chunks(PIECE_BYTES)) {
            let sector = self.place(block, n * PIECE_BYTES, piece.len())?;
            self.io.copy_in(0, piece)?;
            // CAST: At most a piece.
            let bytes = piece.len() as u32;
            let written = self.io.run(self.device, Direction::Write, sector, bytes);
            written.map_err(as_eio)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result {
        self.device.flush().map_err(as_eio)
    }
}
