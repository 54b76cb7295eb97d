// SPDX-License-Identifier: GPL-2.0

//! Opening stores and origins while no live device uses them: block devices, or images of them.

#![forbid(unsafe_code)]

use std::fs;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::Advice;
use rustix::fs::OFlags;

use crate::device;
use crate::error::Context;
use crate::Error;
use crate::Result;

/// What it is opened for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reading, also if something uses it.
    Shared,
    /// Reading, if nothing uses it.
    Read,
    /// Writing, if nothing uses it.
    Write,
}

/// Opens a device or image. Whether something uses an image cannot be told. `hint`: what else there is to do about a device
/// that is in use.
pub fn open(path: &Path, access: Access, hint: &str) -> Result<File> {
    let shown = path.display();
    let metadata = fs::metadata(path).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => Error::Missing(format!("there is no {shown}")),
        _ => Error::Io {
            what: format!("cannot look at {shown}"),
            source: e,
        },
    })?;
    let device = metadata.file_type().is_block_device();
    if !device && !metadata.is_file() {
        return Err(Error::Usage(format!(
            "{shown} is neither a file nor a block device"
        )));
    }
    // O_EXCL without O_CREAT: a device that is mounted, or used by a live device, is busy.
    let exclusive = match device && access != Access::Shared {
        true => OFlags::EXCL.bits() as i32,
        false => 0,
    };
    let opened = File::options()
        .read(true)
        .write(access == Access::Write)
        .custom_flags(exclusive)
        .open(path);
    let file = match opened {
        Err(e) if e.kind() == io::ErrorKind::ResourceBusy => return Err(busy(path, hint)),
        opened => opened.context(|| format!("cannot open {shown}"))?,
    };
    if device {
        // The live device writes past the cache of whoever has had this one open all the time. If that does not
        // work, there is nothing that could be done about it.
        let _ = rustix::fs::fadvise(&file, 0, None, Advice::DontNeed);
    }
    Ok(file)
}

/// Who uses a device.
fn busy(path: &Path, hint: &str) -> Error {
    let holders = device::block_device(path).map(device::holders);
    let names = holders.unwrap_or_default().join(", ");
    let shown = path.display();
    Error::Failed(match names.is_empty() {
        true => format!("{shown} is in use: unmount it, or end what has it open{hint}"),
        false => {
            format!(
                "{shown} is in use by {names}: remove that first (`preserve remove NAME`){hint}"
            )
        }
    })
}
