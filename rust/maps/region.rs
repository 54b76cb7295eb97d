// SPDX-License-Identifier: GPL-2.0

//! Regions: the unit in which the log announces writes of chunks that no snapshot needs.
//!
//! A small region makes recovery guess fewer changes, a large one costs fewer records.

#![forbid(unsafe_code)]

use crate::maps::chunk::Chunks;

/// Chunks of a region: 4 MiB with chunks of 4 KiB.
const CHUNKS: u64 = 1024;

/// Returns the number of regions of a device.
pub fn count(chunks: u64) -> u64 {
    chunks.div_ceil(CHUNKS)
}

/// Returns the region of a chunk.
pub fn of(chunk: u64) -> u64 {
    chunk / CHUNKS
}

/// Returns the chunks of a region, on a device of `chunks` chunks.
pub fn chunks(region: u64, chunks: u64) -> Chunks {
    let start = region.saturating_mul(CHUNKS).min(chunks);
    Chunks {
        start,
        end: start.saturating_add(CHUNKS).min(chunks),
    }
}
