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

/// How many bytes to read for a `T` whose first word is `size`. `EINVAL` when it cannot be one.
pub fn len<T>(size: [u8; 4]) -> Result<usize> {
    // CAST: Always fits.
    let theirs = u32::from_ne_bytes(size) as usize;
    match (core::mem::size_of::<T>()..=MAX_BYTES).contains(&theirs) {
        true => Ok(theirs),
        false => Err(EINVAL),
    }
}

/// The argument. `E2BIG` when it says something that is not known here.
pub fn parse<T: FromBytes>(bytes: &[u8]) -> Result<T> {
    let (argument, unknown) = T::read_from_prefix(bytes).map_err(|_| EINVAL)?;
    match unknown.iter().all(|byte| *byte == 0) {
        true => Ok(argument),
        false => Err(E2BIG),
    }
}
