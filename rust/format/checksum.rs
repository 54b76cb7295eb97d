// SPDX-License-Identifier: GPL-2.0

//! The checksum of everything in a store: CRC-32C, the kernel's in the module, a crate's in the library.

#![forbid(unsafe_code)]

#[cfg(MODULE)]
pub use crate::dm::crc32c;

/// Returns the CRC-32C of `data`, which follows data with checksum `before`.
#[cfg(not(MODULE))]
pub fn crc32c(before: u32, data: &[u8]) -> u32 {
    crc32c::crc32c_append(before, data)
}
