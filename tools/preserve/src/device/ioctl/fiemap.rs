// SPDX-License-Identifier: GPL-2.0

//! The argument of the kernel's FIEMAP, and what it fills in.

#![forbid(unsafe_code)]

use zerocopy_derive::FromBytes;
use zerocopy_derive::Immutable;
use zerocopy_derive::IntoBytes;
use zerocopy_derive::KnownLayout;

/// `FIEMAP_FLAG_SYNC`: write delayed allocations first, so that they have a place.
const SYNC: u32 = 1;
/// `FIEMAP_EXTENT_LAST`.
const LAST: u32 = 0x1;
/// The extent has no fixed place of its own, or not a place that holds its bytes as they are:
/// `UNKNOWN`, `DELALLOC`, `ENCODED`, `DATA_ENCRYPTED`, `NOT_ALIGNED`, `DATA_INLINE`, `DATA_TAIL`.
const UNPLACED: u32 = 0x2 | 0x4 | 0x8 | 0x80 | 0x100 | 0x200 | 0x400;
/// `FIEMAP_EXTENT_SHARED`: other files use the same place.
const SHARED: u32 = 0x2000;

/// Extents asked for at a time.
const BATCH: usize = 128;

/// The kernel's `struct fiemap_extent`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Extent {
    /// Byte in the file.
    pub logical: u64,
    /// Byte on the device.
    pub physical: u64,
    /// Bytes.
    pub length: u64,
    reserved64: [u64; 2],
    flags: u32,
    reserved: [u32; 3],
}

impl Extent {
    /// The bytes lie at `physical`, as they are.
    pub fn is_placed(&self) -> bool {
        self.flags & UNPLACED == 0
    }

    /// The file ends with it.
    pub fn is_last(&self) -> bool {
        self.flags & LAST != 0
    }

    /// Other files share the place.
    pub fn is_shared(&self) -> bool {
        self.flags & SHARED != 0
    }
}

/// The kernel's `struct fiemap` with room for some extents.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Fiemap {
    start: u64,
    length: u64,
    flags: u32,
    mapped: u32,
    pub(super) count: u32,
    reserved: u32,
    pub(super) extents: [Extent; BATCH],
}

impl Fiemap {
    /// Asks for a file's extents from a byte on.
    pub fn new(start: u64) -> Self {
        Self {
            start,
            length: u64::MAX - start,
            flags: SYNC,
            mapped: 0,
            count: 0,
            reserved: 0,
            extents: [Extent::default(); BATCH],
        }
    }

    /// The extents that were found.
    pub fn found(&self) -> &[Extent] {
        &self.extents[..BATCH.min(self.mapped as usize)]
    }
}
