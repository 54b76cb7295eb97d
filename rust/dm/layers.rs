// SPDX-License-Identifier: GPL-2.0

//! What a block device lies on, as far as the kernel tells.
//!
//! The kernel tells in sysfs: `slaves` of a mapped device, of MD and others that stack devices,
//! the disk of a partition, and the file of a loop device. Whatever keeps its data elsewhere (a
//! network, a virtual machine, user space) has nothing below it here.
//!
//! C header: [`include/linux/namei.h`](srctree/include/linux/namei.h)

use super::kernel_mount::KernelMount;
use super::DevT;
use crate::bindings;
use kernel::error::to_result;
use kernel::prelude::*;
use kernel::str::CString;

/// Most devices looked at; nobody stacks so many.
const MOST: usize = 256;

/// The layers of the system's block devices.
///
/// # Examples
///
/// ```
/// use crate::dm::DevT;
/// use crate::dm::Layers;
///
/// let layers = Layers::new()?;
/// let (one, other) = (DevT::new(1, 0).ok_or(EINVAL)?, DevT::new(1, 1).ok_or(EINVAL)?);
/// assert!(layers.lies_on(one, one)?);
/// assert!(!layers.lies_on(one, other)?);
/// ```
pub struct Layers {
    sysfs: KernelMount,
}

impl Layers {
    /// Makes ready to look. May sleep; may not be called where the kernel reclaims memory.
    ///
    /// Errors: `ENODEV` without sysfs in the kernel, those of mounting it.
    pub fn new() -> Result<Self> {
        let sysfs = KernelMount::new(c"sysfs")?;
        Ok(Self { sysfs })
    }

    /// Returns true if the device `upper` is `lower`, or lies on it in any number of layers. May
    /// sleep. What cannot be told counts as no.
    ///
    /// Errors: `ENOMEM`.
    pub fn lies_on(&self, upper: DevT, lower: DevT) -> Result<bool> {
        // Those up to `done` have been looked at.
        let mut found = KVec::with_capacity(1, GFP_KERNEL)?;
        found.push(upper, GFP_KERNEL)?;
        let mut done = 0;
        while let Some(device) = found.get(done).copied() {
            if device == lower {
                return Ok(true);
            }
            done += 1;
            for below in self.below(device)? {
                if found.len() < MOST && !found.contains(&below) {
                    found.push(below, GFP_KERNEL)?;
                }
            }
        }
        Ok(false)
    }

    /// Returns the devices right below a device.
    fn below(&self, device: DevT) -> Result<KVec<DevT>> {
        let mut found = KVec::new();
        let slaves = CString::try_from_fmt(fmt!("dev/block/{device}/slaves"))?;
        // A partition has none.
        for name in self.sysfs.list(&slaves).unwrap_or(KVec::new()) {
            let name = name.to_str().unwrap_or("");
            let file = CString::try_from_fmt(fmt!("dev/block/{device}/slaves/{name}/dev"))?;
            if let Some(slave) = self.number(&file) {
                found.push(slave, GFP_KERNEL)?;
            }
        }
        // Beside a partition are the files of its disk.
        let partition = CString::try_from_fmt(fmt!("dev/block/{device}/partition"))?;
        if self.sysfs.read(&partition, &mut [0]).is_ok() {
            let disk = CString::try_from_fmt(fmt!("dev/block/{device}/../dev"))?;
            if let Some(disk) = self.number(&disk) {
                found.push(disk, GFP_KERNEL)?;
            }
        }
        if let Some(under) = self.under_file(device)? {
            found.push(under, GFP_KERNEL)?;
        }
        Ok(found)
    }

    /// Returns the device number that a file of sysfs tells.
    fn number(&self, file: &CStr) -> Option<DevT> {
        let mut text = [0; 32];
        let len = self.sysfs.read(file, &mut text).ok()?;
        let text = core::str::from_utf8(text.get(..len)?).ok()?;
        let (major, minor) = text.trim_end().split_once(':')?;
        DevT::new(major.parse().ok()?, minor.parse().ok()?)
    }

    /// Returns the device that a loop device's file is, or lies on. Its path is the one that the
    /// caller's task sees.
    fn under_file(&self, device: DevT) -> Result<Option<DevT>> {
        let file = CString::try_from_fmt(fmt!("dev/block/{device}/loop/backing_file"))?;
        let mut path = KVec::from_elem(0u8, bindings::PATH_MAX as usize, GFP_KERNEL)?;
        let Ok(len) = self.sysfs.read(&file, &mut path) else {
            return Ok(None);
        };
        let text = path.get(..len).unwrap_or(&[]);
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        match core::str::from_utf8(text) {
            Ok(text) => Ok(device_of(&CString::try_from_fmt(fmt!("{text}"))?)),
            Err(_) => Ok(None),
        }
    }
}

/// Returns the block device that a path names, or that the filesystem of a file lies on; `None` if
/// there is no such file, or its filesystem is on no block device, or on several
/// (`kern_path()`).
fn device_of(name: &CStr) -> Option<DevT> {
    let mut path = bindings::path::default();
    // SAFETY: The path is nul-terminated, and the result has a place.
    let found =
        unsafe { bindings::kern_path(name.as_char_ptr(), bindings::LOOKUP_FOLLOW, &mut path) };
    to_result(found).ok()?;
    // SAFETY: Just found, so its dentry has an inode.
    let devt = unsafe { bindings::dm_preserve_path_devt(&path) };
    // SAFETY: The reference that was just taken.
    unsafe { bindings::path_put(&path) };
    (devt != 0).then_some(DevT(devt))
}
