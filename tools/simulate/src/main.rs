// SPDX-License-Identifier: GPL-2.0

//! Runs histories of the module's engine: many, or one that a seed and settings name.

#![forbid(unsafe_code)]

use simulate::Config;
use simulate::Totals;
use std::process::ExitCode;
use std::time::Duration;
use std::time::Instant;

const USAGE: &str = "\
usage: simulate --histories N [FIRST-SEED]      so many, from a seed on (1)
       simulate --seconds N [FIRST-SEED]        for so long
       simulate --until-failure N [FIRST-SEED]  the same, until one fails
       simulate --seed SEED [SETTING=N...]      one, with the kernel's log

A history that fails is made simpler, and the command that has it again is shown.";

/// How long a history that fails is made simpler at most.
const SHRINKING: Duration = Duration::from_secs(20);

/// When to stop.
#[derive(Clone, Copy, Default)]
struct Bounds {
    histories: Option<u64>,
    seconds: Option<u64>,
    failures: Option<u64>,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    run(&words).unwrap_or_else(|| {
        eprintln!("{USAGE}");
        ExitCode::from(2)
    })
}

/// Does what the arguments say; `None` if they say nothing.
fn run(words: &[&str]) -> Option<ExitCode> {
    let (what, count) = (*words.first()?, words.get(1)?.parse().ok()?);
    if what == "--seed" {
        let mut config = Config::new(count);
        for setting in words.get(2..)? {
            let (name, value) = setting.split_once('=')?;
            config = config.set(name, value.parse().ok()?)?;
        }
        return Some(one(&config));
    }
    let first = words.get(2).map_or(Some(1), |word| word.parse().ok())?;
    let bounds = match what {
        "--histories" => Bounds {
            histories: Some(count),
            ..Bounds::default()
        },
        "--seconds" => Bounds {
            seconds: Some(count),
            ..Bounds::default()
        },
        "--until-failure" => Bounds {
            seconds: Some(count),
            failures: Some(1),
            ..Bounds::default()
        },
        _ => return None,
    };
    Some(many(first, bounds))
}

/// Runs one history, and shows the kernel's log.
fn one(config: &Config) -> ExitCode {
    kernel::machine::keep_log();
    let result = simulate::run(config);
    for line in kernel::machine::take_log() {
        println!("{line}");
    }
    match result {
        Ok(totals) => {
            println!("{totals:#?}");
            ExitCode::SUCCESS
        }
        Err(what) => {
            println!("{what}");
            ExitCode::FAILURE
        }
    }
}

/// Runs histories.
fn many(first: u64, bounds: Bounds) -> ExitCode {
    // What panics in a history is told below.
    std::panic::set_hook(Box::new(|_| ()));
    let began = Instant::now();
    let (mut totals, mut failed, mut seed) = (Totals::default(), 0, first);
    let is_within = |bound: Option<u64>, now: u64| bound.is_none_or(|bound| now < bound);
    while is_within(bounds.histories, seed - first)
        && is_within(bounds.seconds, began.elapsed().as_secs())
        && is_within(bounds.failures, failed)
    {
        let config = Config::new(seed);
        match simulate::run(&config) {
            Ok(more) => totals += more,
            Err(what) => {
                failed += 1;
                println!("seed {seed}: {what}");
                if bounds.failures.is_none() {
                    tell_simpler(&config, &what);
                }
            }
        }
        seed += 1;
    }
    println!(
        "{} histories in {} s: {totals}",
        seed - first,
        began.elapsed().as_secs()
    );
    println!(
        "{} recoveries, {failed} histories failed",
        totals.recoveries
    );
    match failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn tell_simpler(config: &Config, what: &str) {
    let (simpler, what) = simulate::shrink(config, what, SHRINKING);
    println!("  simpler: {}\n  {what}", simpler.command());
}
