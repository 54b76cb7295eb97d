// SPDX-License-Identifier: GPL-2.0

//! `backup`.

#![forbid(unsafe_code)]

use std::fs;
use std::fs::File;
use std::io;
use std::io::BufWriter;
use std::io::IsTerminal;
use std::path::Path;
use std::path::PathBuf;

use clap::Args;
use preserve::copy::backup::Moved;
use preserve::copy::backup::Plan;
use preserve::copy::backup::Report;
use preserve::device::Live;
use preserve::durable::directory;
use preserve::durable::sync_directory;
use preserve::error::Context;
use preserve::progress;
use preserve::units;
use preserve::Error;
use preserve::Result;
use tempfile::NamedTempFile;

use crate::output::Output;

#[derive(Args)]
pub struct Backup {
    /// The live device
    pub name: String,
    /// The snapshot to back up; the latest without it
    #[arg(long, value_name = "ID")]
    pub snapshot: Option<u64>,
    /// The snapshot or bookmark that the copy is at; a full backup without it
    #[arg(long, value_name = "ID")]
    pub from: Option<u64>,
    /// Where to write the stream; - is stdout
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    pub output: PathBuf,
    /// When the file is safely written, stop preserving what is in it
    #[arg(long)]
    pub release: bool,
}

/// Told what is in the stream.
type Note<'a> = &'a mut dyn FnMut(u64, u64);

pub fn backup(args: &Backup, output: Output) -> Result<()> {
    let to_stdout = args.output == Path::new("-");
    if to_stdout && io::stdout().is_terminal() {
        return Err(Error::Usage(
            "a stream is nothing for a terminal; use -o FILE or a pipe".into(),
        ));
    }
    if args.release && !is_file(&args.output) {
        return Err(Error::Usage(
            "--release needs -o FILE: of a pipe nobody knows whether the stream arrived safely"
                .into(),
        ));
    }
    let live = Live::open(&args.name)?;
    let to = args.snapshot.map_or_else(|| live.latest(), Ok)?;
    let plan = Plan::new(&live, args.from.unwrap_or(0), to)?;
    let mut moved = Moved::default();
    let mut note = |at, bytes| {
        if args.release {
            moved.note(at, bytes);
        }
    };
    let report = if is_file(&args.output) {
        to_file(&plan, &live, &args.output, output, &mut note)?
    } else if to_stdout {
        run(&plan, &live, io::stdout().lock(), output, &mut note)?
    } else {
        let file = File::options().write(true).open(&args.output);
        let file = file.context(|| format!("cannot open {}", args.output.display()))?;
        run(&plan, &live, file, output, &mut note)?
    };
    if args.release {
        release(args, &live, &moved, &plan)?;
    }
    match to_stdout {
        true => output.result_to(io::stderr().lock(), &report, || text(&report)),
        false => output.result(&report, || text(&report)),
    }
}

fn release(args: &Backup, live: &Live, moved: &Moved, plan: &Plan) -> Result<()> {
    moved.release(live, &plan.header).inspect_err(|_| {
        let (path, id) = (args.output.display(), plan.header.to);
        eprintln!(
            "preserve: {path} is whole; but not all that is in it was released: drop \
             snapshot {id} when nothing needs it"
        );
    })
}

/// A file that exists, or will when it is written.
fn is_file(path: &Path) -> bool {
    path != Path::new("-") && fs::metadata(path).map_or(true, |m| m.is_file())
}

/// The file appears, or is replaced, only when the whole stream is safely in it.
fn to_file(
    plan: &Plan,
    live: &Live,
    path: &Path,
    output: Output,
    note: Note<'_>,
) -> Result<Report> {
    let what = || format!("cannot write {}", path.display());
    let dir = directory(path);
    let file = NamedTempFile::with_prefix_in(".preserve-backup-", dir).context(what)?;
    let report = run(plan, live, file.as_file(), output, note)?;
    file.as_file().sync_all().context(what)?;
    file.persist(path).map_err(|e| e.error).context(what)?;
    sync_directory(dir)?;
    Ok(report)
}

fn run(
    plan: &Plan,
    live: &Live,
    out: impl io::Write,
    output: Output,
    note: Note<'_>,
) -> Result<Report> {
    let bar = progress::bytes("backup", plan.bytes(), output.quiet);
    plan.run_noting(live, BufWriter::with_capacity(1 << 20, out), &bar, note)
}

fn text(report: &Report) -> String {
    let Report {
        header,
        moved,
        changed_chunks,
        skipped_chunks,
        ..
    } = report;
    let from = if header.from == 0 {
        "full".to_string()
    } else {
        format!("from {}", header.from)
    };
    format!(
        "snapshot {} ({from}): {changed_chunks} chunks changed, {} moved ({}), {skipped_chunks} \
         unprotected and skipped",
        header.to,
        moved.chunks,
        units::human(moved.bytes)
    )
}
