// SPDX-License-Identifier: GPL-2.0

//! `protect` and `unprotect`.

#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use clap::Args;
use glob::Pattern;
use preserve::device::Edit;
use preserve::device::Live;
use preserve::device::Source;
use preserve::error::Context;
use preserve::protect;
use preserve::protect::Bytes;
use preserve::units;
use preserve::units::SECTOR;
use preserve::Error;
use preserve::Result;
use serde_json::json;

use crate::output::Output;

#[derive(Args)]
pub struct Designation {
    /// The live device
    pub name: String,
    /// START+LEN, in sectors or with units: 2048+8, 1M+4K. Protecting rounds outwards to chunks,
    /// unprotecting inwards
    #[arg(value_name = "START+LEN")]
    pub ranges: Vec<Bytes>,
    /// Read ranges from a file (- is stdin): one per line, # begins a comment
    #[arg(long, value_name = "FILE")]
    pub from_file: Option<PathBuf>,
    /// Where this file's content lies now, or that of all files in this directory. May be repeated
    #[arg(long, value_name = "PATH")]
    pub file: Vec<PathBuf>,
    /// Of directories only the files with such names, for example '*.tmp'. May be repeated
    #[arg(long, value_name = "PATTERN", requires = "file")]
    pub glob: Vec<Pattern>,
    /// The whole device
    #[arg(long)]
    pub all: bool,
}

pub fn protect(args: &Designation, output: Output) -> Result<()> {
    edit(args, Edit::Protect, output)
}

pub fn unprotect(args: &Designation, output: Output) -> Result<()> {
    edit(args, Edit::Unprotect, output)
}

fn edit(args: &Designation, edit: Edit, output: Output) -> Result<()> {
    if args.ranges.is_empty() && args.from_file.is_none() && args.file.is_empty() && !args.all {
        return Err(Error::Usage(
            "say what: START+LEN, --from-file, --file or --all".into(),
        ));
    }
    let listed = args
        .from_file
        .as_deref()
        .map(read_ranges)
        .transpose()?
        .unwrap_or_default();
    let live = Live::open(&args.name)?;
    if !args.file.is_empty() {
        // The filesystem is frozen then, or its writes wait; and so would whoever asks where files
        // are.
        live.check_active("find out where files lie")?;
    }
    let found = protect::locate(live.mapped(), &args.file, &args.glob, edit)?;
    found.notices.iter().for_each(|text| output.notice(text));

    if found.files == 0 && !args.file.is_empty() {
        output.notice("no file matches");
    }
    let mut bytes = [args.ranges.as_slice(), &listed, &found.ranges].concat();
    if args.all {
        bytes.extend(Bytes::new(0, live.identity()?.origin_bytes));
    }
    let sectors: Vec<_> = bytes.iter().filter_map(|b| b.sectors(edit)).collect();
    if sectors.len() < bytes.len() {
        output.notice("ranges without a whole sector keep their protection");
    }
    live.edit(edit, &sectors)?;

    let total = sectors
        .iter()
        .fold(0u64, |sum, range| sum.saturating_add(range.len));
    let result = json!({
        "device": live.name(), "ranges": sectors.len(), "sectors": total,
        "files": found.files, "skipped": found.notices.len(),
    });
    let what = if edit == Edit::Protect {
        "protected"
    } else {
        "unprotected"
    };
    output.result(&result, || {
        let size = units::human(total.saturating_mul(SECTOR));
        format!(
            "{what} from the next snapshot on: {size} in {} ranges",
            sectors.len()
        )
    })
}

fn read_ranges(path: &Path) -> Result<Vec<Bytes>> {
    let text = match path == Path::new("-") {
        true => io::read_to_string(io::stdin().lock()),
        false => fs::read_to_string(path),
    };
    let text = text.context(|| format!("cannot read ranges from {}", path.display()))?;
    protect::parse_lines(&text).map_err(|e| Error::Usage(format!("{}: {e}", path.display())))
}
