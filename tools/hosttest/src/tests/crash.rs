// SPDX-License-Identifier: GPL-2.0

//! Crashes: at any disk operation of random histories, a crash leaves what can be recovered, and what comes
//! out is right. Covers I1, I2 and I3 for persistent stores, rules 1, 3, 4 and 6.
//!
//! `CRASH_SEED` plays one history only, `CRASH_STEPS` sets its length.

#![forbid(unsafe_code)]

use super::sim::run;
use super::sim::Config;
use super::sim::Rng;
use super::sim::Totals;
use super::sim::Trap;
use crate::layout::Layout;

/// A layout as small as it may be, so that everything runs full.
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

fn config(seed: u64, trap: Option<Trap>) -> Config {
    let mut rng = Rng::new(seed ^ 0xabcd);
    let layout = layout(&mut rng);
    let chunks = 2060 + rng.below(4);
    // Some neighbours, three regions, the end of the device and what it may grow by.
    let mut hot = vec![0, 1, 2, 70, 1023, 1024, 1500, 1501, 2058, 2059];
    hot.extend(2060..2068);
    Config {
        seed,
        layout,
        chunks,
        max_chunks: 2068,
        hot,
        default: rng.below(4) > 0,
        keep_unprotected: rng.once_in(5),
        trap,
        check_every: 2,
    }
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .and_then(|value| value.parse().ok())
}

#[test]
fn i1_i2_i3_after_crashes_at_any_disk_operation() {
    let one = setting("CRASH_SEED");
    let steps = setting("CRASH_STEPS").unwrap_or(3000);
    let seeds = match one {
        Some(seed) => seed..seed + 1,
        None => 0..40,
    };
    let mut totals = Totals::default();
    for seed in seeds {
        match run(&config(seed, None), steps) {
            Ok(one) => totals.add(&one),
            Err(what) => panic!("CRASH_SEED={seed} CRASH_STEPS={steps}: {what}"),
        }
    }
    println!("{totals:?}");
    assert!(one.is_some() || totals.restarts > 20);
}
