// SPDX-License-Identifier: GPL-2.0

//! `view`.

#![forbid(unsafe_code)]

use clap::Args;
use clap::ValueEnum;
use preserve::device;
use preserve::device::dm;
use preserve::device::Live;
use preserve::device::Source;
use preserve::uapi::KIND_SNAPSHOT;
use preserve::Error;
use preserve::Result;
use serde_json::json;

use crate::create::check_name;
use crate::output::word;
use crate::output::Output;

#[derive(Args)]
pub struct View {
    /// The live device
    pub name: String,
    /// The snapshot's id, or "latest"
    pub id: String,
    /// Name of the new device
    pub view_name: String,
    /// Unprotected chunks read as zeroes, or fail
    #[arg(long, value_enum, default_value_t)]
    pub unprotected: Unprotected,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Unprotected {
    #[default]
    Zero,
    Error,
}

pub fn view(args: &View, output: Output) -> Result<()> {
    check_name(&args.view_name)?;
    let live = Live::open(&args.name)?;
    let id = match args.id.as_str() {
        "latest" => live.latest()?,
        text => text.parse().map_err(|_| {
            Error::Usage(format!(
                "{text:?} is neither a snapshot's id nor \"latest\""
            ))
        })?,
    };
    let snapshot = live.find(id)?;
    if snapshot.kind != KIND_SNAPSHOT {
        let name = live.name();
        return Err(Error::Missing(format!(
            "{name}: snapshot {id} was dropped, only its bookmark is left"
        )));
    }
    let mut target = format!(
        "preserve-view {} {id}",
        device::number(live.mapped().device)
    );
    if args.unprotected != Unprotected::default() {
        target += &format!(" 1 unprotected={}", word(args.unprotected));
    }
    let live_uuid = device::dm_uuid(live.mapped().device);
    let (generation, taken) = (live.identity()?.generation, device::dm_uuids()?);
    let uuid = dm::view_uuid(live_uuid.as_deref(), generation, id, &taken);
    let path = dm::create(&args.view_name, snapshot.sectors, &target, Some(&uuid))?;
    let result =
        json!({ "name": args.view_name, "path": path, "device": live.name(), "snapshot": id });
    output.result(&result, || path.display().to_string())
}
