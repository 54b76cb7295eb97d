// SPDX-License-Identifier: GPL-2.0

//! Crashes: at any disk operation of random histories, a crash leaves what can be recovered, and
//! what comes out is right. Covers I1, I2 and I3 for persistent stores, rules 1, 3, 4 and 6.
//!
//! Some histories are long; there a crash is tried at one in two operations. Thousands are short:
//! there it is tried at each operation, and each time with several outcomes of what the disks had
//! not made durable.
//!
//! `CRASH_SEED` plays one long history only, `CRASH_STEPS` sets its length, `CRASH_SHORT_SEED`
//! plays a short one.

#![forbid(unsafe_code)]

use super::world::config;
use super::world::run;
use super::world::short;
use super::world::Config;
use super::world::Totals;
use std::ops::Range;

/// Steps of a short history, at least.
const SHORT: u64 = 200;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .and_then(|value| value.parse().ok())
}

/// The seed that the variable `one` names, or as many as `many` or the default says.
fn seeds(one: &str, many: &str, default: u64) -> Range<u64> {
    match setting(one) {
        Some(seed) => seed..seed + 1,
        None => 0..setting(many).unwrap_or(default),
    }
}

#[test]
fn i1_i2_i3_after_crashes_at_any_disk_operation() {
    let seeds = seeds("CRASH_SEED", "CRASH_SEEDS", 80);
    let steps = setting("CRASH_STEPS").unwrap_or(3000);
    let one = seeds.clone().count() == 1;
    let mut totals = Totals::default();
    for seed in seeds {
        let growing = Config {
            growth: seed % 3,
            ..config(seed, None)
        };
        match run(&growing, steps) {
            Ok(one) => totals.add(&one),
            Err(what) => panic!("CRASH_SEED={seed} CRASH_STEPS={steps}: {what}"),
        }
    }
    println!("{totals:?}");
    assert!(one || totals.restarts > 20);
}

fn play(seeds: impl Iterator<Item = u64>) -> Totals {
    let mut totals = Totals::default();
    for seed in seeds {
        match run(&short(seed), SHORT) {
            Ok(one) => totals.add(&one),
            Err(what) => panic!("CRASH_SHORT_SEED={seed}: {what}"),
        }
    }
    totals
}

/// Nothing that crashes are to come upon is left out: whatever is interrupted is found done once
/// and undone once.
#[test]
fn i1_i2_i3_after_crashes_at_every_disk_operation() {
    let seeds = seeds("CRASH_SHORT_SEED", "CRASH_SHORT_SEEDS", 2000);
    let half = |which: usize| play(seeds.clone().skip(which).step_by(2));
    let totals = std::thread::scope(|scope| {
        let other = scope.spawn(|| half(1));
        let mut totals = half(0);
        totals.add(&other.join().unwrap());
        totals
    });
    println!("{totals:?}");
    assert!(
        seeds.count() < 1000 || totals.missing().is_empty(),
        "{:?}",
        totals.missing()
    );
}
