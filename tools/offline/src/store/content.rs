// SPDX-License-Identifier: GPL-2.0

//! The checksum of a content in a store.

#![forbid(unsafe_code)]

use kernel::error::Result;

use super::disk::Store;
use dm_preserve_core::format::crc32c;
use dm_preserve_core::format::Layout;
use dm_preserve_core::format::BLOCK_BYTES;
use dm_preserve_core::store::Disk;

/// Returns room for a content.
pub(crate) fn buffer(layout: &Layout) -> Vec<u8> {
    // CAST: At most 256, as the layout is sound.
    vec![0; layout.chunk_blocks as usize * BLOCK_BYTES]
}

/// Returns the checksum of the content at a position, which is read into `buffer`.
pub(crate) fn checksum(store: &mut Store<'_>, position: u64, buffer: &mut [u8]) -> Result<u32> {
    store.read(position, buffer)?;
    Ok(crc32c(0, buffer))
}
