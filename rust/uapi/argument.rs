// SPDX-License-Identifier: GPL-2.0

//! The argument of an ioctl as bytes from user space: how many there must be, and what they say.
//!
//! The first word is the struct's size as the caller knows it. A longer argument than ours must be
//! zero beyond it; a shorter one is refused, since all structs are still in their first version.

#![forbid(unsafe_code)]

use kernel::prelude::*;
use zerocopy::FromBytes;

/// The largest argument that is accepted, in bytes.
const MAX_BYTES: usize = 4096;

/// Returns the number of bytes to read for a `T` whose first word is `size`.
///
/// Errors: `EINVAL` if `size` is too small for a `T`, or too large.
pub fn len<T>(size: [u8; 4]) -> Result<usize> {
    // CAST: Always fits.
    let theirs = u32::from_ne_bytes(size) as usize;
    match (core::mem::size_of::<T>()..=MAX_BYTES).contains(&theirs) {
        true => Ok(theirs),
        false => Err(EINVAL),
    }
}

/// Reads a `T` from its bytes.
///
/// Errors: `EINVAL` if there are too few bytes, `E2BIG` if those beyond a `T` are not zero.
pub fn parse<T: FromBytes>(bytes: &[u8]) -> Result<T> {
    let (argument, unknown) = T::read_from_prefix(bytes).map_err(|_| EINVAL)?;
    match unknown.iter().all(|byte| *byte == 0) {
        true => Ok(argument),
        false => Err(E2BIG),
    }
}
