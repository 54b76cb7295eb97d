// SPDX-License-Identifier: GPL-2.0

//! Opening stores and origins while no live device uses them: block devices, or images of them.

#![forbid(unsafe_code)]

use std::fs;
use std::fs::File;
use std::fs::TryLockError;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use rustix::fs::Advice;

use crate::device;
use crate::error::Context;
use crate::Error;
use crate::Result;

/// What it is opened for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reading, also if something uses it.
    Shared,
    /// Reading, if nothing uses it, or for an image, no other preserve writes to it.
    Read,
    /// Writing, if nothing uses it, or for an image, no other preserve.
    Write,
}

/// Opens a device or image. `hint`: what else there is to do about one that is in use.
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
    let mut options = File::options();
    options.read(true).write(access == Access::Write);
    if device && access != Access::Shared {
        device::exclusive(&mut options);
    }
    let file = match options.open(path) {
        Err(e) if e.kind() == io::ErrorKind::ResourceBusy => return Err(device::busy(path, hint)),
        opened => opened.context(|| format!("cannot open {shown}"))?,
    };
    if device {
        // The live device writes past the cache of whoever has had this one open all the time. If
        // that does not work, there is nothing that could be done about it.
        let _ = rustix::fs::fadvise(&file, 0, None, Advice::DontNeed);
    } else if access != Access::Shared {
        lock(&file, path, access == Access::Write, hint)?;
    }
    Ok(file)
}

/// Keeps other preserves from an image until the file is closed; not `alone`, only those that write
/// to it. Nothing else heeds that, but two writers that know no better are these.
pub fn lock(file: &File, path: &Path, alone: bool, hint: &str) -> Result<()> {
    let locked = match alone {
        true => file.try_lock(),
        false => file.try_lock_shared(),
    };
    let shown = path.display();
    match locked {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(Error::Failed(format!(
            "{shown} is in use by another preserve: wait until that has ended{hint}"
        ))),
        Err(TryLockError::Error(source)) => Err(Error::Io {
            what: format!("cannot lock {shown}"),
            source,
        }),
    }
}
