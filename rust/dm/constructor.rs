// SPDX-License-Identifier: GPL-2.0

//! A target's constructor: the table line, the devices that it names, and what is told to
//! device-mapper.
//!
//! C header: [`include/linux/device-mapper.h`](srctree/include/linux/device-mapper.h)

use super::bug;
use super::DevT;
use super::Events;
use crate::bindings;
use core::ptr::NonNull;
use kernel::error::to_result;
use kernel::prelude::*;
use kernel::str::CStr;
use kernel::sync::Arc;

/// A table line being turned into a target: the C `struct dm_target` in its constructor
/// (`dm_ctr_fn`).
///
/// # Examples
///
/// ```
/// use crate::dm::BlockDevice;
/// use crate::dm::Constructor;
/// use kernel::str::CString;
///
/// /// Opens the device that a table line names, if it is large enough.
/// fn open(table: &mut Constructor<'_>, path: &str) -> Result<BlockDevice> {
///     let path = CString::try_from_fmt(fmt!("{path}"))?;
///     let claim = table.claim(&path, true, true).inspect_err(|_| {
///         table.fail(c"Cannot open the device");
///     })?;
///     if table.len() > claim.sectors {
///         return Err(table.fail(c"The device is too small"));
///     }
///     table.accept_flushes();
///     BlockDevice::open(claim.devt, true)
/// }
/// ```
///
/// # Invariants
///
/// `target` is the `dm_target` whose constructor is running; `devices` were taken for it.
pub struct Constructor<'a> {
    target: NonNull<bindings::dm_target>,
    devices: &'a mut Devices,
    events: &'a Arc<Events>,
}

/// A device that the table refers to, as [`Constructor::claim`] found it (`struct dm_dev`).
#[derive(Clone, Copy)]
pub struct ClaimedDevice {
    /// The device's number.
    pub devt: DevT,
    /// Its size in sectors.
    pub sectors: u64,
    /// Its logical block size in bytes.
    pub block_bytes: u32,
    /// It is read-only now (`blockdev --setro`). The block layer opens it for writing all the same,
    /// and lets a mapped device's writes pass with no more than a warning.
    pub is_read_only: bool,
}

impl<'a> Constructor<'a> {
    /// # Safety
    ///
    /// The constructor of `target` is running for `'a`, and all `devices` were taken for it.
    pub(super) unsafe fn new(
        target: NonNull<bindings::dm_target>,
        devices: &'a mut Devices,
        events: &'a Arc<Events>,
    ) -> Self {
        // INVARIANT: By the safety requirement.
        Self {
            target,
            devices,
            events,
        }
    }

    /// The target's length in sectors (`len`).
    pub fn len(&self) -> u64 {
        // SAFETY: By the type invariant the target is valid.
        unsafe { (*self.target.as_ptr()).len }
    }

    /// Returns true if the table is loaded for writing (`dm_table_get_mode()`).
    pub fn is_writable(&self) -> bool {
        // SAFETY: By the type invariant the target, and with it its table, is valid.
        let mode = unsafe { bindings::dm_table_get_mode((*self.target.as_ptr()).table) };
        mode & bindings::BLK_OPEN_WRITE != 0
    }

    /// Sets the error that the table load reports (`error`) and returns `EINVAL`.
    pub fn fail(&mut self, why: &'static CStr) -> Error {
        // CAST: device-mapper only prints the string.
        // SAFETY: By the type invariant the target is valid, and ours in its constructor.
        unsafe { (*self.target.as_ptr()).error = why.as_char_ptr().cast_mut() };
        EINVAL
    }

    /// The mapped device's number (`dm_disk()`).
    pub fn devt(&self) -> DevT {
        // SAFETY: By the type invariant the target, and with it its table, is valid.
        let md = unsafe { bindings::dm_table_get_md((*self.target.as_ptr()).table) };
        // SAFETY: A table's mapped device is valid, and has a disk.
        DevT(unsafe { bindings::dm_preserve_disk_devt(bindings::dm_disk(md)) })
    }

    /// Where the target's events go.
    pub fn events(&self) -> Arc<Events> {
        self.events.clone()
    }

    /// Takes a device for as long as the target exists, claimed for device-mapper
    /// (`dm_get_device()`, `dm_put_device()`). With `limits` the mapped device has, among others,
    /// its limits (`dm_iterate_devices_fn`).
    ///
    /// Errors: `ENOMEM`, `EINVAL` when it is the mapped device itself, `EBUSY` when somebody else
    /// has claimed it, and those of looking it up and opening it, `ENODEV` and `ENXIO` as a rule.
    pub fn claim(&mut self, path: &CStr, write: bool, limits: bool) -> Result<ClaimedDevice> {
        let mode = match write {
            true => bindings::BLK_OPEN_READ | bindings::BLK_OPEN_WRITE,
            false => bindings::BLK_OPEN_READ,
        };
        let mut device = core::ptr::null_mut();
        self.devices.0.reserve(1, GFP_KERNEL)?;
        let target = self.target.as_ptr();
        // SAFETY: In the constructor of `target`; the path is nul-terminated.
        to_result(unsafe {
            bindings::dm_get_device(target, path.as_char_ptr(), mode, &mut device)
        })?;
        let device = NonNull::new(device).ok_or(ENODEV)?;
        // SAFETY: Just taken: valid until it is put.
        let bdev = unsafe { (*device.as_ptr()).bdev };
        // SAFETY: The device is open.
        let devt = DevT(unsafe { bindings::dm_preserve_bdev_devt(bdev) });
        for taken in self.devices.0.iter_mut().filter(|taken| taken.devt == devt) {
            // Taking a device again may have replaced what device-mapper has for it.
            taken.device = device;
        }
        let taken = Taken {
            device,
            devt,
            limits,
        };
        // This must not fail after the device was taken: the room was made before.
        if self.devices.0.push_within_capacity(taken).is_err() {
            bug("there is no room for a device that was taken: it is never put");
        }
        Ok(ClaimedDevice {
            devt,
            // SAFETY: The device is open.
            sectors: unsafe { bindings::dm_preserve_bdev_nr_sectors(bdev) },
            // SAFETY: The device is open.
            block_bytes: unsafe { bindings::dm_preserve_logical_block_size(bdev) },
            // SAFETY: The device is open.
            is_read_only: unsafe { bindings::dm_preserve_bdev_read_only(bdev) },
        })
    }

    /// Lets discards and write-zeroes reach the target, one bio each (`num_discard_bios`,
    /// `num_write_zeroes_bios`).
    pub fn accept_discards_and_zeroes(&mut self) {
        // SAFETY: By the type invariant the target is valid, and ours in its constructor.
        let target = unsafe { self.target.as_mut() };
        target.num_discard_bios = 1;
        target.num_write_zeroes_bios = 1;
    }

    /// Lets flushes reach the target (`num_flush_bios`).
    pub fn accept_flushes(&mut self) {
        // SAFETY: By the type invariant the target is valid, and ours in its constructor.
        unsafe { self.target.as_mut() }.num_flush_bios = 1;
    }
}

/// A device taken for a target.
struct Taken {
    device: NonNull<bindings::dm_dev>,
    devt: DevT,
    /// The mapped device has its limits.
    limits: bool,
}

/// The devices taken for a target; put by `vtable.rs` before the target is freed.
pub(super) struct Devices(KVec<Taken>);

impl Devices {
    /// None yet.
    pub(super) fn new() -> Self {
        Self(KVec::new())
    }

    /// Those whose limits the mapped device has; valid until they are put.
    pub(super) fn with_limits(&self) -> impl Iterator<Item = NonNull<bindings::dm_dev>> + '_ {
        let limiting = self.0.iter().filter(|taken| taken.limits);
        limiting.map(|taken| taken.device)
    }

    /// Gives them back (`dm_put_device()`).
    ///
    /// # Safety
    ///
    /// All were taken for `target`, and are not used after this.
    pub(super) unsafe fn put(&mut self, target: *mut bindings::dm_target) {
        while let Some(taken) = self.0.pop() {
            // SAFETY: By the safety requirement; `dm_get_device` gave the device.
            unsafe { bindings::dm_put_device(target, taken.device.as_ptr()) };
        }
    }
}
