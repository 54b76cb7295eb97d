// SPDX-License-Identifier: GPL-2.0

//! The checksum of everything in a store: CRC-32C, the kernel's in the module, a crate's in the
//! library.

#![forbid(unsafe_code)]

/// Returns the CRC-32C of `data`, which follows data with checksum `before`.
pub fn crc32c(before: u32, data: &[u8]) -> u32 {
    #[cfg(MODULE)]
    return crate::dm::crc32c(before, data);
    #[cfg(not(MODULE))]
    crc32c::crc32c_append(before, data)
}
