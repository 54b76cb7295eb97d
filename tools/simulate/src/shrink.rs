// SPDX-License-Identifier: GPL-2.0

//! Makes a history that fails simpler, as long as it fails in the same way.

#![forbid(unsafe_code)]

use crate::config::Config;
use crate::config::SETTINGS;
use crate::history;
use std::time::Duration;
use std::time::Instant;

/// How many orders of events are tried with settings that are simpler.
const TRIES: u64 = 12;

/// Returns a simpler history that fails in the same way, and how. Goes on for so long at most.
pub fn shrink(config: &Config, what: &str, longest: Duration) -> (Config, String) {
    let began = Instant::now();
    let mut best = (config.clone(), what.to_string());
    loop {
        let simpler = SETTINGS.iter().find_map(|(name, simplest)| {
            let now = best.0.get(name);
            let middle = now.midpoint(*simplest);
            // The largest step first.
            [*simplest, middle, now.saturating_sub(1).max(*simplest)]
                .into_iter()
                .filter(|value| *value != now && began.elapsed() < longest)
                .find_map(|value| fails(&best.0.set(name, value)?, what))
        });
        match simpler {
            Some(simpler) => best = simpler,
            None => return best,
        }
    }
}

/// Looks for an order of events in which a history fails in the same way.
fn fails(config: &Config, what: &str) -> Option<(Config, String)> {
    (0..TRIES).find_map(|n| {
        let mut config = config.clone();
        config.seed = config.seed.wrapping_add(n * 0x1_0001);
        match history::run(&config) {
            Err(other) if kind(&other) == kind(what) => Some((config, other)),
            _ => None,
        }
    })
}

/// Returns what is alike in all failures of a kind: the words without their numbers.
fn kind(what: &str) -> String {
    let what = what.rsplit_once(": I").map_or(what, |(_, what)| what);
    what.chars().filter(|c| !c.is_ascii_digit()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_of_a_kind_differ_in_numbers_only() {
        let one = "life 1, crash 2: snapshot 1: I1: wrong content of chunk 1022";
        let other = "life 0, crash 17: snapshot 12: I1: wrong content of chunk 3";
        assert_eq!(kind(one), kind(other));
        assert_ne!(
            kind(one),
            kind("life 0: snapshot 12: I3: chunk 3 has changed")
        );
    }
}
