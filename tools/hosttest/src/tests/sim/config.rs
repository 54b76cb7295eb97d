// SPDX-License-Identifier: GPL-2.0

//! Devices and stores for random histories: as small as may be, so that everything runs full.

#![forbid(unsafe_code)]

use super::device::Config;
use super::rng::Rng;
use super::Trap;
use crate::layout::Layout;

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
        segment_blocks: (chunk_blocks + 2) * (2 + rng.below(6)),
        segments: 6 + rng.below(30),
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
    }
}
