// SPDX-License-Identifier: GPL-2.0

//! `demo`: backups of a live filesystem while it is written to, across a reboot and a power cut,
//! step by step, with every claim checked. Runs as root inside virtual machines (`make demo`); a
//! claim that does not hold ends it with status 1.

#![forbid(unsafe_code)]

mod bank;
mod checks;
mod chunks;
mod content;
mod maps;
mod moved;
mod restart;
mod round;
mod setup;
mod story;
mod table;
mod tell;
mod writers;

use std::process::ExitCode;
use std::time::Duration;
use std::time::Instant;

use anyhow::bail;
use anyhow::Result;
use clap::Parser;

use restart::End;
use round::Round;
use round::Scope;
use setup::Setup;
use story::Entry;
use story::Story;
use tell::heading;
use writers::Writers;

/// Backups of a live filesystem; the three parts run one after the other, in guests with the same
/// disks
#[derive(Parser)]
enum Part {
    /// New disks; ends with a clean shutdown
    First,
    /// Ends when the power is cut, which somebody must do after "power-cut: ready"
    AfterShutdown,
    /// Ends with the table
    AfterPowerCut,
}

/// By when the power should have been cut.
const NO_CUT: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    let part = Part::parse();
    // Without udev, libdevmapper has to make the nodes itself; every child inherits that.
    std::env::set_var("DM_DISABLE_UDEV", "1");
    match demo(&part) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            println!("\nFAILED: {e:?}");
            ExitCode::FAILURE
        }
    }
}

fn demo(part: &Part) -> Result<()> {
    let begin = Instant::now();
    let (setup, mut story) = match part {
        Part::First => (first()?, Story::default()),
        Part::AfterShutdown => restart::run_after(End::Shutdown)?,
        Part::AfterPowerCut => restart::run_after(End::PowerCut)?,
    };
    let writers = Writers::start()?;
    // From a snapshot of full scope everything could be read; one of incremental scope preserves
    // what the backup reads.
    let scopes: &[Scope] = match part {
        Part::First => &[Scope::Full; 3],
        Part::AfterShutdown => &[Scope::Incremental],
        Part::AfterPowerCut => &[Scope::Full],
    };
    for scope in scopes {
        let round = Round::run(&setup, &writers, *scope)?;
        story.entries.push(Entry::Round(round));
    }
    if matches!(part, Part::AfterShutdown) {
        story.save(begin.elapsed())?;
        return wait_for_the_cut(&writers);
    }
    writers.stop()?;
    story.save(begin.elapsed())?;
    setup::take_down()?;
    if matches!(part, Part::AfterPowerCut) {
        table::print(&story);
    }
    Ok(())
}

fn first() -> Result<Setup> {
    println!(
        "dm-preserve: full and incremental backups of a live filesystem while it is written to.\n\
         Lines that begin with # are commands; you can type them in `make shell`."
    );
    Setup::new()
}

/// Everything goes on until the machine is gone.
fn wait_for_the_cut(writers: &Writers) -> Result<()> {
    heading("The writers go on, and the power is cut");
    // scripts/vm waits for this line.
    println!("power-cut: ready");
    let begin = Instant::now();
    while begin.elapsed() < NO_CUT {
        writers.work(Duration::from_secs(6))?;
    }
    bail!("nobody has cut the power")
}
