// SPDX-License-Identifier: GPL-2.0

//! Devices and stores for random histories: as small as may be, so that everything runs full.

#![forbid(unsafe_code)]

use super::device::Config;
use super::Trap;
use dm_preserve_core::format::run_blocks;
use dm_preserve_core::format::Layout;
use sim::Fate;
use sim::Rng;

fn layout(rng: &mut Rng) -> Layout {
    let chunk_blocks = 1 + rng.below(2);
    let (ring_start, ring_blocks) = (2, 24 + rng.below(40));
    let image_start = ring_start + ring_blocks;
    let image_blocks = 160;
    Layout {
        ring_start,
        ring_blocks,
        image_start,
        image_blocks,
        data_start: image_start + 2 * image_blocks,
        segment_blocks: (run_blocks(chunk_blocks) + 2) * (1 + rng.below(3)) + rng.below(8),
        segments: 3 + rng.below(20),
        chunk_blocks,
    }
}

/// That of a seed.
pub(crate) fn config(seed: u64, trap: Option<Trap>) -> Config {
    let mut rng = Rng::new(seed ^ 0xabcd);
    let layout = layout(&mut rng);
    // Some neighbours, two regions or three, the end of the device and what it may grow by.
    let region = 1024 * (1 + u64::from(rng.once_in(4)));
    let mut hot = vec![0, 1, 2, 70, 1022, 1023];
    hot.extend([region - 1].iter().filter(|chunk| **chunk != 1023));
    hot.extend(region..region + 12);
    let chunks = region + 4 + rng.below(4);
    let weights = [(); 6].map(|()| [1, 2, 4, 8, 8][rng.below(5) as usize]);
    Config {
        seed,
        layout,
        chunks,
        max_chunks: region + 12,
        hot,
        default: rng.below(4) > 0,
        keep_unprotected: rng.once_in(5),
        trap,
        weights,
        keep: 1 + rng.below(4),
        check_every: 2,
        outcomes: &[[Fate::Any; 2]],
        life: 1500,
        pause: 60,
        growth: 0,
    }
}

/// Each disk keeps or loses everything, and twice anything.
const OUTCOMES: &[[Fate; 2]] = &[
    [Fate::Lost, Fate::Lost],
    [Fate::Lost, Fate::Kept],
    [Fate::Kept, Fate::Lost],
    [Fate::Kept, Fate::Kept],
    [Fate::Any, Fate::Any],
    [Fate::Any, Fate::Any],
];

/// For a short history: a store that is soon full, little time between one action and the next, and
/// a crash at every disk operation.
pub(crate) fn short(seed: u64) -> Config {
    let mut config = config(seed, None);
    config.layout.segments = 1 + seed % 4;
    Config {
        check_every: 1,
        outcomes: OUTCOMES,
        life: 120,
        pause: 24,
        growth: seed % 3,
        ..config
    }
}
