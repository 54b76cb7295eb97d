// SPDX-License-Identifier: GPL-2.0

//! `vmtest`: the tests of `dm-preserve.ko` that need a kernel. Runs as root inside a virtual machine
//! (`scripts/vm --module --tools -- /bin/vmtest run`).

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

const USAGE: &str = "usage: vmtest run [PATTERN] [--seed N] [--quick] [--times N]
       vmtest list
       vmtest powercut|powercut-check --seed N
Runs the tests whose name contains PATTERN; --times: random ones go so many times as far, in as much time. $DM_PRESERVE_KO is the module (/lib/dm-preserve.ko).";

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
    };
    let mut pattern = None;
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--quick" => env.quick = true,
            "--seed" => env.seed = Some(number(&arg, args.next())?),
            "--times" => env.times = number(&arg, args.next())?,
            arg if arg.starts_with('-') || pattern.is_some() => bail!(USAGE),
            _ => pattern = Some(arg),
        }
    }
    match verb.as_str() {
        "run" => runner::run_all(&pattern.unwrap_or_default(), &env),
        // One test in this process: what `run` starts, with a time limit around it.
        runner::ONE => runner::run_one(&pattern.context(USAGE)?, &env),
        // With the disks of scripts/powercut: looks at what a power cut has left, and goes on until the next one.
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
