// SPDX-License-Identifier: GPL-2.0

//! The on-disk format of a persistent store: its structs, and the checks that they must pass.
//!
//! All integers are little-endian. Everything is in blocks of 4 KiB, and each block that is not content has
//! a checksum of its own. What is read from a store becomes one of the types here only after its checks;
//! positions and counts are checked against the [`Layout`](crate::layout::Layout) by whoever follows them.
//!
//! `Documentation/on-disk-format.rst` says the same for people.

#![forbid(unsafe_code)]

use crate::checksum::crc32c;
use zerocopy::little_endian::U32;
use zerocopy::little_endian::U64;
use zerocopy::FromBytes;
use zerocopy::IntoBytes;
use zerocopy_derive::FromBytes;
use zerocopy_derive::Immutable;
use zerocopy_derive::IntoBytes;
use zerocopy_derive::KnownLayout;

/// Bytes of a block.
pub(crate) const BLOCK_BYTES: usize = 4096;
/// Sectors of a block.
pub(crate) const BLOCK_SECTORS: u64 = 8;
/// A block.
pub(crate) type Block = [u8; BLOCK_BYTES];

/// The format that this code writes. A store of a later version is refused.
pub(crate) const VERSION: u32 = 1;

/// First bytes of a superblock.
pub(crate) const SUPERBLOCK_MAGIC: [u8; 8] = *b"dmprsv1S";
const RECORD_MAGIC: [u8; 8] = *b"dmprsv1R";
const IMAGE_MAGIC: [u8; 8] = *b"dmprsv1I";

/// Numbers that rise (of records, epochs, snapshots and so on) are below this, so that going on with them cannot overflow.
pub(crate) const MAX_NUMBER: u64 = 1 << 62;

/// Where the two superblocks are, in blocks.
pub(crate) const SUPERBLOCKS: [u64; 2] = [0, 1];

/// Why a block was not taken; of two, the later one here says more.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Invalid {
    /// All zero: never written.
    Blank,
    /// Not of this kind.
    Foreign,
    /// Of this kind, but damaged.
    Damaged,
    /// Made by a later version, or with features that this code does not know.
    Unsupported,
}

/// What all blocks with a checksum begin with.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Seal {
    magic: [u8; 8],
    /// CRC-32C of the block (of a superblock: its first sector) with this field zero.
    checksum: U32,
    version: U32,
}

const SEAL_BYTES: usize = core::mem::size_of::<Seal>();
/// The checksum's place in a block.
const CHECKSUM_AT: core::ops::Range<usize> = 8..12;

/// How much of a block its checksum covers.
fn covered(magic: [u8; 8]) -> usize {
    match magic {
        // What a disk writes whole or not at all. If it were more, a torn superblock could be completed by the
        // torn writing of the next one, and come back when its image is gone.
        SUPERBLOCK_MAGIC => 512,
        _ => BLOCK_BYTES,
    }
}

fn block_checksum(block: &Block, magic: [u8; 8]) -> u32 {
    let (block, _) = block.split_at(covered(magic));
    let (before, rest) = block.split_at(CHECKSUM_AT.start);
    let (_, after) = rest.split_at(CHECKSUM_AT.len());
    crc32c(crc32c(crc32c(0, before), &[0; 4]), after)
}

/// Completes a block: magic, version and checksum. The result is the checksum.
fn seal(block: &mut Block, magic: [u8; 8]) -> u32 {
    let seal = Seal {
        magic,
        checksum: U32::new(0),
        version: U32::new(VERSION),
    };
    let (head, _) = block.split_at_mut(SEAL_BYTES);
    head.copy_from_slice(seal.as_bytes());
    let checksum = block_checksum(block, magic);
    let (_, rest) = block.split_at_mut(CHECKSUM_AT.start);
    let (field, _) = rest.split_at_mut(CHECKSUM_AT.len());
    field.copy_from_slice(&checksum.to_le_bytes());
    checksum
}

/// Checks what [`seal`] wrote. The result is the checksum.
fn unseal(block: &Block, magic: [u8; 8]) -> Result<u32, Invalid> {
    let (seal, _) = Seal::read_from_prefix(block).map_err(|_| Invalid::Foreign)?;
    if seal.magic != magic {
        let blank = block.iter().all(|byte| *byte == 0);
        return Err(if blank {
            Invalid::Blank
        } else {
            Invalid::Foreign
        });
    }
    if seal.checksum.get() != block_checksum(block, magic) {
        return Err(Invalid::Damaged);
    }
    match seal.version.get() {
        VERSION => Ok(seal.checksum.get()),
        _ => Err(Invalid::Unsupported),
    }
}

/// Reads the `T` behind the seal.
fn body<T: FromBytes>(block: &Block) -> Result<T, Invalid> {
    let (_, rest) = block.split_at(SEAL_BYTES);
    let (value, _) = T::read_from_prefix(rest).map_err(|_| Invalid::Damaged)?;
    Ok(value)
}

/// Makes `block` zero but for `value` behind the seal's place.
fn set_body<T: IntoBytes + zerocopy::Immutable>(block: &mut Block, value: &T) {
    block.fill(0);
    let bytes = value.as_bytes();
    if let Some(place) = block.get_mut(SEAL_BYTES..SEAL_BYTES + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

/// A store that is in use, or was when the power went.
pub(crate) const STATE_OPEN: u32 = 1;
/// A store that was shut down cleanly: the log is empty, and the origin's fingerprint is that in the
/// superblock.
pub(crate) const STATE_CLOSED: u32 = 2;
/// Tracking is broken: writes passed that could not be logged.
pub(crate) const STATE_BROKEN: u32 = 3;
/// The origin is being brought back to a snapshot: until that is finished it is nothing that ever was. Only
/// `preserve rollback` goes on from here; what the store holds has not changed.
pub(crate) const STATE_ROLLBACK: u32 = 4;

/// Writes go on, without being logged.
pub(crate) const ON_ERROR_CONTINUE: u32 = 0;
/// Writes wait: none passes that is not in the log.
pub(crate) const ON_ERROR_BLOCK: u32 = 1;

/// A superblock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Superblock {
    /// Features that a program need not know to use the store.
    pub(crate) compatible: U64,
    /// Features that it must know to write to it.
    pub(crate) read_only: U64,
    /// Features that it must know to read it.
    pub(crate) incompatible: U64,
    /// Rises with each superblock written; the later valid one counts.
    pub(crate) sequence: U64,
    /// The store's UUID, given at formatting.
    pub(crate) store: [u8; 16],
    /// Changes whenever tracking breaks; part of every snapshot's identity.
    pub(crate) generation: [u8; 16],
    /// Rises with each activation.
    pub(crate) session: U64,
    /// `STATE_*`
    pub(crate) state: U32,
    /// Sectors per chunk.
    pub(crate) chunk_sectors: U32,
    /// Sectors of the live device.
    pub(crate) origin_sectors: U64,
    /// The log's ring: first block, and blocks.
    pub(crate) ring_start: U64,
    /// See `ring_start`.
    pub(crate) ring_blocks: U64,
    /// The two areas for checkpoint images: first block of the first, and blocks of each.
    pub(crate) image_start: U64,
    /// See `image_start`.
    pub(crate) image_blocks: U64,
    /// The segments: first block, blocks of each, and their number.
    pub(crate) data_start: U64,
    /// See `data_start`.
    pub(crate) segment_blocks: U64,
    /// See `data_start`.
    pub(crate) segments: U64,
    /// The checkpoint: its number, 0 when there is none.
    pub(crate) image_number: U64,
    /// Which area it is in, 0 or 1.
    pub(crate) image_area: U32,
    /// The fingerprint of the origin at a clean shutdown.
    pub(crate) fingerprint: U32,
    /// Blocks of the checkpoint's image.
    pub(crate) image_used: U64,
    /// The snapshot that the origin is being brought back to in `STATE_ROLLBACK`, otherwise 0.
    pub(crate) rollback: U64,
    /// The boot id of the kernel that began the session; 0 when it was not known.
    pub(crate) boot: [u8; 16],
    /// Snapshots up to this id are unproven: writes may have passed that the store does not know
    /// of; 0 for none.
    pub(crate) unproven: U64,
    /// `ON_ERROR_*`: what the session does when not even a superblock can be written.
    pub(crate) on_error: U32,
    /// Zero.
    pub(crate) reserved: U32,
}

impl Superblock {
    /// Writes it to a block.
    pub(crate) fn to_block(self, block: &mut Block) {
        set_body(block, &self);
        seal(block, SUPERBLOCK_MAGIC);
    }

    /// Where it is written, one after the other with a flush between: first the place that the superblock
    /// before it was written to last, and which a crash may have left without that.
    ///
    /// The other place has the superblock before, then. If that were overwritten first, and the power went, only
    /// an older one would be left, whose image's area has been used again.
    pub(crate) fn places(&self) -> [u64; 2] {
        let [even, odd] = SUPERBLOCKS;
        match self.sequence.get() % 2 {
            0 => [even, odd],
            _ => [odd, even],
        }
    }

    /// Has its next one be written to `place` first, where nothing whole is: if the power goes meanwhile, this one is left.
    pub(crate) fn replace_first(&mut self, place: u64) {
        // The next one goes first to where this one went last.
        let [first, _] = self.places();
        if first == place {
            self.sequence += U64::new(1);
        }
    }

    /// From a block, if it is a superblock that this code may use.
    pub(crate) fn from_block(block: &Block) -> Result<Self, Invalid> {
        unseal(block, SUPERBLOCK_MAGIC)?;
        let superblock: Self = body(block)?;
        let rising = [
            superblock.sequence,
            superblock.session,
            superblock.image_number,
            superblock.rollback,
            superblock.unproven,
        ];
        if rising.iter().any(|number| number.get() >= MAX_NUMBER) {
            return Err(Invalid::Damaged);
        }
        if superblock.incompatible.get() != 0 || superblock.read_only.get() != 0 {
            return Err(Invalid::Unsupported);
        }
        match (superblock.state.get(), superblock.rollback.get()) {
            (STATE_OPEN | STATE_CLOSED | STATE_BROKEN, 0) => Ok(superblock),
            (STATE_ROLLBACK, snapshot) if snapshot != 0 => Ok(superblock),
            _ => Err(Invalid::Damaged),
        }
    }
}

/// Contents follow the header, one entry each.
pub(crate) const KIND_CONTENTS: u32 = 1;
/// The header's entries are all there is.
pub(crate) const KIND_ENTRIES: u32 = 2;

/// The header of a record of the log: a block of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct RecordHeader {
    /// The store that it belongs to.
    pub(crate) store: [u8; 16],
    /// Its number; rises by one.
    pub(crate) sequence: U64,
    /// The activation that wrote it.
    pub(crate) session: U64,
    /// The epoch whose contents these are; 0 for entries.
    pub(crate) epoch: U64,
    /// Every record with a lower number was durable when this one was made.
    pub(crate) durable: U64,
    /// Checksum of the header before.
    pub(crate) previous: U32,
    /// `KIND_*`
    pub(crate) kind: U32,
    /// Number of entries.
    pub(crate) count: U32,
    /// Zero.
    pub(crate) reserved: U32,
}

const RECORD_BODY_AT: usize = SEAL_BYTES + core::mem::size_of::<RecordHeader>();

/// What a content record says of one content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Content {
    /// The chunk.
    pub(crate) chunk: U64,
    /// CRC-32C of the content, a whole chunk (what lies beyond the device's end is zero).
    pub(crate) checksum: U32,
    /// Zero.
    pub(crate) reserved: U32,
}

/// An entry of a record without contents, as it is on disk. See [`Entry`](crate::entry::Entry).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct RawEntry {
    /// What it says.
    pub(crate) kind: U32,
    /// Depends on the kind.
    pub(crate) flags: U32,
    /// Depends on the kind.
    pub(crate) words: [U64; 3],
}

/// Most contents of a record; with chunks of 4 KiB they and the header fit into one bio of single pages.
pub(crate) const MAX_CONTENTS: usize = 240;
/// Most entries of a record.
pub(crate) const MAX_ENTRIES: usize =
    (BLOCK_BYTES - RECORD_BODY_AT) / core::mem::size_of::<RawEntry>();

/// Makes a record's header block; the result is its checksum.
///
/// Entries beyond what fits are a bug of the caller; they are left out, and the count says so.
pub(crate) fn record_block<T: IntoBytes + zerocopy::Immutable>(
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
    seal(block, RECORD_MAGIC)
}

/// A record's header block that has passed its checks.
///
/// # Invariants
///
/// The count is that of entries that fit into the block, and for contents at most [`MAX_CONTENTS`].
pub(crate) struct Record<'a> {
    /// The header.
    pub(crate) header: RecordHeader,
    /// The block's checksum.
    pub(crate) checksum: u32,
    block: &'a Block,
}

impl<'a> Record<'a> {
    /// From a block.
    pub(crate) fn from_block(block: &'a Block) -> Result<Self, Invalid> {
        let checksum = unseal(block, RECORD_MAGIC)?;
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

    /// The entries of a content record.
    pub(crate) fn contents(&self) -> impl Iterator<Item = Content> + 'a {
        self.entries()
    }

    /// The entries of another record.
    pub(crate) fn raw_entries(&self) -> impl Iterator<Item = RawEntry> + 'a {
        self.entries()
    }
}

/// The header of a block of a checkpoint's image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct ImageHeader {
    /// The store that it belongs to.
    pub(crate) store: [u8; 16],
    /// Number of the checkpoint.
    pub(crate) image: U64,
    /// Number of the block in it, from 0.
    pub(crate) number: U64,
    /// Bytes of data in this block.
    pub(crate) used: U32,
    /// Zero.
    pub(crate) reserved: U32,
}

const IMAGE_BODY_AT: usize = SEAL_BYTES + core::mem::size_of::<ImageHeader>();
/// Bytes of data that a block of an image holds.
pub(crate) const IMAGE_DATA: usize = BLOCK_BYTES - IMAGE_BODY_AT;

/// Makes a block of an image. `data` is at most [`IMAGE_DATA`] bytes.
pub(crate) fn image_block(block: &mut Block, mut header: ImageHeader, data: &[u8]) {
    let data = data.get(..IMAGE_DATA).unwrap_or(data);
    // CAST: At most a block.
    header.used = U32::new(data.len() as u32);
    set_body(block, &header);
    if let Some(place) = block.get_mut(IMAGE_BODY_AT..IMAGE_BODY_AT + data.len()) {
        place.copy_from_slice(data);
    }
    seal(block, IMAGE_MAGIC);
}

/// The data of a block of an image.
pub(crate) fn image_data(block: &Block) -> Result<(ImageHeader, &[u8]), Invalid> {
    unseal(block, IMAGE_MAGIC)?;
    let header: ImageHeader = body(block)?;
    // CAST: Checked by `get`.
    let used = header.used.get() as usize;
    let data = block.get(IMAGE_BODY_AT..).and_then(|data| data.get(..used));
    Ok((header, data.ok_or(Invalid::Damaged)?))
}

const _: () = assert!(SEAL_BYTES == 16);
const _: () = assert!(core::mem::size_of::<Superblock>() == 208);
const _: () = assert!(SEAL_BYTES + core::mem::size_of::<Superblock>() <= 512);
const _: () = assert!(core::mem::size_of::<RecordHeader>() == 64);
const _: () = assert!(core::mem::size_of::<Content>() == 16);
const _: () = assert!(core::mem::size_of::<RawEntry>() == 32);
const _: () = assert!(RECORD_BODY_AT + MAX_CONTENTS * 16 <= BLOCK_BYTES);
