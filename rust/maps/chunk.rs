// SPDX-License-Identifier: GPL-2.0

//! Chunk arithmetic: from sectors to chunks and back, with every overflow checked.

#![forbid(unsafe_code)]

use kernel::prelude::*;

/// Bytes of a sector.
pub const SECTOR_BYTES: u64 = 512;
/// Smallest chunk in sectors: 4 KiB, a page.
pub const MIN_CHUNK_SECTORS: u64 = 8;
/// Largest chunk in sectors: 1 MiB, what one bio of single pages can hold.
pub const MAX_CHUNK_SECTORS: u64 = 2048;
/// Largest chunk of a device with a persistent store, whose contents share a bio with a header.
pub const MAX_PERSISTENT_CHUNK_SECTORS: u64 = 1024;

/// A run of chunks: `start..end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunks {
    /// The first one.
    pub start: u64,
    /// The one after the last.
    pub end: u64,
}

impl Chunks {
    /// Returns the number of chunks.
    pub fn len(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Returns true if there are no chunks.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns true if `chunk` is one of them.
    pub fn contains(&self, chunk: u64) -> bool {
        self.start <= chunk && chunk < self.end
    }
}

/// Returns the same chunks in runs that are sorted, not empty, and do not touch. May sleep.
///
/// Errors: `ENOMEM`.
pub fn merged(runs: KVVec<Chunks>) -> Result<KVVec<Chunks>> {
    let mut runs = runs;
    sort(&mut runs);
    let mut merged: KVVec<Chunks> = KVVec::with_capacity(runs.len(), GFP_KERNEL)?;
    for run in runs.iter().filter(|run| !run.is_empty()) {
        match merged.last_mut() {
            Some(last) if run.start <= last.end => last.end = last.end.max(run.end),
            _ => merged.push(*run, GFP_KERNEL)?,
        }
    }
    Ok(merged)
}

/// Sorts runs by their first chunks: by a heap, which takes neither memory nor recursion. (The
/// library's sort can panic, in a way that the kernel's build warns of.)
fn sort(runs: &mut [Chunks]) {
    let mut len = runs.len();
    for root in (0..len / 2).rev() {
        sift_down(runs, root, len);
    }
    while len > 1 {
        len -= 1;
        runs.swap(0, len);
        sift_down(runs, 0, len);
    }
}

/// Makes a heap of the part of `runs` below `root`, of which only `root` may be out of place; `len`
/// runs, all there, are in the heap.
fn sift_down(runs: &mut [Chunks], root: usize, len: usize) {
    let mut root = root;
    while 2 * root + 1 < len {
        let mut child = 2 * root + 1;
        if child + 1 < len && runs[child].start < runs[child + 1].start {
            child += 1;
        }
        if runs[root].start >= runs[child].start {
            return;
        }
        runs.swap(root, child);
        root = child;
    }
}

/// A device's length and chunk size.
///
/// # Invariants
///
/// The chunk size is a power of two between the limits above; the length is less than 2^63 sectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    sectors: u64,
    shift: u32,
}

impl Geometry {
    /// Returns the geometry of a device. `None` if the chunk size is not a power of two within the
    /// limits, or the length is 2^63 sectors or more.
    pub fn new(sectors: u64, chunk_sectors: u64) -> Option<Self> {
        let valid = chunk_sectors.is_power_of_two()
            && (MIN_CHUNK_SECTORS..=MAX_CHUNK_SECTORS).contains(&chunk_sectors)
            && sectors <= u64::MAX >> 1;
        valid.then(|| Self {
            sectors,
            shift: chunk_sectors.trailing_zeros(),
        })
    }

    /// Returns the geometry with the same chunk size and another length; `None` if that is 2^63
    /// sectors or more.
    pub fn with_sectors(&self, sectors: u64) -> Option<Self> {
        Self::new(sectors, self.chunk_sectors())
    }

    /// Returns the length of the device in sectors.
    pub fn sectors(&self) -> u64 {
        self.sectors
    }

    /// Returns the chunk size in sectors.
    pub fn chunk_sectors(&self) -> u64 {
        1 << self.shift
    }

    /// Returns the chunk size in bytes.
    pub fn chunk_bytes(&self) -> u64 {
        SECTOR_BYTES << self.shift
    }

    /// Returns the number of chunks; the last one may be short.
    pub fn chunks(&self) -> u64 {
        self.sectors.div_ceil(self.chunk_sectors())
    }

    /// Returns the first sector of a chunk, or of the position of a content in the store.
    pub fn sector(&self, chunk: u64) -> u64 {
        chunk << self.shift
    }

    /// Returns the chunk that a sector lies in.
    pub fn chunk(&self, sector: u64) -> u64 {
        sector >> self.shift
    }

    /// Returns the number of sectors of `chunks`; those beyond the end of the device do not count.
    pub fn sectors_of(&self, chunks: Chunks) -> u64 {
        let end = self.sector(chunks.end).min(self.sectors);
        end.saturating_sub(self.sector(chunks.start))
    }

    /// Returns `start + len`, if the range is not empty and ends within the device.
    pub fn range_end(&self, start: u64, len: u64) -> Option<u64> {
        let end = start.checked_add(len)?;
        (len > 0 && end <= self.sectors).then_some(end)
    }

    /// Returns the chunks that a valid range of sectors touches.
    pub fn outward(&self, start: u64, end: u64) -> Chunks {
        Chunks {
            start: start >> self.shift,
            end: end.div_ceil(self.chunk_sectors()),
        }
    }

    /// Returns the chunks that lie wholly within a valid range of sectors. The last, short chunk is
    /// one of them if the range reaches the end of the device.
    pub fn inward(&self, start: u64, end: u64) -> Chunks {
        let first = start.div_ceil(self.chunk_sectors());
        let end = match end >= self.sectors {
            true => self.chunks(),
            false => end >> self.shift,
        };
        Chunks {
            start: first,
            end: end.max(first),
        }
    }
}
