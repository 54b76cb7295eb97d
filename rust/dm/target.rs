// SPDX-License-Identifier: GPL-2.0

//! What a target implements, and what it is given.
//!
//! C header: [`include/linux/device-mapper.h`](srctree/include/linux/device-mapper.h)

use super::bug;
use super::Completed;
use super::DevT;
use super::Ended;
use super::Events;
use super::Incoming;
use super::Mapped;
use crate::bindings;
use core::fmt;
use core::ptr::NonNull;
use kernel::error::to_result;
use kernel::error::VTABLE_DEFAULT_ERROR;
use kernel::prelude::*;
use kernel::str::CStr;
use kernel::sync::Arc;

/// A device-mapper target type; a value of it is one target in a table.
///
/// The type stands for the C `struct target_type`, whose callbacks are the methods, a value for a
/// `struct dm_target`. [`super`] has an example.
///
/// Every target is alone in its table (`DM_TARGET_SINGLETON`), which therefore begins at sector 0.
///
/// The order of calls is `new`, then any number of (`preresume`, `resume`, ..., `presuspend`,
/// `postsuspend`), then drop. `map` and `end_io` run concurrently, and only between the first
/// `resume` and the last `postsuspend`; `status` and `message` also outside. When a table is
/// reloaded the new target's `new` comes before the old one's `presuspend`, and the old one's drop
/// after the new one's `resume`.
#[vtable]
pub(crate) trait Target: Sized + Send + Sync + 'static {
    /// The name in table lines (`name`).
    const NAME: &'static CStr;
    /// Major, minor, patch (`version`).
    const VERSION: [u32; 3];
    /// Bios may be rewound to where they were remapped; costs a few instructions for each.
    const REWINDS: bool = false;
    /// [`Completed::hold`] is used. Destroying a target then waits for an RCU grace period.
    const HOLDS: bool = false;
    /// State kept with each bio (`per_io_data_size`). Dropped when the bio is done, maybe in
    /// interrupt context: dropping it must not sleep.
    type PerBio: Default + Send;

    /// Makes the target of a table line (`dm_ctr_fn`). The words after the target's name are
    /// `args`. With an error, which may be any, the table is not loaded; [`Constructor::fail`]
    /// tells why.
    fn new(table: &mut Constructor<'_>, args: &[&str]) -> Result<Pin<KBox<Self>>>;

    /// Sends a bio on its way (`dm_map_fn`). Must not sleep; may allocate only with `GFP_NOWAIT`. A
    /// bio that says [`Bio::is_nowait`](super::Bio::is_nowait) must not be kept waiting.
    fn map<'a>(&'a self, bio: Incoming<'a, Self>) -> Mapped<'a>;

    /// A bio is complete (`dm_endio_fn`). May be interrupt context.
    fn end_io<'a>(&'a self, bio: Completed<'a, Self>) -> Ended<'a> {
        bio.done()
    }

    /// The device is going to be suspended; bios still arrive (`dm_presuspend_fn`).
    fn presuspend(&self, _kind: Suspend) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The suspend that was announced does not happen (`dm_presuspend_undo_fn`).
    fn presuspend_undo(&self) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The device is suspended; no bio is in flight (`dm_postsuspend_fn`).
    fn postsuspend(&self) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The table is about to become active (`dm_preresume_fn`). Must not allocate memory with I/O.
    /// On an error, which may be any, device-mapper leaves the device suspended, without its old
    /// table.
    fn preresume(&self) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The table is active; bios arrive from now on (`dm_resume_fn`).
    fn resume(&self) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Writes the status or the table line's arguments (`dm_status_fn`). An error is ignored:
    /// device-mapper sees by itself when the text does not fit.
    fn status(&self, kind: StatusKind, out: &mut StatusWriter<'_>) -> fmt::Result;

    /// Handles a message (`dm_message_fn`); what is written to `out` is the reply. An error, which
    /// may be any, is that of the sender's ioctl.
    ///
    /// Runs inside device-mapper's SRCU section: must not freeze a filesystem or wait for a
    /// suspend.
    fn message(&self, _args: &[&str], _out: &mut StatusWriter<'_>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// How the device is being suspended (`dm_noflush_suspending()`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Suspend {
    /// Waits for all bios to complete.
    Flush,
    /// Bios that are held may go back with [`Status::REQUEUE`](super::Status::REQUEUE).
    NoFlush,
}

/// What a status call asks for. Represents the C type `status_type_t`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum StatusKind {
    /// `dmsetup status` (`STATUSTYPE_INFO`).
    Info,
    /// `dmsetup table` (`STATUSTYPE_TABLE`).
    Table,
    /// Measurement for the integrity subsystem (`STATUSTYPE_IMA`). See
    /// `Documentation/admin-guide/device-mapper/dm-ima.rst`.
    Ima,
}

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
pub(crate) struct Constructor<'a> {
    pub(super) target: NonNull<bindings::dm_target>,
    pub(super) devices: &'a mut Devices,
    pub(super) events: &'a Arc<Events>,
}

/// A device that the table refers to, as [`Constructor::claim`] found it (`struct dm_dev`).
#[derive(Clone, Copy)]
pub(crate) struct Claim {
    /// The device's number.
    pub(crate) devt: DevT,
    /// Its size in sectors.
    pub(crate) sectors: u64,
    /// Its logical block size in bytes.
    pub(crate) block_bytes: u32,
    /// It is read-only now (`blockdev --setro`). The block layer opens it for writing all the same,
    /// and lets a mapped device's writes pass with no more than a warning.
    pub(crate) is_read_only: bool,
}

impl Constructor<'_> {
    /// The target's length in sectors (`len`).
    pub(crate) fn len(&self) -> u64 {
        // SAFETY: By the type invariant the target is valid.
        unsafe { (*self.target.as_ptr()).len }
    }

    /// Returns true if the table is loaded for writing (`dm_table_get_mode()`).
    pub(crate) fn is_writable(&self) -> bool {
        // SAFETY: By the type invariant the target, and with it its table, is valid.
        let mode = unsafe { bindings::dm_table_get_mode((*self.target.as_ptr()).table) };
        mode & bindings::BLK_OPEN_WRITE != 0
    }

    /// Sets the error that the table load reports (`error`) and returns `EINVAL`.
    pub(crate) fn fail(&mut self, why: &'static CStr) -> Error {
        // CAST: device-mapper only prints the string.
        // SAFETY: By the type invariant the target is valid, and ours in its constructor.
        unsafe { (*self.target.as_ptr()).error = why.as_char_ptr().cast_mut() };
        EINVAL
    }

    /// The mapped device's number (`dm_disk()`).
    pub(crate) fn devt(&self) -> DevT {
        // SAFETY: By the type invariant the target, and with it its table, is valid.
        let md = unsafe { bindings::dm_table_get_md((*self.target.as_ptr()).table) };
        // SAFETY: A table's mapped device is valid, and has a disk.
        DevT(unsafe { bindings::dm_preserve_disk_devt(bindings::dm_disk(md)) })
    }

    /// Where the target's events go.
    pub(crate) fn events(&self) -> Arc<Events> {
        self.events.clone()
    }

    /// Takes a device for as long as the target exists, claimed for device-mapper
    /// (`dm_get_device()`, `dm_put_device()`). With `limits` the mapped device has, among others,
    /// its limits (`dm_iterate_devices_fn`).
    ///
    /// Errors: `ENOMEM`, `EINVAL` when it is the mapped device itself, `EBUSY` when somebody else
    /// has claimed it, and those of looking it up and opening it, `ENODEV` and `ENXIO` as a rule.
    pub(crate) fn claim(&mut self, path: &CStr, write: bool, limits: bool) -> Result<Claim> {
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
        Ok(Claim {
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
    pub(crate) fn accept_discards_and_zeroes(&mut self) {
        // SAFETY: By the type invariant the target is valid, and ours in its constructor.
        let target = unsafe { self.target.as_mut() };
        target.num_discard_bios = 1;
        target.num_write_zeroes_bios = 1;
    }

    /// Lets flushes reach the target (`num_flush_bios`).
    pub(crate) fn accept_flushes(&mut self) {
        // SAFETY: By the type invariant the target is valid, and ours in its constructor.
        unsafe { self.target.as_mut() }.num_flush_bios = 1;
    }
}

/// A device taken for a target.
pub(super) struct Taken {
    pub(super) device: NonNull<bindings::dm_dev>,
    devt: DevT,
    /// The mapped device has its limits.
    pub(super) limits: bool,
}

/// The devices taken for a target; put by `vtable.rs` before the target is freed.
pub(super) struct Devices(pub(super) KVec<Taken>);

/// Writes text to the buffer that device-mapper gives for status and replies (`dm_status_fn`,
/// `dm_message_fn`); what does not fit is cut, and device-mapper then asks again with a larger
/// buffer. As `DMEMIT()` does.
pub(crate) struct StatusWriter<'a> {
    buffer: &'a mut [u8],
    used: usize,
}

impl<'a> StatusWriter<'a> {
    /// Starts with an empty string.
    pub(super) fn new(buffer: &'a mut [u8]) -> Self {
        if let Some(first) = buffer.first_mut() {
            *first = 0;
        }
        Self { buffer, used: 0 }
    }

    /// Whether nothing has been written.
    pub(super) fn is_empty(&self) -> bool {
        self.used == 0
    }
}

impl fmt::Write for StatusWriter<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.buffer.len().saturating_sub(self.used + 1);
        let part = text
            .as_bytes()
            .get(..text.len().min(room))
            .ok_or(fmt::Error)?;
        let end = self.used + part.len();
        self.buffer
            .get_mut(self.used..end)
            .ok_or(fmt::Error)?
            .copy_from_slice(part);
        if let Some(nul) = self.buffer.get_mut(end) {
            *nul = 0;
        }
        self.used = end;
        Ok(())
    }
}
