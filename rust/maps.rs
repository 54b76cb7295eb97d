// SPDX-License-Identifier: GPL-2.0

//! Sets of chunks in memory, and where copies of chunks are.
//!
//! The lowest room: it uses no other one. Sizes here follow from what is set, not from the device.
//!
//! - [`Geometry`], [`Chunks`]: sectors and chunks;
//! - [`Word`]: 64 chunks at once;
//! - [`Bitmap`]: marks, regions, released chunks;
//! - [`Protection`]: which chunks are protected;
//! - [`Index`]: the positions of copies in the store;
//! - [`Supply`], [`Reserve`]: where these get their memory;
//! - [`Claims`]: which chunks are being copied.

#![forbid(unsafe_code)]

mod bitmap;
mod chunk;
mod claims;
mod index;
mod leaf;
mod protection;
pub mod region;
mod reserve;
mod runs;
mod word;

pub use bitmap::copy_bits;
pub use bitmap::Bitmap;
pub use chunk::merged;
pub use chunk::Chunks;
pub use chunk::Geometry;
pub use chunk::MAX_CHUNK_SECTORS;
pub use chunk::MAX_PERSISTENT_CHUNK_SECTORS;
pub use chunk::MIN_CHUNK_SECTORS;
pub use chunk::SECTOR_BYTES;
pub use claims::Claims;
pub use index::Index;
pub use index::Room;
pub use leaf::Leaf;
pub use leaf::LEAF_BITS;
pub use protection::Designation;
pub use protection::Part;
pub use reserve::Allocated;
pub use reserve::Node;
pub use reserve::Reserve;
pub use reserve::Spare;
pub use reserve::Supply;
pub use runs::Page;
pub use runs::LIST_CHUNKS;
pub use runs::MAX_POSITION;
pub use runs::MAX_RUN;
pub use runs::MAX_RUNS;
pub use word::mask;
pub use word::Word;
pub use word::WORD_BITS;
