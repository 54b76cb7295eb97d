// SPDX-License-Identifier: GPL-2.0

//! Which block device a name means: a device-mapper name, `/dev/mapper/NAME`, `/dev/dm-N`, or any
//! other path of a block device. Looks at sysfs, so that it works without udev's links.

#![forbid(unsafe_code)]

use std::fs;
use std::fs::OpenOptions;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;

use rustix::fs::major;
use rustix::fs::minor;
use rustix::fs::OFlags;

use crate::error::Context;
use crate::Error;
use crate::Result;
use dm_preserve_core::uapi::DeviceNumber;

/// A device-mapper device.
#[derive(Clone, Debug)]
pub struct Mapped {
    /// Its device-mapper name.
    pub name: String,
    /// Its number.
    pub device: DeviceNumber,
}

/// `major:minor`, as in table lines.
pub fn number(device: DeviceNumber) -> String {
    format!("{}:{}", device.major, device.minor)
}

/// Finds the device-mapper device that the user means.
pub fn find(name: &str) -> Result<Mapped> {
    let missing = || {
        Error::Missing(format!(
            "there is no device-mapper device {name:?}; `preserve status` lists them"
        ))
    };
    if name.contains('/') && Path::new(name).exists() {
        let device = block_device(Path::new(name))?;
        return mapped(&sys_dir(device)).ok_or_else(missing);
    }
    // The node may be missing without udev; the name says enough.
    let plain = name.strip_prefix("/dev/mapper/").unwrap_or(name);
    all()?
        .into_iter()
        .find(|mapped| mapped.name == plain)
        .ok_or_else(missing)
}

/// All device-mapper devices, by name.
pub fn all() -> Result<Vec<Mapped>> {
    let entries =
        fs::read_dir("/sys/block").context(|| "cannot list /sys/block (is sysfs mounted?)")?;
    let mut found: Vec<_> = entries
        .flatten()
        .filter_map(|entry| mapped(&entry.path()))
        .collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// The number of the block device at a path.
pub fn block_device(path: &Path) -> Result<DeviceNumber> {
    let metadata = fs::metadata(path).map_err(|e| {
        Error::Missing(format!("cannot look at the device {}: {e}", path.display()))
    })?;
    if !metadata.file_type().is_block_device() {
        return Err(Error::Missing(format!(
            "{} is not a block device",
            path.display()
        )));
    }
    Ok(DeviceNumber {
        major: major(metadata.rdev()),
        minor: minor(metadata.rdev()),
    })
}

/// Has a block device be opened only if nothing uses it: one that is mounted, or used by a live
/// device, is busy.
pub fn exclusive(options: &mut OpenOptions) -> &mut OpenOptions {
    // CAST: A bit. O_EXCL without O_CREAT.
    options.custom_flags(OFlags::EXCL.bits() as i32)
}

/// Who uses a device. `hint`: what else there is to do about that.
pub fn busy(path: &Path, hint: &str) -> Error {
    let names = block_device(path).map(holders).unwrap_or_default();
    let (shown, names) = (path.display(), names.join(", "));
    Error::Failed(match names.is_empty() {
        true => format!("{shown} is in use: unmount it, or end what has it open{hint}"),
        false => format!(
            "{shown} is in use by {names}: remove that first (`preserve remove NAME`){hint}"
        ),
    })
}

/// A block device's size in sectors.
pub fn sectors(device: DeviceNumber) -> Result<u64> {
    let path = sys_dir(device).join("size");
    let text = fs::read_to_string(&path).context(|| format!("cannot read {}", path.display()))?;
    text.trim()
        .parse()
        .map_err(|_| Error::Failed(format!("{}: {text:?} is no size", path.display())))
}

/// The DM UUIDs of all device-mapper devices that have one.
///
/// Errors: as [`all`].
pub fn dm_uuids() -> Result<Vec<String>> {
    let found = all()?.into_iter();
    Ok(found.filter_map(|mapped| dm_uuid(mapped.device)).collect())
}

/// The DM UUID of a device-mapper device, if it has one.
pub fn dm_uuid(device: DeviceNumber) -> Option<String> {
    let text = fs::read_to_string(sys_dir(device).join("dm/uuid")).ok()?;
    let uuid = text.trim_end_matches('\n');
    (!uuid.is_empty()).then(|| uuid.to_string())
}

/// Returns true if a device-mapper device is suspended.
pub fn is_suspended(device: DeviceNumber) -> bool {
    let text = fs::read_to_string(sys_dir(device).join("dm/suspended"));
    text.is_ok_and(|text| text.trim() == "1")
}

/// Fails if a block device is read-only: the module refuses it, and this says which one.
///
/// Errors: [`Error::Failed`] if it is.
pub fn check_writable(path: &Path, device: DeviceNumber) -> Result<()> {
    let text = fs::read_to_string(sys_dir(device).join("ro"));
    match text.is_ok_and(|text| text.trim() == "1") {
        false => Ok(()),
        true => Err(Error::Failed(format!(
            "{0} is read-only: find out why, and make it writable (`blockdev --setrw {0}`)",
            path.display()
        ))),
    }
}

/// Names of the device-mapper devices that are over a device.
pub fn holders(device: DeviceNumber) -> Vec<String> {
    let entries = fs::read_dir(sys_dir(device).join("holders"));
    let found = entries.into_iter().flatten().flatten();
    let mut names: Vec<_> = found
        .filter_map(|entry| mapped(&entry.path()))
        .map(|mapped| mapped.name)
        .collect();
    names.sort();
    names
}

fn sys_dir(device: DeviceNumber) -> PathBuf {
    Path::new("/sys/dev/block").join(number(device))
}

fn mapped(dir: &Path) -> Option<Mapped> {
    let name = fs::read_to_string(dir.join("dm/name")).ok()?;
    let number = fs::read_to_string(dir.join("dev")).ok()?;
    let (major, minor) = number.trim().split_once(':')?;
    let device = DeviceNumber {
        major: major.parse().ok()?,
        minor: minor.parse().ok()?,
    };
    Some(Mapped {
        name: name.trim_end_matches('\n').to_string(),
        device,
    })
}
