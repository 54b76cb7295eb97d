// SPDX-License-Identifier: GPL-2.0

//! What is on a device, in memory.

#![forbid(unsafe_code)]

use std::fs::File;
use std::os::unix::fs::FileExt;

use anyhow::ensure;
use anyhow::Result;
use rustix::fs::FallocateFlags;

use super::Entry;
use super::Log;
use crate::pattern::SECTOR;

/// Bytes that are written at once when something in them has been.
const PIECE: usize = 64 << 10;

/// What is on a device.
pub struct Image {
    bytes: Vec<u8>,
    /// By piece: something was written there.
    touched: Vec<bool>,
}

impl Clone for Image {
    fn clone(&self) -> Self {
        let mut clone = Self::zeroes(self.sectors());
        clone.touched.clone_from(&self.touched);
        for (n, place) in clone.bytes.chunks_mut(PIECE).enumerate() {
            // Most of a device never is.
            if self.touched[n] {
                place.copy_from_slice(&self.bytes[n * PIECE..][..place.len()]);
            }
        }
        clone
    }
}

impl Image {
    /// Nothing but zeroes.
    pub fn zeroes(sectors: u64) -> Self {
        let bytes = vec![0; sectors as usize * SECTOR];
        let touched = vec![false; bytes.len().div_ceil(PIECE)];
        Image { bytes, touched }
    }

    /// Its size in sectors.
    pub fn sectors(&self) -> u64 {
        (self.bytes.len() / SECTOR) as u64
    }

    /// The content.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Makes an entry's change.
    pub fn apply(&mut self, log: &Log, entry: &Entry) -> Result<()> {
        let end = entry.sector.saturating_add(entry.sectors);
        ensure!(
            end <= self.sectors(),
            "{entry:?} is beyond the device's end"
        );
        let (start, end) = (entry.sector as usize * SECTOR, end as usize * SECTOR);
        log.content(entry, &mut self.bytes[start..end])?;
        if start < end {
            self.touched[start / PIECE..end.div_ceil(PIECE)].fill(true);
        }
        Ok(())
    }

    /// Makes the change in those of an entry's sectors that are `kept`.
    pub fn apply_torn(
        &mut self,
        log: &Log,
        entry: &Entry,
        mut kept: impl FnMut() -> bool,
    ) -> Result<()> {
        for n in 0..entry.sectors {
            if kept() {
                let part = Entry {
                    sector: entry.sector + n,
                    sectors: 1,
                    data: entry.data + n * SECTOR as u64,
                    ..*entry
                };
                self.apply(log, &part)?;
            }
        }
        Ok(())
    }

    /// Brings a file to this content; a loop device over it has it at once.
    pub fn write(&self, path: &str) -> Result<()> {
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        let len = self.bytes.len() as u64;
        file.set_len(len)?;
        let unmap = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(&file, unmap, 0, len)?;
        for (n, bytes) in self.bytes.chunks(PIECE).enumerate() {
            if self.touched[n] {
                file.write_all_at(bytes, (n * PIECE) as u64)?;
            }
        }
        Ok(())
    }
}
