// SPDX-License-Identifier: GPL-2.0

//! The header block of a record of the log, and what it says of contents and entries.

#![forbid(unsafe_code)]

use crate::format::block::body;
use crate::format::block::seal;
use crate::format::block::unseal;
use crate::format::block::Block;
use crate::format::block::BlockKind;
use crate::format::block::Invalid;
use crate::format::block::BLOCK_BYTES;
use crate::format::block::SEAL_BYTES;
use zerocopy::little_endian::U32;
use zerocopy::little_endian::U64;
use zerocopy::FromBytes;
use zerocopy::IntoBytes;
use zerocopy_derive::FromBytes;
use zerocopy_derive::Immutable;
use zerocopy_derive::IntoBytes;
use zerocopy_derive::KnownLayout;

const RECORD: BlockKind = BlockKind {
    magic: *b"dmprsv1R",
    covered: BLOCK_BYTES,
};

/// Contents follow the header, one entry each.
pub const KIND_CONTENTS: u32 = 1;
/// The header's entries are all there is.
pub const KIND_ENTRIES: u32 = 2;

/// The header of a record of the log: a block of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RecordHeader {
    /// The store that it belongs to.
    pub store: [u8; 16],
    /// Its number; rises by one.
    pub sequence: U64,
    /// The activation that wrote it.
    pub session: U64,
    /// The epoch whose contents these are; 0 for entries.
    pub epoch: U64,
    /// Every record with a lower number was durable when this one was made.
    pub durable: U64,
    /// Checksum of the header before.
    pub previous: U32,
    /// `KIND_*`
    pub kind: U32,
    /// Number of entries.
    pub count: U32,
    /// Zero.
    pub reserved: U32,
}

const RECORD_BODY_AT: usize = SEAL_BYTES + core::mem::size_of::<RecordHeader>();

/// What a content record says of one content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RawContent {
    /// The chunk.
    pub chunk: U64,
    /// CRC-32C of the content, a whole chunk (what lies beyond the device's end is zero).
    pub checksum: U32,
    /// Zero.
    pub reserved: U32,
}

/// An entry of a record without contents, as it is on disk. See
/// [`Entry`](crate::format::entry::Entry).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RawEntry {
    /// What it says.
    pub kind: U32,
    /// Depends on the kind.
    pub flags: U32,
    /// Depends on the kind.
    pub words: [U64; 3],
}

/// Most contents of a record; with chunks of 4 KiB they and the header fit into one bio of single
/// pages.
pub const MAX_CONTENTS: usize = 240;
/// Most entries of a record.
pub const MAX_ENTRIES: usize = (BLOCK_BYTES - RECORD_BODY_AT) / core::mem::size_of::<RawEntry>();

/// Makes the header block of a record. Returns its checksum.
///
/// More entries than fit are a bug of the caller: they are left out, and not counted in the header.
pub fn record_block<T: IntoBytes + zerocopy::Immutable>(
    block: &mut Block,
    mut header: RecordHeader,
    entries: impl Iterator<Item = T>,
) -> u32 {
    block.fill(0);
    let (_, rest) = block.split_at_mut(RECORD_BODY_AT);
    let mut count = 0;
    for (place, entry) in rest
        .chunks_exact_mut(core::mem::size_of::<T>())
        .zip(entries)
    {
        place.copy_from_slice(entry.as_bytes());
        count += 1;
    }
    header.count = U32::new(count);
    let (_, rest) = block.split_at_mut(SEAL_BYTES);
    let (place, _) = rest.split_at_mut(core::mem::size_of::<RecordHeader>());
    place.copy_from_slice(header.as_bytes());
    seal(block, &RECORD)
}

/// A record's header block that has passed its checks.
///
/// # Invariants
///
/// The count is that of entries that fit into the block, and for contents at most [`MAX_CONTENTS`].
pub struct Record<'a> {
    /// The header.
    pub header: RecordHeader,
    /// The block's checksum.
    pub checksum: u32,
    block: &'a Block,
}

impl<'a> Record<'a> {
    /// Checks the header block of a record.
    ///
    /// Errors: [`Invalid`], which says why the block was refused.
    pub fn from_block(block: &'a Block) -> Result<Self, Invalid> {
        let checksum = unseal(block, &RECORD)?;
        let header: RecordHeader = body(block)?;
        let max = match header.kind.get() {
            KIND_CONTENTS => MAX_CONTENTS,
            KIND_ENTRIES => MAX_ENTRIES,
            _ => return Err(Invalid::Unsupported),
        };
        // CAST: A small constant.
        if header.count.get() > max as u32 {
            return Err(Invalid::Damaged);
        }
        // INVARIANT: Just checked.
        Ok(Self {
            header,
            checksum,
            block,
        })
    }

    fn entries<T: FromBytes + 'a>(&self) -> impl Iterator<Item = T> + 'a {
        let (_, rest) = self.block.split_at(RECORD_BODY_AT);
        // CAST: Bounded by the invariant.
        let count = self.header.count.get() as usize;
        let places = rest.chunks_exact(core::mem::size_of::<T>());
        places
            .take(count)
            .filter_map(|bytes| T::read_from_bytes(bytes).ok())
    }

    /// Returns the entries of a record with contents.
    pub fn contents(&self) -> impl Iterator<Item = RawContent> + 'a {
        self.entries()
    }

    /// Returns the entries of a record without contents.
    pub fn raw_entries(&self) -> impl Iterator<Item = RawEntry> + 'a {
        self.entries()
    }
}

const _: () = assert!(core::mem::size_of::<RecordHeader>() == 64);
const _: () = assert!(core::mem::size_of::<RawContent>() == 16);
const _: () = assert!(core::mem::size_of::<RawEntry>() == 32);
const _: () = assert!(RECORD_BODY_AT + MAX_CONTENTS * 16 <= BLOCK_BYTES);
