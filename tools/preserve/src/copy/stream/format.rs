// SPDX-License-Identifier: GPL-2.0

//! The layout of a stream's header and frames, and what makes a header valid.

#![forbid(unsafe_code)]

use serde::Serialize;
use uuid::Uuid;
use zerocopy::little_endian::U32;
use zerocopy::little_endian::U64;
use zerocopy_derive::FromBytes;
use zerocopy_derive::Immutable;
use zerocopy_derive::IntoBytes;
use zerocopy_derive::KnownLayout;

/// The first bytes of every stream.
pub const MAGIC: [u8; 8] = *b"dmpresrv";
/// The only version so far.
pub const VERSION: u32 = 1;
/// A payload is never longer, so that a reader needs no more memory.
pub const MAX_PAYLOAD: usize = 1 << 20;

/// [`RawFrame::kind`]: an extent; the payload follows.
pub const FRAME_DATA: u32 = 1;
/// [`RawFrame::kind`]: the totals; the last frame.
pub const FRAME_END: u32 = 2;

/// The header on the wire.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RawHeader {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// [`VERSION`].
    pub version: U32,
    /// Features that a reader must know, compression for one. None is defined yet.
    pub flags: U32,
    /// The live device's generation.
    pub generation: [u8; 16],
    /// The snapshot that the copy must be at; 0 for a full stream.
    pub from: U64,
    /// The snapshot that the copy is at afterwards.
    pub to: U64,
    /// When `to` was taken, in nanoseconds since 1970-01-01.
    pub time_ns: U64,
    /// Bytes of the live device.
    pub origin_bytes: U64,
    /// Bytes of a chunk.
    pub chunk_bytes: U32,
    /// Zero.
    pub reserved: [u8; 28],
}

/// A frame's head on the wire.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RawFrame {
    /// [`FRAME_DATA`] or [`FRAME_END`].
    pub kind: U32,
    /// None defined: zero.
    pub flags: U32,
    /// Data: the first chunk. End: the number of data frames.
    pub start: U64,
    /// Data: the number of chunks. End: all frames' chunks.
    pub chunks: U64,
    /// Data: bytes of the payload. End: all frames' bytes.
    pub bytes: U64,
}

/// What a stream says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Header {
    /// The live device's generation.
    pub generation: Uuid,
    /// The snapshot that the copy must be at; 0 for a full stream.
    pub from: u64,
    /// The snapshot that the copy is at afterwards.
    pub to: u64,
    /// When `to` was taken, in nanoseconds since 1970-01-01.
    pub time_ns: u64,
    /// Bytes of the live device.
    pub origin_bytes: u64,
    /// Bytes of a chunk.
    pub chunk_bytes: u32,
}

/// What a stream carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Data frames.
    pub extents: u64,
    /// Chunks.
    pub chunks: u64,
    /// Bytes of content.
    pub bytes: u64,
}

impl Header {
    /// `None` unless all numbers make sense together, so that nobody need check them again.
    pub fn check(self) -> Option<Self> {
        let chunk = self.chunk_bytes as usize;
        let sizes = chunk.is_power_of_two() && (512..=MAX_PAYLOAD).contains(&chunk);
        let origin = self.origin_bytes > 0
            && self.origin_bytes.is_multiple_of(512)
            && i64::try_from(self.origin_bytes).is_ok();
        (sizes && origin && self.from < self.to).then_some(self)
    }

    /// Number of chunks of the live device.
    pub fn chunks(&self) -> u64 {
        self.origin_bytes.div_ceil(u64::from(self.chunk_bytes))
    }

    /// Where a run of chunks lies: first byte and length. `None` when it is empty or not within the
    /// device.
    pub fn place(&self, start: u64, chunks: u64) -> Option<(u64, u64)> {
        let end = start
            .checked_add(chunks)
            .filter(|end| *end <= self.chunks() && chunks > 0)?;
        let chunk = u64::from(self.chunk_bytes);
        let first = start.checked_mul(chunk)?;
        let last = end.checked_mul(chunk)?.min(self.origin_bytes);
        Some((first, last.checked_sub(first)?))
    }
}

impl From<&Header> for RawHeader {
    fn from(header: &Header) -> Self {
        RawHeader {
            magic: MAGIC,
            version: VERSION.into(),
            flags: 0.into(),
            generation: header.generation.into_bytes(),
            from: header.from.into(),
            to: header.to.into(),
            time_ns: header.time_ns.into(),
            origin_bytes: header.origin_bytes.into(),
            chunk_bytes: header.chunk_bytes.into(),
            reserved: [0; 28],
        }
    }
}

impl From<&RawHeader> for Header {
    fn from(raw: &RawHeader) -> Self {
        Header {
            generation: Uuid::from_bytes(raw.generation),
            from: raw.from.get(),
            to: raw.to.get(),
            time_ns: raw.time_ns.get(),
            origin_bytes: raw.origin_bytes.get(),
            chunk_bytes: raw.chunk_bytes.get(),
        }
    }
}
