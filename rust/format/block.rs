// SPDX-License-Identifier: GPL-2.0

//! Blocks of a persistent store, and the seal that those with a checksum begin with.
//!
//! All integers are little-endian. Everything is in blocks of 4 KiB, and each block that is not
//! content has a checksum of its own. What is read from a store becomes one of this room's types
//! only after its checks. Whoever follows a position or a count checks it against the
//! [`Layout`](crate::format::Layout).
//!
//! `Documentation/on-disk-format.rst` says the same for people.

#![forbid(unsafe_code)]

use crate::format::checksum::crc32c;
use zerocopy::little_endian::U32;
use zerocopy::FromBytes;
use zerocopy::IntoBytes;
use zerocopy_derive::FromBytes;
use zerocopy_derive::Immutable;
use zerocopy_derive::IntoBytes;
use zerocopy_derive::KnownLayout;

/// Bytes of a block.
pub const BLOCK_BYTES: usize = 4096;
/// Sectors of a block.
pub const BLOCK_SECTORS: u64 = 8;
/// A block.
pub type Block = [u8; BLOCK_BYTES];

/// The format that this code writes. A store of a later version is refused.
pub const VERSION: u32 = 1;

/// Numbers that rise (of records, epochs, snapshots and so on) are below this, so that going on
/// with them cannot overflow.
pub const MAX_NUMBER: u64 = 1 << 62;

/// Why a block was refused. The reasons are in rising order: a later one says more.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Invalid {
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

pub(super) const SEAL_BYTES: usize = core::mem::size_of::<Seal>();
/// The checksum's place in a block.
const CHECKSUM_AT: core::ops::Range<usize> = 8..12;

/// A kind of block: the bytes that it begins with, and how many of its bytes the checksum covers.
pub(super) struct BlockKind {
    pub(super) magic: [u8; 8],
    pub(super) covered: usize,
}

fn block_checksum(block: &Block, kind: &BlockKind) -> u32 {
    let (block, _) = block.split_at(kind.covered);
    let (before, rest) = block.split_at(CHECKSUM_AT.start);
    let (_, after) = rest.split_at(CHECKSUM_AT.len());
    crc32c(crc32c(crc32c(0, before), &[0; 4]), after)
}

/// Completes a block: writes magic, version and checksum. Returns the checksum.
pub(super) fn seal(block: &mut Block, kind: &BlockKind) -> u32 {
    let seal = Seal {
        magic: kind.magic,
        checksum: U32::new(0),
        version: U32::new(VERSION),
    };
    let (head, _) = block.split_at_mut(SEAL_BYTES);
    head.copy_from_slice(seal.as_bytes());
    let checksum = block_checksum(block, kind);
    let (_, rest) = block.split_at_mut(CHECKSUM_AT.start);
    let (field, _) = rest.split_at_mut(CHECKSUM_AT.len());
    field.copy_from_slice(&checksum.to_le_bytes());
    checksum
}

/// Checks what [`seal`] wrote. Returns the checksum.
///
/// Errors: [`Invalid`], which says why the block was refused.
pub(super) fn unseal(block: &Block, kind: &BlockKind) -> Result<u32, Invalid> {
    let (seal, _) = Seal::read_from_prefix(block).map_err(|_| Invalid::Foreign)?;
    if seal.magic != kind.magic {
        let blank = block.iter().all(|byte| *byte == 0);
        return Err(if blank {
            Invalid::Blank
        } else {
            Invalid::Foreign
        });
    }
    if seal.checksum.get() != block_checksum(block, kind) {
        return Err(Invalid::Damaged);
    }
    match seal.version.get() {
        VERSION => Ok(seal.checksum.get()),
        _ => Err(Invalid::Unsupported),
    }
}

/// Reads the `T` behind the seal.
///
/// Errors: [`Invalid::Damaged`] for a `T` that does not fit into a block, which no caller has.
pub(super) fn body<T: FromBytes>(block: &Block) -> Result<T, Invalid> {
    let (_, rest) = block.split_at(SEAL_BYTES);
    let (value, _) = T::read_from_prefix(rest).map_err(|_| Invalid::Damaged)?;
    Ok(value)
}

/// Zeroes `block` and puts `value` behind the place of the seal.
pub(super) fn set_body<T: IntoBytes + zerocopy::Immutable>(block: &mut Block, value: &T) {
    block.fill(0);
    let bytes = value.as_bytes();
    if let Some(place) = block.get_mut(SEAL_BYTES..SEAL_BYTES + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

const _: () = assert!(SEAL_BYTES == 16);
