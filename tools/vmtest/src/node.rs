// SPDX-License-Identifier: GPL-2.0

//! Block device nodes. Nothing under /dev is opened before it is known to be a block device:
//! opening a missing one for writing would make a file there, and the test would test that.

#![forbid(unsafe_code)]

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use preserve::uapi::DeviceNumber;

/// Whether the path is a block device's.
pub fn is_block(path: &str) -> bool {
    fs::metadata(path).is_ok_and(|m| m.file_type().is_block_device())
}

/// Fails when the path is not a block device's; devtmpfs has a moment to make it.
pub fn check(path: &str) -> Result<()> {
    for _ in 0..50 {
        if is_block(path) {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(20));
    }
    ensure!(is_block(path), "{path} is not a block device");
    Ok(())
}

/// The device's number.
pub fn number(path: &str) -> Result<DeviceNumber> {
    check(path)?;
    let rdev = fs::metadata(path)?.rdev();
    Ok(DeviceNumber {
        major: rustix::fs::major(rdev),
        minor: rustix::fs::minor(rdev),
    })
}

/// The device's size in sectors.
pub fn sectors(path: &str) -> Result<u64> {
    let device = number(path)?;
    let size = format!("/sys/dev/block/{}:{}/size", device.major, device.minor);
    read_number(&size)
}

/// A file that holds one number.
pub fn read_number(path: impl AsRef<Path>) -> Result<u64> {
    let path = path.as_ref();
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    text.trim()
        .parse()
        .with_context(|| format!("{}: {text:?} is no number", path.display()))
}
