// SPDX-License-Identifier: GPL-2.0

//! The items of a checkpoint's image: their heads, kinds and data.
//!
//! An item is a head of 32 bytes (kind, length of the data, three words), then the data.

#![forbid(unsafe_code)]

use zerocopy::little_endian::U32;
use zerocopy::little_endian::U64;
use zerocopy_derive::FromBytes;
use zerocopy_derive::Immutable;
use zerocopy_derive::IntoBytes;
use zerocopy_derive::KnownLayout;

/// Most bytes of data of an item.
pub const MAX_ITEM_DATA: usize = 4096;

/// The head of an item.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ItemHead {
    /// The [kind](ItemKind)'s number, from 1.
    pub kind: U32,
    /// Bytes of data.
    pub len: U32,
    /// Depends on the kind.
    pub words: [U64; 3],
}

/// Bytes of an item's head.
pub const ITEM_HEAD_BYTES: usize = core::mem::size_of::<ItemHead>();

/// The kinds of items. `a`, `b` and `c` are the head's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemKind {
    /// A bitmap: a = number, b = bits.
    Bitmap,
    /// A leaf of it: a = number, b = which, c = 1 if its words are pairs of place and word, few of
    /// which are not zero; data: its words.
    Leaf,
    /// A designation: a = number, b = 1 if the default is protected, c = stretches.
    Designation,
    /// A stretch of it: a = number, b = which, c = 0 or 1 if it is uniform; otherwise data: its
    /// words.
    Stretch,
    /// An epoch: a = number, b = its marks' bitmap, c = 1 if it has copies.
    Epoch,
    /// Entries of its index: a = number; data: pairs of words, see [`IndexEntry`].
    Index,
    /// Segments of it: a = number; data: a word each.
    Segments,
    /// A snapshot or bookmark: a = id, b = time, c = epoch; data: see [`SnapshotItem`], then the
    /// numbers of its scope's bitmaps.
    Snapshot,
    /// The rest: data: see [`StateItem`].
    State,
    /// The end: a = number of items before it.
    End,
}

const KINDS: [ItemKind; 10] = [
    ItemKind::Bitmap,
    ItemKind::Leaf,
    ItemKind::Designation,
    ItemKind::Stretch,
    ItemKind::Epoch,
    ItemKind::Index,
    ItemKind::Segments,
    ItemKind::Snapshot,
    ItemKind::State,
    ItemKind::End,
];

impl ItemKind {
    /// Returns the number that an image has for the kind.
    pub fn number(self) -> u32 {
        // CAST: Ten of them.
        KINDS.iter().position(|kind| *kind == self).unwrap_or(0) as u32 + 1
    }

    /// Returns the kind that an image has a number for; `None` if there is none.
    pub fn from_number(number: u32) -> Option<Self> {
        // CAST: Checked by `get`.
        KINDS.get(number.checked_sub(1)? as usize).copied()
    }
}

/// A run of copies.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct IndexEntry {
    /// The first chunk.
    pub chunk: U64,
    /// Number of chunks, from the highest bits, and the position of the first content in blocks.
    pub len_position: U64,
}

/// Bits of the position in [`IndexEntry::len_position`].
pub const POSITION_BITS: u32 = 48;

/// What an image says of a snapshot or bookmark, apart from the head's words.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SnapshotItem {
    /// `FLAG_*`
    pub flags: U64,
    /// Sectors of the device.
    pub sectors: U64,
    /// Number of its designation.
    pub designation: U64,
    /// Number of the bitmap of released chunks.
    pub released: U64,
    /// The base of its scope.
    pub base: U64,
    /// Number of the base's designation.
    pub base_designation: U64,
    /// Chunks of the device at the base.
    pub base_chunks: U64,
}

/// A bookmark.
pub const FLAG_BOOKMARK: u64 = 1 << 0;
/// Unprotected chunks are preserved too.
pub const FLAG_KEEP_UNPROTECTED: u64 = 1 << 1;
/// The scope is incremental.
pub const FLAG_INCREMENTAL: u64 = 1 << 2;
/// The incremental scope is in effect.
pub const FLAG_NARROWED: u64 = 1 << 3;

/// The state, apart from what has items of its own.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct StateItem {
    /// Where replay begins: [`LogPosition`](crate::store::LogPosition).
    pub sequence: U64,
    /// See `sequence`.
    pub ring: U64,
    /// See `sequence`.
    pub content: U64,
    /// See `sequence`.
    pub content_end: U64,
    /// See `sequence`.
    pub previous: U64,
    /// Control entries of records below this are in the image.
    pub next: U64,
    /// The number of the period that begins with the image's checkpoint.
    pub period: U64,
    /// The next snapshot's id.
    pub next_id: U64,
    /// Sectors of the live device.
    pub sectors: U64,
    /// The epoch that the latest snapshot began.
    pub began: U64,
    /// The one that the snapshot before it began.
    pub before: U64,
    /// Number of the designation as it is now.
    pub designation: U64,
}
