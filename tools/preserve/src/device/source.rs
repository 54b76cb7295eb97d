// SPDX-License-Identifier: GPL-2.0

//! What a backup needs from a live device. The real one is [`Live`](crate::device::Live); tests
//! have one in memory.

#![forbid(unsafe_code)]

use uuid::Uuid;

use crate::Result;
use dm_preserve_core::uapi::Extent;
use dm_preserve_core::uapi::Range;
use dm_preserve_core::uapi::SnapshotInfo;

/// What does not change while tracking holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Changes whenever tracking breaks.
    pub generation: Uuid,
    /// Bytes of a chunk.
    pub chunk_bytes: u32,
    /// Bytes of the live device; the last chunk may be short.
    pub origin_bytes: u64,
}

/// Which chunks to list, as in [`dm_preserve_core::uapi::ListExtents`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Query {
    /// Changes are counted from here; 0 counts all.
    pub from: u64,
    /// The snapshot looked at; 0 is the present.
    pub to: u64,
    /// Which attributes decide.
    pub mask: u32,
    /// What they must be.
    pub value: u32,
}

/// What a frozen read found, in bytes from its start on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// So many bytes of the buffer were filled.
    Data(usize),
    /// So many bytes are unprotected.
    Hole(u64),
}

/// A live device as a backup sees it.
pub trait Source {
    /// For messages.
    fn name(&self) -> &str;
    /// Its generation and sizes.
    fn identity(&self) -> Result<Identity>;
    /// A snapshot or bookmark.
    fn find(&self, id: u64) -> Result<SnapshotInfo>;
    /// Some extents from chunk `start` on, and the chunk to go on with.
    fn list(&self, query: Query, start: u64) -> Result<(Vec<Extent>, u64)>;
    /// Reads a snapshot's content from byte `start` on, a multiple of 512.
    fn read(&self, id: u64, start: u64, buffer: &mut [u8]) -> Result<Piece>;
    /// A range of a snapshot need not be preserved any longer.
    fn release(&self, id: u64, range: Range) -> Result<()>;
}
