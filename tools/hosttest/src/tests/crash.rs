// SPDX-License-Identifier: GPL-2.0

//! Crashes: at any disk operation of random histories, a crash leaves what can be recovered, and what comes
//! out is right. Covers I1, I2 and I3 for persistent stores, rules 1, 3, 4 and 6.
//!
//! `CRASH_SEED` plays one history only, `CRASH_STEPS` sets its length.

#![forbid(unsafe_code)]

use super::sim::config;
use super::sim::run;
use super::sim::Totals;

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
        None => 0..setting("CRASH_SEEDS").unwrap_or(40),
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
