// SPDX-License-Identifier: GPL-2.0

//! `vmtest`: the tests of `dm-preserve.ko` that need a kernel. Runs as root inside a virtual
//! machine (`scripts/vm --module --tools -- /bin/vmtest run`).

#![forbid(unsafe_code)]

mod health;
mod model;
mod runner;
mod tests;

use std::process::ExitCode;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;

/// What all tests of a run share.
#[derive(Clone, Debug)]
pub struct Env {
    /// Where random tests begin; `None` has each take its own few.
    pub seed: Option<u64>,
    /// Fewer rounds.
    pub quick: bool,
    /// So many times the usual rounds.
    pub times: u64,
    /// The share of the tests that is run.
    pub part: Part,
}

/// One of several shares of the tests: each test is in one of them.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    number: usize,
    of: usize,
}

impl Part {
    /// All tests.
    pub const ALL: Self = Self { number: 1, of: 1 };

    /// From `K/N`.
    fn parse(text: &str) -> Option<Self> {
        let (number, of) = text.split_once('/')?;
        let (number, of) = (number.parse().ok()?, of.parse().ok()?);
        (1..=of).contains(&number).then_some(Self { number, of })
    }

    /// Whether it has the test in place `index`. Neighbours are much alike, so each is in another
    /// share.
    pub fn has(&self, index: usize) -> bool {
        index % self.of + 1 == self.number
    }
}

impl Env {
    /// `full` rounds, or `quick` ones.
    pub fn rounds(&self, full: u64, quick: u64) -> u64 {
        match self.quick {
            true => quick,
            false => full * self.times,
        }
    }
}

const USAGE: &str = "usage: vmtest run [PATTERN] [--seed N] [--quick] [--times N] [--part K/N]
       vmtest list
       vmtest powercut|powercut-check --seed N
Runs the tests whose name contains PATTERN; --times: random ones go so many times as far, in \
as much time; --part: the Kth of N shares of the tests. \
$DM_PRESERVE_KO is the module (/lib/dm-preserve.ko).";

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(e) => {
            eprintln!("{e:?}");
            ExitCode::FAILURE
        }
    }
}

fn number(option: &str, value: Option<String>) -> Result<u64> {
    let value = value.context(USAGE)?;
    value
        .parse()
        .with_context(|| format!("{option} N: {value:?} is not a number"))
}

fn run() -> Result<ExitCode> {
    let mut args = std::env::args().skip(1);
    let verb = args.next().context(USAGE)?;
    if verb == tests::unprivileged::PROBE {
        return tests::unprivileged::probe(&args.collect::<Vec<_>>());
    }
    let mut env = Env {
        seed: None,
        quick: false,
        times: 1,
        part: Part::ALL,
    };
    let mut pattern = None;
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--quick" => env.quick = true,
            "--seed" => env.seed = Some(number(&arg, args.next())?),
            "--times" => env.times = number(&arg, args.next())?,
            "--part" => env.part = args.next().and_then(|k| Part::parse(&k)).context(USAGE)?,
            arg if arg.starts_with('-') || pattern.is_some() => bail!(USAGE),
            _ => pattern = Some(arg),
        }
    }
    match verb.as_str() {
        "run" => runner::run_all(&pattern.unwrap_or_default(), &env),
        // One test in this process: what `run` starts, with a time limit around it.
        runner::ONE => runner::run_one(&pattern.context(USAGE)?, &env),
        // With the disks of scripts/powercut: looks at what a power cut has left, and goes on until
        // the next one.
        "powercut" | "powercut-check" => {
            runner::load_module()?;
            let last = verb == "powercut-check";
            tests::persistent::powercut::run(env.seed.context(USAGE)?, last)?;
            Ok(ExitCode::SUCCESS)
        }
        "list" => {
            for case in tests::all() {
                println!("{}", case.name());
            }
            Ok(ExitCode::SUCCESS)
        }
        _ => bail!(USAGE),
    }
}

#[cfg(test)]
mod unit {
    use super::Part;

    /// The shares of `of` parts together are everything, once.
    #[test]
    fn each_test_is_in_one_part() {
        for of in 1..6 {
            let parts: Vec<Part> = (1..=of)
                .filter_map(|k| Part::parse(&format!("{k}/{of}")))
                .collect();
            assert_eq!(parts.len(), of);
            for index in 0..50 {
                assert_eq!(parts.iter().filter(|part| part.has(index)).count(), 1);
            }
        }
        assert!((0..50).all(|index| Part::ALL.has(index)));
    }

    #[test]
    fn what_is_no_part_is_refused() {
        for text in ["", "1", "0/2", "3/2", "1/0", "a/b", "1/2/3", "-1/2"] {
            assert!(Part::parse(text).is_none(), "{text}");
        }
    }
}
