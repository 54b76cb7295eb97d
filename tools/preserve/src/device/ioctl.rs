// SPDX-License-Identifier: GPL-2.0

//! The one ioctl system call, safe by construction: every request that we make is spelt out here
//! with the types it works on, and what the kernel trusts (sizes, addresses, counts) is filled in
//! here from these types. Nothing a caller leaves in those fields matters.

#![allow(unsafe_code)]

mod fiemap;

use std::ffi::c_ulong;
use std::ffi::c_void;
use std::io;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::ptr;

pub use fiemap::Extent as FiemapExtent;
pub use fiemap::Fiemap;
use zerocopy::FromBytes;
use zerocopy::IntoBytes;

use dm_preserve_core::uapi::*;

/// `FS_IOC_FIEMAP`; its size counts the fixed part of the struct.
const FIEMAP: c_ulong = read_write(b'f' as u32, 11, 32);

/// A request with its argument and the memory that it refers to.
pub enum Call<'a> {
    /// [`NR_VERSION`].
    Version(&'a mut Version),
    /// [`NR_SNAPSHOT`].
    Snapshot(&'a mut TakeSnapshot, &'a mut [SnapshotDevice]),
    /// [`NR_DROP`].
    Drop(&'a mut SnapshotRef),
    /// [`NR_FORGET`].
    Forget(&'a mut SnapshotRef),
    /// [`NR_EDIT`].
    Edit(&'a mut EditRanges, &'a [Range]),
    /// [`NR_EXTENTS`].
    Extents(&'a mut ListExtents, &'a mut [Extent]),
    /// [`NR_READ`]; reads as much as the buffer takes.
    Read(&'a mut ReadFrozen, &'a mut [u8]),
    /// [`NR_RELEASE`].
    Release(&'a mut ReleaseRange),
    /// [`NR_INFO`].
    Info(&'a mut Info),
    /// [`NR_SNAPSHOT_INFO`].
    SnapshotInfo(&'a mut SnapshotInfo),
    /// [`NR_WAIT`].
    Wait(&'a mut WaitEvent),
    /// [`NR_TRUST`].
    Trust(&'a mut TrustStore),
    /// `FS_IOC_FIEMAP`, to a file of any filesystem.
    Fiemap(&'a mut Fiemap),
}

/// Makes one request. All but `Fiemap` are for the control device.
pub fn call(fd: BorrowedFd<'_>, mut call: Call<'_>) -> io::Result<()> {
    let (request, argument) = prepare(&mut call);
    // SAFETY: `argument` points to a struct that `call` borrows exclusively until the end of this
    // function, initialised and as large as the request (and its `size` field) says. The addresses
    // in it, with their counts, were set by `prepare` from slices that `call` borrows as long; the
    // kernel writes only to those borrowed exclusively, and every bit pattern is valid in all of
    // them.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), request as _, argument) };
    match result {
        0.. => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Fills in everything that the kernel trusts.
fn prepare(call: &mut Call<'_>) -> (c_ulong, *mut c_void) {
    match call {
        Call::Version(a) => control(NR_VERSION, *a),
        Call::Snapshot(a, devices) => {
            a.devices = devices.as_mut_ptr().expose_provenance() as u64;
            a.count = count(devices.len());
            control(NR_SNAPSHOT, *a)
        }
        Call::Drop(a) => control(NR_DROP, *a),
        Call::Forget(a) => control(NR_FORGET, *a),
        Call::Edit(a, ranges) => {
            a.ranges = ranges.as_ptr().expose_provenance() as u64;
            a.count = count(ranges.len());
            control(NR_EDIT, *a)
        }
        Call::Extents(a, extents) => {
            a.extents = extents.as_mut_ptr().expose_provenance() as u64;
            a.capacity = count(extents.len());
            control(NR_EXTENTS, *a)
        }
        Call::Read(a, buffer) => {
            a.buffer = buffer.as_mut_ptr().expose_provenance() as u64;
            a.sectors = buffer.len() as u64 / 512;
            control(NR_READ, *a)
        }
        Call::Release(a) => control(NR_RELEASE, *a),
        Call::Info(a) => control(NR_INFO, *a),
        Call::SnapshotInfo(a) => control(NR_SNAPSHOT_INFO, *a),
        Call::Wait(a) => control(NR_WAIT, *a),
        Call::Trust(a) => control(NR_TRUST, *a),
        Call::Fiemap(a) => {
            a.count = count(a.extents.len());
            (FIEMAP, ptr::from_mut::<Fiemap>(a).cast())
        }
    }
}

/// A request of the control device; its argument begins with its own size.
fn control<T: FromBytes + IntoBytes>(nr: u32, argument: &mut T) -> (c_ulong, *mut c_void) {
    let size = size_of::<T>() as u32;
    argument.as_mut_bytes()[..4].copy_from_slice(&size.to_ne_bytes());
    (
        read_write(IOC_MAGIC, nr, size),
        ptr::from_mut(argument).cast(),
    )
}

/// Fewer than there are is harmless, more is not.
fn count(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// The kernel's `_IOWR`.
pub const fn read_write(magic: u32, nr: u32, size: u32) -> c_ulong {
    (3 << 30 | size << 16 | magic << 8 | nr) as c_ulong
}
