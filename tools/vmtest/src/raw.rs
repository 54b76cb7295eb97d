// SPDX-License-Identifier: GPL-2.0

//! The ioctls that the safe library does not offer: discard, and deliberately malformed requests to
//! the control device. The only file here with unsafe code.

#![allow(unsafe_code)]

use std::ffi::c_ulong;
use std::io;
use std::mem::offset_of;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;

use preserve::device::ioctl::read_write;
use preserve::uapi;
use preserve::uapi::EditRanges;
use preserve::uapi::ListExtents;
use preserve::uapi::ReadFrozen;
use preserve::uapi::TakeSnapshot;
use preserve::uapi::IOC_MAGIC;

/// `BLKDISCARD`.
const BLKDISCARD: c_ulong = 0x12 << 8 | 119;
/// An argument's memory: more than any struct of the interface.
const ARGUMENT: usize = 8192;
/// What an address in an argument may point to: more than a small test device can fill.
const SCRATCH: usize = 1 << 20;

/// Discards a range, in bytes.
pub fn discard(fd: BorrowedFd<'_>, start: u64, len: u64) -> io::Result<()> {
    let range = [start, len];
    // SAFETY: BLKDISCARD reads two u64 from the address; it refers to an array of two.
    result(unsafe { libc::ioctl(fd.as_raw_fd(), BLKDISCARD as _, range.as_ptr()) })
}

/// An address to put into a request.
#[derive(Clone, Copy, Debug)]
pub enum Address {
    /// 0.
    Null,
    /// In the first page, which is never mapped.
    Low,
    /// In the kernel's half.
    Kernel,
    /// No address at all.
    NonCanonical,
    /// The very last one.
    Top,
    /// Good memory.
    Scratch,
    /// Good memory, one byte off every alignment.
    Unaligned,
}

impl Address {
    /// All that are bad.
    pub const BAD: [Address; 5] = [
        Address::Null,
        Address::Low,
        Address::Kernel,
        Address::NonCanonical,
        Address::Top,
    ];

    fn value(self, scratch: &mut [u8]) -> u64 {
        match self {
            Address::Null => 0,
            Address::Low => 8,
            Address::Kernel => 0xffff_8880_0010_0000,
            Address::NonCanonical => 0x8000_0000_0000_0000,
            Address::Top => u64::MAX - 7,
            Address::Scratch => scratch.as_mut_ptr().expose_provenance() as u64,
            Address::Unaligned => scratch.as_mut_ptr().expose_provenance() as u64 + 1,
        }
    }
}

/// Where a request's argument has an address.
fn address_offset(nr: u32) -> Option<usize> {
    match nr {
        uapi::NR_SNAPSHOT => Some(offset_of!(TakeSnapshot, devices)),
        uapi::NR_EDIT => Some(offset_of!(EditRanges, ranges)),
        uapi::NR_EXTENTS => Some(offset_of!(ListExtents, extents)),
        uapi::NR_READ => Some(offset_of!(ReadFrozen, buffer)),
        _ => None,
    }
}

/// Makes request `nr` of the control device with these bytes as its argument, in which an address,
/// if this request has one, is replaced by `address`; `memory` is what `Scratch` begins with. The
/// device must be so small that nothing it can return exceeds 1 MiB. The result is the argument
/// afterwards.
pub fn malformed(
    fd: BorrowedFd<'_>,
    nr: u32,
    bytes: &[u8],
    address: Address,
    memory: &[u8],
) -> io::Result<Vec<u8>> {
    let mut scratch = vec![0u8; SCRATCH + 8];
    let start = usize::from(matches!(address, Address::Unaligned));
    scratch[start..start + memory.len()].copy_from_slice(memory);
    let mut argument = vec![0u8; ARGUMENT];
    argument[..bytes.len()].copy_from_slice(bytes);
    if let Some(at) = address_offset(nr) {
        argument[at..at + 8].copy_from_slice(&address.value(&mut scratch).to_ne_bytes());
    }
    request(
        fd,
        read_write(IOC_MAGIC, nr, 8),
        argument.as_mut_ptr().expose_provenance(),
    )?;
    argument.truncate(bytes.len());
    Ok(argument)
}

/// Makes a request with a bad address as its argument.
pub fn bad_argument(fd: BorrowedFd<'_>, nr: u32, address: Address) -> io::Result<()> {
    let mut scratch = [];
    let address = match address {
        // These would need memory; the address of nothing is as good as null.
        Address::Scratch | Address::Unaligned => 0,
        address => address.value(&mut scratch) as usize,
    };
    request(fd, read_write(IOC_MAGIC, nr, 8), address)
}

/// Makes a request that no driver knows.
pub fn unknown(fd: BorrowedFd<'_>, magic: u32, nr: u32) -> io::Result<()> {
    let mut argument = vec![0u8; ARGUMENT];
    request(
        fd,
        read_write(magic, nr, 8),
        argument.as_mut_ptr().expose_provenance(),
    )
}

fn request(fd: BorrowedFd<'_>, request: c_ulong, argument: usize) -> io::Result<()> {
    // SAFETY: The kernel writes at most one struct of the interface (some 150 bytes) to `argument`,
    // and what a small device can return to an address in it: `ARGUMENT` and `SCRATCH` bytes are
    // there. All other addresses made here belong to nobody in this process, so the kernel's checks
    // turn them down.
    result(unsafe { libc::ioctl(fd.as_raw_fd(), request as _, argument) })
}

fn result(status: i32) -> io::Result<()> {
    match status {
        0.. => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
