// SPDX-License-Identifier: GPL-2.0

//! Block devices opened by number.
//!
//! C header: [`include/linux/blkdev.h`](srctree/include/linux/blkdev.h)

use crate::bindings;
use core::fmt;
use core::ptr::NonNull;
use kernel::error::from_err_ptr;
use kernel::error::to_result;
use kernel::prelude::*;

/// A device number. Represents the C type `dev_t`
/// ([`include/linux/kdev_t.h`](srctree/include/linux/kdev_t.h)).
///
/// # Examples
///
/// ```
/// use crate::dm::DevT;
/// use kernel::str::CString;
///
/// let devt = DevT::new(8, 1).ok_or(EINVAL)?;
/// assert_eq!(CString::try_from_fmt(fmt!("{devt}"))?.to_bytes(), b"8:1");
/// assert!(DevT::new(8, 1 << 20).is_none());
/// assert!(DevT::from_path(c"/no/such/device").is_err());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DevT(pub(super) u32);

/// Bits of the minor number in the kernel's `dev_t` (`include/linux/kdev_t.h`).
const MINOR_BITS: u32 = 20;

impl DevT {
    /// From its two parts (`MKDEV()`); `None` when they do not fit.
    pub fn new(major: u32, minor: u32) -> Option<Self> {
        let fits = major < 1 << (32 - MINOR_BITS) && minor < 1 << MINOR_BITS;
        fits.then_some(Self(major << MINOR_BITS | minor))
    }

    /// The device that a path, or a `major:minor`, names (`dm_devt_from_path()`).
    ///
    /// Errors: those of looking up the path, `ENODEV` as a rule; `EOVERFLOW` when the numbers do
    /// not fit.
    pub fn from_path(path: &CStr) -> Result<Self> {
        let mut devt = 0;
        // SAFETY: The path is nul-terminated, and the result has a place.
        to_result(unsafe { bindings::dm_devt_from_path(path.as_char_ptr(), &mut devt) })?;
        Ok(Self(devt))
    }
}

impl fmt::Display for DevT {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}",
            self.0 >> MINOR_BITS,
            self.0 & ((1 << MINOR_BITS) - 1)
        )
    }
}

// For `pr_*!` and `fmt!`, which have a trait of their own.
impl kernel::fmt::Display for DevT {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An open block device; closed when dropped, in process context.
///
/// The open is a plain one: it keeps the device alive but claims nothing. Wraps the C
/// `struct block_device` and the `struct file` that keeps it open (`bdev_file_open_by_dev()`,
/// `bdev_fput()`).
///
/// # Examples
///
/// ```
/// use crate::dm::BlockDevice;
/// use crate::dm::DevT;
///
/// /// Tells how large a device is, once all that was written to it is durable.
/// fn flushed_sectors(devt: DevT) -> Result<u64> {
///     let device = BlockDevice::open(devt, true)?;
///     device.flush()?;
///     Ok(device.sectors())
/// }
///
/// let none = DevT::new(0, 0).ok_or(EINVAL)?;
/// assert!(flushed_sectors(none).is_err());
/// ```
///
/// # Invariants
///
/// `file` is an open block device's file, owned by this object, and `bdev` its device.
pub struct BlockDevice {
    file: NonNull<bindings::file>,
    bdev: NonNull<bindings::block_device>,
}

// SAFETY: A block device may be used from any thread.
unsafe impl Send for BlockDevice {}
// SAFETY: What is offered here locks by itself.
unsafe impl Sync for BlockDevice {}

impl BlockDevice {
    /// Opens the device for reading, and for writing as well if asked. Sleeps.
    ///
    /// Errors: `ENXIO` when there is no such device, `EBUSY` when somebody has forbidden to write
    /// to it, `ENOMEM`, and those of its driver.
    pub fn open(devt: DevT, write: bool) -> Result<Self> {
        let mode = match write {
            true => bindings::BLK_OPEN_READ | bindings::BLK_OPEN_WRITE,
            false => bindings::BLK_OPEN_READ,
        };
        let (holder, ops) = (core::ptr::null_mut(), core::ptr::null());
        // SAFETY: No holder and no operations are passed, which the function allows.
        let file =
            from_err_ptr(unsafe { bindings::bdev_file_open_by_dev(devt.0, mode, holder, ops) })?;
        // SAFETY: `file` is the valid file of a block device.
        let bdev = unsafe { bindings::file_bdev(file) };
        // INVARIANT: Just opened; both pointers are valid until the file is put.
        match (NonNull::new(file), NonNull::new(bdev)) {
            (Some(file), Some(bdev)) => Ok(Self { file, bdev }),
            _ => Err(ENODEV),
        }
    }

    pub(super) fn as_ptr(&self) -> *mut bindings::block_device {
        self.bdev.as_ptr()
    }

    /// The size in sectors (`bdev_nr_sectors()`).
    pub fn sectors(&self) -> u64 {
        // SAFETY: By the type invariant the device is valid.
        unsafe { bindings::dm_preserve_bdev_nr_sectors(self.as_ptr()) }
    }

    /// The logical block, the least that is read or written, in sectors: a power of two, from 1 on
    /// (`bdev_logical_block_size()`).
    pub fn block_sectors(&self) -> u64 {
        // SAFETY: By the type invariant the device is valid.
        let bytes = unsafe { bindings::dm_preserve_logical_block_size(self.as_ptr()) };
        u64::from(bytes >> bindings::SECTOR_SHIFT).max(1)
    }

    /// Makes durable what has been written so far (`blkdev_issue_flush()`). Sleeps. Errors: those
    /// of the device, `EIO` as a rule.
    pub fn flush(&self) -> Result {
        // SAFETY: By the type invariant the device is valid.
        to_result(unsafe { bindings::blkdev_issue_flush(self.as_ptr()) })
    }

    /// The device's number (`bd_dev`).
    pub fn devt(&self) -> DevT {
        // SAFETY: By the type invariant the device is valid.
        DevT(unsafe { bindings::dm_preserve_bdev_devt(self.as_ptr()) })
    }

    /// Returns true if device-mapper has claimed the device more than once: another mapped device
    /// uses it too (`bd_holders`).
    pub fn is_shared(&self) -> bool {
        // SAFETY: By the type invariant the device is valid.
        unsafe { bindings::dm_preserve_bdev_is_shared(self.as_ptr()) }
    }

    /// Freezes the filesystem on the device, if there is one, until the result is dropped
    /// (`bdev_freeze()`). Sleeps, and must not be called with a lock held that I/O could need.
    ///
    /// Errors: `EBUSY` when the filesystem is being unmounted, and those of the filesystem.
    pub fn freeze(&self) -> Result<FrozenFilesystem<'_>> {
        // SAFETY: By the type invariant the device is valid.
        to_result(unsafe { bindings::bdev_freeze(self.as_ptr()) })?;
        // INVARIANT: Frozen just now.
        Ok(FrozenFilesystem(self))
    }

    /// Write and discard requests completed since the device exists (`part_stat_read()`,
    /// [`include/linux/part_stat.h`](srctree/include/linux/part_stat.h)).
    pub fn writes_completed(&self) -> u64 {
        // SAFETY: By the type invariant the device is valid.
        let writes = unsafe { bindings::dm_preserve_writes(self.as_ptr()) };
        // SAFETY: By the type invariant the device is valid.
        writes.wrapping_add(unsafe { bindings::dm_preserve_discards(self.as_ptr()) })
    }

    /// Returns true if a request is in flight now (`bdev_count_inflight()`).
    pub fn is_busy(&self) -> bool {
        // SAFETY: By the type invariant the device is valid.
        unsafe { bindings::bdev_count_inflight(self.as_ptr()) != 0 }
    }
}

impl Drop for BlockDevice {
    fn drop(&mut self) {
        // SAFETY: By the type invariant this object owns the file.
        unsafe { bindings::bdev_fput(self.file.as_ptr()) };
    }
}

/// A frozen filesystem; thawed when dropped (`bdev_thaw()`).
///
/// # Invariants
///
/// [`BlockDevice::freeze`] has frozen the device, and nobody has thawed it on its behalf.
pub struct FrozenFilesystem<'a>(&'a BlockDevice);

impl Drop for FrozenFilesystem<'_> {
    fn drop(&mut self) {
        // SAFETY: The device is valid, and was frozen by the creator of `self`.
        let thawed = unsafe { bindings::bdev_thaw(self.0.as_ptr()) };
        if let Err(error) = to_result(thawed) {
            pr_err!(
                "{}: cannot thaw the filesystem: {error:?}; use fsfreeze -u\n",
                self.0.devt()
            );
        }
    }
}
