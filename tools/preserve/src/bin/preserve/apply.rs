// SPDX-License-Identifier: GPL-2.0

//! `apply` and `verify`.

#![forbid(unsafe_code)]

use std::path::Path;
use std::path::PathBuf;

use clap::Args;
use preserve::copy::apply;
use preserve::copy::apply::Contents;
use preserve::units;
use preserve::Result;

use crate::output::Output;

#[derive(Args)]
pub struct Apply {
    /// The stream's file; - is stdin
    pub stream: PathBuf,
    /// The image or block device
    pub target: PathBuf,
    /// Let a full stream replace what the target holds
    #[arg(long)]
    pub overwrite: bool,
    /// Where the copy's position is kept; TARGET.preserve.json without it, necessary for block
    /// devices
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,
}

pub fn apply(args: Apply, output: Output) -> Result<()> {
    let options = apply::Options {
        overwrite: args.overwrite,
        state: args.state,
        quiet: output.quiet,
    };
    let report = apply::apply(&args.stream, &args.target, &options)?;
    output.result(&report, || {
        let size = units::human(report.stream.moved.bytes);
        format!(
            "{} is at snapshot {} now ({size} written)",
            report.target.display(),
            report.stream.header.to
        )
    })
}

pub fn verify(stream: &Path, output: Output) -> Result<()> {
    let contents = apply::verify(stream, output.quiet)?;
    output.result(&contents, || {
        let Contents { header, moved, .. } = &contents;
        let from = if header.from == 0 {
            "full".to_string()
        } else {
            format!("from {}", header.from)
        };
        format!(
            "{}: whole; snapshot {} ({from}) of {}, {} chunks ({})",
            stream.display(),
            header.to,
            header.generation,
            moved.chunks,
            units::human(moved.bytes)
        )
    })
}
