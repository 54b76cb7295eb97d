// SPDX-License-Identifier: GPL-2.0

//! `demo`: backups of a live filesystem while it is written to, step by step, with every claim checked.
//! Runs as root inside a virtual machine (`make demo`); a claim that does not hold ends it with status 1.

#![forbid(unsafe_code)]

mod bank;
mod checks;
mod chunks;
mod content;
mod maps;
mod moved;
mod round;
mod setup;
mod table;
mod tell;
mod writers;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;

use round::Round;
use round::Scope;
use setup::Setup;
use writers::Writers;

fn main() -> ExitCode {
    // Without udev, libdevmapper has to make the nodes itself; every child inherits that.
    std::env::set_var("DM_DISABLE_UDEV", "1");
    match demo() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            println!("\nFAILED: {e:?}");
            ExitCode::FAILURE
        }
    }
}

fn demo() -> Result<()> {
    let begin = Instant::now();
    println!(
        "dm-preserve: full and incremental backups of a live filesystem while it is written to.\n\
         Lines that begin with # are commands; you can type them in `make shell`."
    );
    let setup = Setup::new()?;
    let writers = Writers::start()?;
    let mut rounds: Vec<Round> = Vec::new();
    // The last snapshot preserves only what an incremental backup reads; the others could be read whole.
    let scopes = [Scope::Full; 4].into_iter().chain([Scope::Incremental]);
    for scope in scopes {
        let round = Round::run(&setup, &writers, scope, rounds.last())?;
        rounds.push(round);
    }
    writers.stop()?;
    setup::take_down()?;
    table::print(&rounds, begin.elapsed());
    Ok(())
}
