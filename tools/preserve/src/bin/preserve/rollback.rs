// SPDX-License-Identifier: GPL-2.0

//! `rollback`: the origin as it was at a snapshot.

#![forbid(unsafe_code)]

use std::fmt::Write;
use std::io;
use std::io::IsTerminal;
use std::path::PathBuf;

use clap::Args;
use offline::RollbackReport;
use preserve::error::Context;
use preserve::store::rollback;
use preserve::store::rollback::Options;
use preserve::units;
use preserve::Error;
use preserve::Result;

use crate::output::Output;

#[derive(Args)]
pub struct Rollback {
    /// The snapshot's id, or latest
    #[arg(value_parser = snapshot)]
    pub snapshot: Wanted,
    /// Block device that holds the data, or an image of it; no live device may be over it
    #[arg(long)]
    pub origin: PathBuf,
    /// Its persistent store
    #[arg(long)]
    pub store: PathBuf,
    /// Chunks whose frozen content is gone or damaged are left as they are now; without it they are
    /// a failure
    #[arg(long)]
    pub leave_lost: bool,
    /// The store was not closed, but is known not to have failed before: its snapshots are right
    #[arg(long)]
    pub trust: bool,
    /// Only read and verify, and say what would be done
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

/// A snapshot's id; the latest snapshot without one.
#[derive(Clone, Copy)]
pub struct Wanted(Option<u64>);

fn snapshot(text: &str) -> std::result::Result<Wanted, String> {
    match text {
        "latest" => Ok(Wanted(None)),
        id => match id.parse() {
            Ok(id @ 1..) => Ok(Wanted(Some(id))),
            _ => Err(format!("{text:?} is neither a snapshot's id nor latest")),
        },
    }
}

pub fn rollback(args: &Rollback, output: Output) -> Result<()> {
    let options = Options {
        origin: args.origin.clone(),
        store: args.store.clone(),
        id: args.snapshot.0,
        leave_lost: args.leave_lost,
        trust: args.trust,
        dry_run: args.dry_run,
        quiet: output.quiet,
    };
    let report = rollback::rollback(&options, |report| {
        if !output.quiet || !args.yes {
            eprint!("{}", text(args, report));
        }
        rollback::verdict(&options, report)?;
        confirm(args, report.under_way)
    })?;
    output.result(&report, || match report.done {
        true => format!(
            "{} is at snapshot {} now ({} written)",
            args.origin.display(),
            report.snapshot,
            units::human(report.bytes)
        ),
        false => text(args, &report),
    })?;
    rollback::verdict(&options, &report)
}

fn confirm(args: &Rollback, under_way: bool) -> Result<()> {
    if args.yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        let text = "a rollback must be confirmed: give --yes, or look first with --dry-run";
        return Err(Error::Usage(text.into()));
    }
    eprint!("Type yes to go on: ");
    let mut answer = String::new();
    let read = io::stdin().read_line(&mut answer);
    read.context(|| "cannot read the answer")?;
    match answer.trim() {
        "yes" => Ok(()),
        _ if under_way => Err(Error::Failed(
            "not confirmed; nothing was changed by this command, but the rollback that was begun \
             earlier is still to be finished"
                .into(),
        )),
        _ => Err(Error::Failed("not confirmed; nothing was changed".into())),
    }
}

/// What is done, and what is lost by it.
fn text(args: &Rollback, report: &RollbackReport) -> String {
    let size = |chunks: u64| units::human(chunks.saturating_mul(report.chunk_bytes));
    let mut text = format!(
        "snapshot {} ({}): {} chunks ({}) are written back to {}\n",
        report.snapshot,
        report.time,
        report.chunks,
        size(report.chunks),
        args.origin.display()
    );
    // Writing to a string does not fail.
    let _ = writeln!(
        text,
        "  {} chunks have not changed since; {} were not protected and stay as they are",
        report.unchanged, report.unprotected
    );
    for lost in &report.lost {
        let _ = writeln!(
            text,
            "  LOST: chunks {}+{} are {}",
            lost.start, lost.len, lost.why
        );
    }
    if report.gone + report.damaged > 0 {
        let (gone, damaged) = (report.gone, report.damaged);
        let _ = writeln!(
            text,
            "  {gone} chunks are gone and {damaged} damaged; they stay as they are"
        );
    }
    text += "  what was written since the snapshot is lost\n";
    for (what, ids) in [
        ("snapshots", &report.ending_snapshots),
        ("bookmarks", &report.ending_bookmarks),
    ] {
        if !ids.is_empty() {
            let ids: Vec<_> = ids.iter().map(u64::to_string).collect();
            let _ = writeln!(text, "  these newer {what} end: {}", ids.join(", "));
        }
    }
    if report.under_way {
        text += "  it was begun earlier, and is finished now; nothing tells whether this is its \
            origin: make sure\n";
    } else if report.was_open {
        text += "  the store was not shut down cleanly, so nothing tells whether this is its \
            origin: make sure\n";
    }
    text
}
