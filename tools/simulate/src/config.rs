// SPDX-License-Identifier: GPL-2.0

//! What a seed decides of a history: devices as small as may be, so that everything runs full.

#![forbid(unsafe_code)]

use dm_preserve_core::maps::Geometry;
use dm_preserve_core::uapi::args::OnError;
use dm_preserve_core::uapi::args::OnFull;
use dm_preserve_core::uapi::args::Options;
use sim::Rng;

/// Blocks of 4 KiB in a chunk, at most.
const MAX_CHUNK_BLOCKS: u64 = 4;
/// Chunks by which a device may grow.
pub(crate) const GROWTH: u64 = 6;

/// What goes wrong in a history, for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Faults {
    /// Nothing.
    None,
    /// The origin cannot be read, written or flushed now and then.
    Origin,
    /// The store cannot be read, written or flushed now and then, or at all.
    Store,
    /// There is no memory now and then.
    Memory,
}

/// See the [module's documentation](self).
#[derive(Clone, Debug)]
pub struct Config {
    /// Decides everything.
    pub seed: u64,
    /// Blocks in a chunk.
    pub chunk_blocks: u64,
    /// Chunks of the device at first.
    pub chunks: u64,
    /// The chunks that are written and looked at; the last ones come when the device grows.
    pub hot: Vec<u64>,
    /// Blocks of the store.
    pub store_blocks: u64,
    /// The table's options.
    pub options: Options,
    /// Tasks that write.
    pub writers: u64,
    /// What each of them does, at most.
    pub writes: u64,
    /// What is asked of the device, at most.
    pub requests: u64,
    /// Of 65536: at so many points another task goes on.
    pub odds: u64,
    /// Of 65536: after so many operations of a drive the power may go.
    pub crashes: u64,
    /// What goes wrong.
    pub faults: Faults,
    /// The device and its store may grow.
    pub grows: bool,
    /// How often the device is made anew from what is there.
    pub lives: u64,
}

impl Config {
    /// That of a seed.
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x5eed);
        let chunk_blocks = [1, 1, 2, MAX_CHUNK_BLOCKS][rng.below(4) as usize];
        // Neighbours, and the border between two regions.
        let mut hot: Vec<u64> = (0..4 + rng.below(12)).collect();
        hot.extend([70, 71]);
        let chunks = match rng.below(3) {
            0 => 80 + rng.below(4),
            _ => {
                hot.extend(1018..1030);
                1030 + rng.below(4)
            }
        };
        hot.extend(chunks..chunks + GROWTH);
        let odds = [600, 3000, 10_000, 30_000][rng.below(4) as usize];
        Self {
            seed,
            chunk_blocks,
            chunks,
            hot,
            store_blocks: 420 + rng.below(900),
            options: Options {
                transient: rng.once_in(8),
                keep_unprotected: rng.once_in(6),
                default_protected: rng.below(5) > 0,
                reset_protection: rng.once_in(8),
                on_full: match rng.below(2) {
                    0 => OnFull::Invalidate,
                    _ => OnFull::Block,
                },
                on_error: match rng.below(2) {
                    0 => OnError::Continue,
                    _ => OnError::Block,
                },
                low_space: 80,
            },
            writers: 1 + rng.below(4),
            writes: 10 + rng.below(40),
            requests: 4 + rng.below(20),
            odds,
            crashes: 65536 / (4 + rng.below(20)),
            faults: match rng.below(8) {
                0 => Faults::Origin,
                1 | 2 => Faults::Store,
                3 => Faults::Memory,
                _ => Faults::None,
            },
            grows: rng.once_in(4),
            lives: 1 + rng.below(3),
        }
    }

    /// Returns the shape of a device of so many sectors.
    pub fn shape(&self, sectors: u64) -> Geometry {
        Geometry::new(sectors, self.chunk_sectors()).unwrap()
    }

    /// Returns the sectors of a chunk.
    pub fn chunk_sectors(&self) -> u64 {
        self.chunk_blocks * 8
    }

    /// Returns the blocks of the origin at first.
    pub fn origin_blocks(&self) -> u64 {
        self.chunks * self.chunk_blocks
    }
}
