// SPDX-License-Identifier: GPL-2.0

//! The command `preserve`: snapshots of selected blocks of a live device, and backups of them.

#![forbid(unsafe_code)]

mod apply;
mod backup;
mod check;
mod cli;
mod create;
mod designation;
mod events;
mod format;
#[cfg(test)]
mod manual;
mod map;
mod output;
mod rollback;
mod snapshots;
mod status;
mod view;
mod vouch;

use std::process::ExitCode;

use clap::Parser;
use preserve::device::Live;
use preserve::Result;

use cli::Cli;
use cli::Command;
use output::Output;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads our output has seen enough.
        Err(e) if e.is_broken_pipe() => ExitCode::from(e.exit_code()),
        Err(e) => {
            eprintln!("preserve: {e}");
            ExitCode::from(e.exit_code())
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    let output = Output {
        json: cli.json,
        quiet: cli.quiet,
    };
    match cli.command {
        Command::Create(args) => create::create(&args, output),
        Command::Remove { name } => create::remove(&name),
        Command::Status { name } => status::status(name.as_deref(), output),
        Command::Trust { name } => Live::open(&name)?.trust(),
        Command::Snapshot(args) => snapshots::snapshot(&args, output),
        Command::Drop { name, id, forget } => snapshots::drop_snapshot(&name, id, forget),
        Command::Protect(args) => designation::protect(&args, output),
        Command::Unprotect(args) => designation::unprotect(&args, output),
        Command::Map(args) => map::map(&args, output),
        Command::View(args) => view::view(&args, output),
        Command::Backup(args) => backup::backup(&args, output),
        Command::Apply(args) => apply::apply(args, output),
        Command::Verify { stream } => apply::verify(&stream, output),
        Command::Rollback(args) => rollback::rollback(&args, output),
        Command::Check(args) => check::check(&args, output),
        Command::Dump(args) => check::dump(&args, output),
        Command::NoteFailed { name } => vouch::note_failed(&name),
        Command::Events { name, count } => events::events(&name, count, output),
    }
}
