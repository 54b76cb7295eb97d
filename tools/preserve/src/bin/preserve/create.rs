// SPDX-License-Identifier: GPL-2.0

//! `create` and `remove`.

#![forbid(unsafe_code)]

use std::path::PathBuf;

use clap::Args;
use clap::ValueEnum;
use preserve::control::Live;
use preserve::device;
use preserve::dm;
use preserve::notes::Verdict;
use preserve::source::Source;
use preserve::store;
use preserve::uapi::Device;
use preserve::units;
use preserve::Error;
use preserve::Result;
use serde_json::json;

use crate::format;
use crate::output::word;
use crate::output::Output;
use crate::vouch;

#[derive(Args)]
pub struct Create {
    /// Name of the new device
    pub name: String,
    /// Block device that holds the data
    #[arg(long)]
    pub origin: PathBuf,
    /// Block device that takes old contents, and what must last: a new one, or that of an earlier
    /// activation
    #[arg(long)]
    pub store: PathBuf,
    /// The store begins anew: snapshots on it, or whatever else it holds, are lost
    #[arg(long, conflicts_with = "transient")]
    pub format: bool,
    /// Unit of tracking and copying: a power of two from 4K to 512K, with --transient to 1M
    #[arg(long, default_value = "4K", value_parser = units::chunk_sectors)]
    pub chunk_size: u64,
    /// Designation of what was never named by protect or unprotect
    #[arg(long, value_enum, default_value_t)]
    pub default: Designated,
    /// A full store drops the oldest snapshot, or makes writes wait
    #[arg(long, value_enum, default_value_t)]
    pub on_full: OnFull,
    /// What to do when not even a failure can be recorded in the store
    #[arg(long, value_enum, default_value_t)]
    pub on_error: OnError,
    /// Preserve unprotected chunks too; the designation counts when they are read
    #[arg(long)]
    pub keep_unprotected: bool,
    /// The designation goes back to the default after each snapshot
    #[arg(long)]
    pub reset_protection: bool,
    /// Event when so many percent of the store are used
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(1..=100))]
    pub low_space: Option<u8>,
    /// Nothing is to outlast the device: snapshots and the record of changes end with it
    #[arg(long)]
    pub transient: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Designated {
    #[default]
    Protected,
    Unprotected,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum OnFull {
    #[default]
    Invalidate,
    Block,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum OnError {
    #[default]
    Continue,
    Block,
}

pub fn create(args: &Create, output: Output) -> Result<()> {
    check_name(&args.name)?;
    check_chunk_size(args)?;
    let origin = device::block_device(&args.origin)?;
    let store = device::block_device(&args.store)?;
    if origin == store {
        return Err(Error::Usage(
            "origin and store are the same device; the store needs one of its own".into(),
        ));
    }
    device::check_writable(&args.origin, origin)?;
    device::check_writable(&args.store, store)?;
    dm::ready(&args.name, "preserve")?;
    let sectors = device::sectors(origin)?;
    let last = vouch::look(args).filter(|_| !args.transient && !args.format);
    let verdict = last.map_or(Verdict::Unknown, |last| vouch::judge(&last, output));
    if verdict == Verdict::Failed {
        output.notice(
            "the store failed while it was in use, and writes passed that it does not know of: it begins anew; the next backup has \
             to be a full one",
        );
    }
    let anew = args.format || verdict == Verdict::Failed;
    if anew {
        format::begin_anew(args)?;
    }
    let created = dm::create(&args.name, sectors, &table(args, origin, store), None);
    let path = created.map_err(|e| match anew {
        true => format::wiped(args, &e),
        false => e,
    })?;
    if let Err(e) = give_uuid(args) {
        output.notice(&format!("{} goes without a DM UUID: {e}", args.name));
    }
    vouch::created(&args.name, verdict, output)?;
    output.result(&json!({ "name": args.name, "path": path }), || {
        path.display().to_string()
    })
}

/// Gives the device its DM UUID. Only now: a new store has got its own at the activation.
fn give_uuid(args: &Create) -> Result<()> {
    let store = match args.transient {
        true => None,
        false => store::uuid(&args.store)?,
    };
    let key = match store {
        Some(uuid) => uuid,
        None => Live::open(&args.name)?.identity()?.generation,
    };
    dm::set_uuid(&args.name, &dm::live_uuid(key))
}

fn check_chunk_size(args: &Create) -> Result<()> {
    match args.transient || args.chunk_size <= offline::MAX_CHUNK_SECTORS {
        true => Ok(()),
        false => Err(Error::Usage(
            "chunks of a persistent store have at most 512K: give a smaller --chunk-size, or --transient".into(),
        )),
    }
}

fn table(args: &Create, origin: Device, store: Device) -> String {
    let options = options(args);
    let table = format!(
        "preserve {} {} {} {} {}",
        device::number(origin),
        device::number(store),
        args.chunk_size,
        options.len(),
        options.join(" ")
    );
    table.trim_end().to_string()
}

/// The optional arguments of the table line that differ from their default.
fn options(args: &Create) -> Vec<String> {
    let mut options = Vec::new();
    let mut add = |wanted: bool, text: String| {
        if wanted {
            options.push(text);
        }
    };
    add(args.transient, "transient".into());
    add(args.keep_unprotected, "keep_unprotected".into());
    add(args.reset_protection, "reset_protection".into());
    add(
        args.default != Designated::default(),
        format!("default={}", word(args.default)),
    );
    add(
        args.on_full != OnFull::default(),
        format!("on_full={}", word(args.on_full)),
    );
    add(
        args.on_error != OnError::default(),
        format!("on_error={}", word(args.on_error)),
    );
    if let Some(percent) = args.low_space {
        add(true, format!("low_space={percent}"));
    }
    options
}

/// A live device or a view.
pub fn remove(name: &str) -> Result<()> {
    vouch::before_removal(name);
    dm::remove(&device::find(name)?.name)
}

/// What `dmsetup` would refuse, or take for something else.
pub fn check_name(name: &str) -> Result<()> {
    if name.is_empty() || name.len() > 127 || name.contains('/') || name.starts_with('-') {
        return Err(Error::Usage(format!(
            "{name:?} is no device-mapper name: 1 to 127 bytes, no slash"
        )));
    }
    Ok(())
}
