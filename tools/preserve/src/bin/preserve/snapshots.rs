// SPDX-License-Identifier: GPL-2.0

//! `snapshot` and `drop`.

#![forbid(unsafe_code)]

use clap::Args;
use preserve::device::Live;
use preserve::device::Source;
use preserve::device::Take;
use preserve::uapi::KIND_BOOKMARK;
use preserve::uapi::MAX_SNAPSHOTS;
use preserve::Error;
use preserve::Result;
use serde_json::json;

use crate::output::Output;
use crate::status::Entry;

#[derive(Args)]
pub struct Snapshot {
    /// The live device
    pub name: String,
    /// Preserve only what changed since the base, the latest snapshot unless --from names another
    #[arg(long)]
    pub incremental: bool,
    /// The base: the snapshot or bookmark that the copy is at
    #[arg(
        long,
        value_name = "ID",
        requires = "incremental",
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    pub from: Option<u64>,
    /// Freeze the filesystem on the device around the instant
    #[arg(long)]
    pub freeze: bool,
    /// Wait until no write has been in flight for so long
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub idle: u32,
    /// Give up waiting after so long; 0 is 10 s
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub timeout: u32,
    /// How many snapshots to keep, with this one; if there are more, the oldest are dropped
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_SNAPSHOTS))
    )]
    pub keep: u32,
}

pub fn snapshot(args: &Snapshot, output: Output) -> Result<()> {
    let live = Live::open(&args.name)?;
    let id = live.take(&Take {
        base: args.incremental.then(|| args.from.unwrap_or(0)),
        freeze: args.freeze,
        idle_ms: args.idle,
        timeout_ms: args.timeout,
        keep: args.keep,
    })?;
    let identity = live.identity()?;
    let result = json!({
        "device": live.name(),
        "generation": identity.generation,
        "snapshot": Entry::from(&live.find(id)?),
    });
    output.result(&result, || id.to_string())
}

pub fn drop_snapshot(name: &str, id: u64, forget: bool) -> Result<()> {
    let live = Live::open(name)?;
    let bookmark = live.find(id)?.kind == KIND_BOOKMARK;
    if bookmark && !forget {
        return Err(Error::Missing(format!(
            "{name}: snapshot {id} was dropped already; --forget forgets its bookmark too"
        )));
    }
    if !bookmark {
        live.drop_snapshot(id)?;
    }
    if forget {
        live.forget(id)?;
    }
    Ok(())
}
