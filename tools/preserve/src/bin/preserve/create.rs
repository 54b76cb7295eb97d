// SPDX-License-Identifier: GPL-2.0

//! `create` and `remove`.

#![forbid(unsafe_code)]

pub mod args;

use preserve::device;
use preserve::device::dm;
use preserve::device::Live;
use preserve::device::Source;
use preserve::store;
use preserve::store::notes::Verdict;
use preserve::uapi::DeviceNumber;
use preserve::Error;
use preserve::Result;
use serde_json::json;

use args::Create;
use args::Designated;
use args::OnError;
use args::OnFull;

use crate::format;
use crate::output::word;
use crate::output::Output;
use crate::vouch;

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
            "the store failed while it was in use, and writes passed that it does not know of: \
             it begins anew; the next backup has to be a full one",
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
            "chunks of a persistent store have at most 512K: give a smaller --chunk-size, or \
             --transient"
                .into(),
        )),
    }
}

fn table(args: &Create, origin: DeviceNumber, store: DeviceNumber) -> String {
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
