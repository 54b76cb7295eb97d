// SPDX-License-Identifier: GPL-2.0

//! `check` and `dump`: a persistent store, while nothing uses it.

#![forbid(unsafe_code)]

use std::fmt::Write;
use std::io;
use std::io::BufWriter;
use std::io::Write as _;
use std::path::PathBuf;

use clap::Args;
use offline::ContentsReport;
use offline::Identity;
use offline::LayoutReport;
use offline::LogReport;
use offline::Report;
use offline::SnapshotReport;
use preserve::error::Context;
use preserve::store;
use preserve::store::Options;
use preserve::units;
use preserve::units::SECTOR;
use preserve::Result;

use crate::output::Output;

#[derive(Args)]
pub struct Store {
    /// The store: a block device, or an image of one
    pub store: PathBuf,
    /// Look at a device that is in use too; what is being written may look damaged
    #[arg(long)]
    pub force_in_use: bool,
}

#[derive(Args)]
pub struct Check {
    #[command(flatten)]
    pub store: Store,
    /// Write: a lost superblock is made again from the other one; contents that read wrong twice
    /// are no longer found, and their chunks gone. What cannot be repaired for certain is left
    /// alone
    #[arg(long, conflicts_with = "force_in_use")]
    pub repair: bool,
}

impl Store {
    fn options(&self, output: Output) -> Options {
        Options {
            force_in_use: self.force_in_use,
            quiet: output.quiet,
        }
    }
}

pub fn check(args: &Check, output: Output) -> Result<()> {
    let args = match args.repair {
        true => return repair(&args.store, output),
        false => &args.store,
    };
    let report = store::check(&args.store, args.options(output))?;
    output.result(&report, || text(args, &report))?;
    store::verdict(&args.store, &report)
}

fn repair(args: &Store, output: Output) -> Result<()> {
    let repaired = store::repair(&args.store, output.quiet)?;
    output.result(&repaired, || {
        let mut lines = String::new();
        // Writing to a string does not fail.
        for text in &repaired.repaired {
            let _ = writeln!(lines, "repaired: {text}");
        }
        lines += &text(args, &repaired.report);
        for text in &repaired.advice {
            let _ = write!(lines, "\nnot repaired: {text}");
        }
        lines.replace("\n\n", "\n")
    })?;
    store::repair_verdict(&args.store, &repaired)
}

pub fn dump(args: &Store, output: Output) -> Result<()> {
    let what = || "cannot write the dump";
    let mut out = BufWriter::new(io::stdout().lock());
    store::dump(&args.store, args.options(output), &mut |line| {
        output.result_to(&mut out, &line, || line.to_string())
    })?;
    out.flush().context(what)
}

fn text(args: &Store, report: &Report) -> String {
    let path = args.store.display();
    let mut text = match &report.store {
        Some(store) => format!("{path}: {}\n", identity(store)),
        None => format!("{path}: a store of dm-preserve\n"),
    };
    // Writing to a string does not fail.
    if let Some(layout) = &report.layout {
        let _ = writeln!(text, "  {}", space(layout));
    }
    if let Some(checkpoint) = &report.checkpoint {
        let (number, items) = (checkpoint.number, checkpoint.items);
        let _ = writeln!(text, "  checkpoint {number}: {items} items");
    }
    if let Some(log) = &report.log {
        let _ = writeln!(text, "  {}", log_line(log));
    }
    if let Some(contents) = &report.contents {
        let _ = writeln!(text, "  {}", contents_line(contents));
    }
    for snapshot in &report.snapshots {
        let _ = writeln!(text, "  {}", snapshot_line(snapshot));
    }
    for note in &report.notes {
        let _ = writeln!(text, "note: {note}");
    }
    for damage in &report.damage {
        let _ = writeln!(text, "DAMAGE ({}): {}", damage.part, damage.what);
    }
    // CAST: A length in memory.
    let more = report.damages.saturating_sub(report.damage.len() as u64);
    if more > 0 {
        let _ = writeln!(text, "DAMAGE: {more} more");
    }
    let rollback = report.store.as_ref().and_then(|store| store.rollback);
    match (report.clean, rollback) {
        (false, _) => text,
        (true, None) => text + "clean",
        (true, Some(id)) => text + &format!("clean, but finish the rollback to snapshot {id}"),
    }
}

fn identity(store: &Identity) -> String {
    format!(
        "{}, store {}, for {} in chunks of {}, generation {}, session {}",
        store.state,
        store.uuid,
        units::human(store.origin_sectors.saturating_mul(SECTOR)),
        units::human(store.chunk_bytes),
        store.generation,
        store.session,
    )
}

fn space(layout: &LayoutReport) -> String {
    let segment = units::human(layout.segment_blocks.saturating_mul(4096));
    match layout.used_segments {
        Some(used) => format!(
            "segments: {used} of {} used, {segment} each",
            layout.segments
        ),
        None => format!("segments: {}, {segment} each", layout.segments),
    }
}

fn log_line(log: &LogReport) -> String {
    let mut text = format!("log: {} records from number {}", log.records, log.first);
    if log.end != "clean" {
        let _ = write!(text, ", {} there, {} behind it", log.end, log.behind);
    }
    text
}

fn contents_line(contents: &ContentsReport) -> String {
    let ContentsReport {
        good, bad, lost, ..
    } = contents;
    match bad + lost {
        0 => format!("contents: {good}, all good"),
        _ => format!("contents: {good} good, {bad} bad, {lost} lost"),
    }
}

fn snapshot_line(snapshot: &SnapshotReport) -> String {
    let SnapshotReport {
        id,
        kind,
        time,
        epoch,
        ..
    } = snapshot;
    let scope = match snapshot.base {
        0 => snapshot.scope.to_string(),
        base => format!("{} from {base}", snapshot.scope),
    };
    let preserved = match *kind {
        "snapshot" => format!(", {} chunks preserved", snapshot.preserved_chunks),
        _ => String::new(),
    };
    format!("{kind} {id}: {time}, {scope}, epoch {epoch}{preserved}")
}
