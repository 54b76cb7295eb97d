// SPDX-License-Identifier: GPL-2.0

//! Bytes on disk, section by section of `Documentation/on-disk-format.rst`.
//!
//! What is read from a store becomes one of the types here only after its checks. This room reads
//! and writes no disk; it uses only the [maps](crate::maps).

#![forbid(unsafe_code)]

mod block;
mod checksum;
mod entry;
mod image;
mod items;
mod layout;
mod record;
mod superblock;

pub use block::Block;
pub use block::Invalid;
pub use block::BLOCK_BYTES;
pub use block::BLOCK_SECTORS;
pub use block::MAX_NUMBER;
pub use block::VERSION;
pub use checksum::crc32c;
pub use entry::Entry;
pub use image::image_block;
pub use image::image_data;
pub use image::ImageHeader;
pub use image::IMAGE_DATA;
pub use items::*;
pub use layout::run_blocks;
pub use layout::Layout;
pub use layout::MAX_BLOCKS;
pub use record::record_block;
pub use record::RawContent;
pub use record::RawEntry;
pub use record::Record;
pub use record::RecordHeader;
pub use record::KIND_CONTENTS;
pub use record::KIND_ENTRIES;
pub use record::MAX_CONTENTS;
pub use record::MAX_ENTRIES;
pub use superblock::*;
