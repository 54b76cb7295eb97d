// SPDX-License-Identifier: GPL-2.0

//! Runs histories of the module's engine: for a while, or that of one seed.

#![forbid(unsafe_code)]

use simulate::Config;
use simulate::Totals;
use std::process::ExitCode;
use std::time::Duration;
use std::time::Instant;

const USAGE: &str = "usage: simulate [SECONDS [FIRST-SEED]] | simulate --seed SEED";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse::<u64>().ok();
    match words[..] {
        ["--seed", seed] => match number(seed) {
            Some(seed) => one(seed),
            None => usage(),
        },
        [] => many(10, 1),
        [seconds] => number(seconds).map_or_else(usage, |seconds| many(seconds, 1)),
        [seconds, first] => match (number(seconds), number(first)) {
            (Some(seconds), Some(first)) => many(seconds, first),
            _ => usage(),
        },
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}

/// Runs one history, and shows the kernel's log.
fn one(seed: u64) -> ExitCode {
    let config = Config::new(seed);
    println!("{config:#?}");
    kernel::machine::keep_log();
    let result = simulate::run(&config);
    for line in kernel::machine::take_log() {
        println!("{line}");
    }
    match result {
        Ok(totals) => {
            println!("{totals:#?}");
            ExitCode::SUCCESS
        }
        Err(what) => {
            println!("seed {seed}: {what}");
            ExitCode::FAILURE
        }
    }
}

/// Runs histories for so many seconds.
fn many(seconds: u64, first: u64) -> ExitCode {
    std::panic::set_hook(Box::new(|_| ()));
    let began = Instant::now();
    let (mut totals, mut failed) = (Totals::default(), 0);
    let mut seed = first;
    while began.elapsed() < Duration::from_secs(seconds) {
        match simulate::run(&Config::new(seed)) {
            Ok(more) => totals += more,
            Err(what) => {
                failed += 1;
                println!("seed {seed}: {what}");
            }
        }
        seed += 1;
    }
    println!("{totals:?} in {} s, seeds {first} to {}", began.elapsed().as_secs(), seed - 1);
    println!("{} recoveries, {failed} failed", totals.recoveries);
    match failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}
