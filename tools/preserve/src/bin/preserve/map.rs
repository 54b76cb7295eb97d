// SPDX-License-Identifier: GPL-2.0

//! `map`: runs of chunks with their attributes.

#![forbid(unsafe_code)]

use std::io;
use std::io::BufWriter;
use std::io::Write;

use clap::Args;
use clap::ValueEnum;
use preserve::copy::extents;
use preserve::copy::extents::Extents;
use preserve::copy::listing;
use preserve::device::Live;
use preserve::device::Query;
use preserve::error::Context;
use preserve::uapi::Extent;
use preserve::uapi::ATTR_CHANGED;
use preserve::uapi::ATTR_GONE;
use preserve::uapi::ATTR_PRESERVED;
use preserve::uapi::ATTR_PROTECTED;
use preserve::Result;

use crate::output::Output;

#[derive(Args)]
pub struct Map {
    /// The live device
    pub name: String,
    /// Only chunks of this kind; all with their attributes without it
    #[arg(value_enum)]
    pub kind: Option<MapKind>,
    /// The snapshot looked at; the present without it (the latest one for backup, preserved and
    /// gone)
    #[arg(long, value_name = "ID")]
    pub snapshot: Option<u64>,
    /// Changes are counted from this snapshot or bookmark, 0: all; the one before without it
    #[arg(long, value_name = "ID")]
    pub from: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MapKind {
    /// Changed, or newly protected, since --from
    Changed,
    /// What a backup of the snapshot moves: changed and protected
    Backup,
    /// Protected
    Protection,
    /// Old content is in the store
    Preserved,
    /// Old content is lost
    Gone,
}

pub fn map(args: &Map, output: Output) -> Result<()> {
    let live = Live::open(&args.name)?;
    let query = query(&live, args)?;
    let mut out = BufWriter::new(io::stdout().lock());
    match output.json {
        true => listing::write(&live, query, &mut out),
        false => print_text(Extents::new(&live, query)?, &mut out),
    }
}

fn query(live: &Live, args: &Map) -> Result<Query> {
    let to = match (args.snapshot, args.kind) {
        (Some(id), _) => id,
        (None, Some(MapKind::Backup | MapKind::Preserved | MapKind::Gone)) => live.latest()?,
        (None, _) => 0,
    };
    let from = match args.from {
        Some(id) => id,
        None => before(live, to)?,
    };
    let wanted = match args.kind {
        None => 0,
        Some(MapKind::Changed) => ATTR_CHANGED,
        Some(MapKind::Backup) => ATTR_CHANGED | ATTR_PROTECTED,
        Some(MapKind::Protection) => ATTR_PROTECTED,
        Some(MapKind::Preserved) => ATTR_PRESERVED,
        Some(MapKind::Gone) => ATTR_GONE,
    };
    Ok(Query {
        from,
        to,
        mask: wanted,
        value: wanted,
    })
}

/// The snapshot or bookmark before `to` (0: the present); 0 when there is none.
fn before(live: &Live, to: u64) -> Result<u64> {
    let all = live.snapshots()?;
    Ok(all
        .iter()
        .map(|s| s.id)
        .filter(|id| to == 0 || *id < to)
        .max()
        .unwrap_or(0))
}

fn print_text(found: Extents<'_, Live>, out: &mut impl Write) -> Result<()> {
    let what = || "cannot write the map";
    for extent in found {
        let Extent {
            start,
            len,
            attributes,
            ..
        } = extent?;
        writeln!(
            out,
            "{start}+{len} {}",
            extents::names(attributes).join(",")
        )
        .context(what)?;
    }
    out.flush().context(what)
}
