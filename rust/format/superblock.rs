// SPDX-License-Identifier: GPL-2.0

//! The superblock of a persistent store: what the store is, its state, and which checkpoint counts.

#![forbid(unsafe_code)]

use crate::format::block::body;
use crate::format::block::seal;
use crate::format::block::set_body;
use crate::format::block::unseal;
use crate::format::block::Block;
use crate::format::block::BlockKind;
use crate::format::block::Invalid;
use crate::format::block::MAX_NUMBER;
use crate::format::block::SEAL_BYTES;
use zerocopy::little_endian::U32;
use zerocopy::little_endian::U64;
use zerocopy_derive::FromBytes;
use zerocopy_derive::Immutable;
use zerocopy_derive::IntoBytes;
use zerocopy_derive::KnownLayout;

/// First bytes of a superblock.
pub const SUPERBLOCK_MAGIC: [u8; 8] = *b"dmprsv1S";

/// Where the two superblocks are, in blocks.
pub const SUPERBLOCKS: [u64; 2] = [0, 1];

/// The checksum covers what a disk writes whole or not at all. If it covered more, a torn
/// superblock could be completed by the torn writing of the next one, and come back when its image
/// is gone.
const SUPERBLOCK: BlockKind = BlockKind {
    magic: SUPERBLOCK_MAGIC,
    covered: 512,
};

/// A store that is in use, or was when the power went.
pub const STATE_OPEN: u32 = 1;
/// A store that was shut down cleanly: the log is empty, and the origin's fingerprint is that in
/// the superblock.
pub const STATE_CLOSED: u32 = 2;
/// Tracking is broken: writes passed that could not be logged.
pub const STATE_BROKEN: u32 = 3;
/// The origin is being brought back to a snapshot: until that is finished it is nothing that ever
/// was. Only `preserve rollback` goes on from here; what the store holds has not changed.
pub const STATE_ROLLBACK: u32 = 4;

/// Writes go on, without being logged.
pub const ON_ERROR_CONTINUE: u32 = 0;
/// Writes wait: none passes that is not in the log.
pub const ON_ERROR_BLOCK: u32 = 1;

/// A superblock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Superblock {
    /// Features that a program need not know to use the store.
    pub compatible: U64,
    /// Features that it must know to write to it.
    pub read_only: U64,
    /// Features that it must know to read it.
    pub incompatible: U64,
    /// Rises with each superblock written; the later valid one counts.
    pub sequence: U64,
    /// The store's UUID, given at formatting.
    pub store: [u8; 16],
    /// Changes whenever tracking breaks; part of every snapshot's identity.
    pub generation: [u8; 16],
    /// Rises with each activation.
    pub session: U64,
    /// `STATE_*`
    pub state: U32,
    /// Sectors per chunk.
    pub chunk_sectors: U32,
    /// Sectors of the live device.
    pub origin_sectors: U64,
    /// The log's ring: first block, and blocks.
    pub ring_start: U64,
    /// See `ring_start`.
    pub ring_blocks: U64,
    /// The two areas for checkpoint images: first block of the first, and blocks of each.
    pub image_start: U64,
    /// See `image_start`.
    pub image_blocks: U64,
    /// The segments: first block, blocks of each, and their number.
    pub data_start: U64,
    /// See `data_start`.
    pub segment_blocks: U64,
    /// See `data_start`.
    pub segments: U64,
    /// The checkpoint: its number, 0 when there is none.
    pub image_number: U64,
    /// Which area it is in, 0 or 1.
    pub image_area: U32,
    /// The fingerprint of the origin at a clean shutdown.
    pub fingerprint: U32,
    /// Blocks of the checkpoint's image.
    pub image_used: U64,
    /// The snapshot that the origin is being brought back to in `STATE_ROLLBACK`, otherwise 0.
    pub rollback: U64,
    /// The boot id of the kernel that began the session; 0 when it was not known.
    pub boot: [u8; 16],
    /// Snapshots up to this id are unproven: writes may have passed that the store does not know
    /// of; 0 for none.
    pub unproven: U64,
    /// `ON_ERROR_*`: what the session does when not even a superblock can be written.
    pub on_error: U32,
    /// Zero.
    pub reserved: U32,
}

impl Superblock {
    /// Writes the superblock to a block, with its seal.
    pub fn to_block(self, block: &mut Block) {
        set_body(block, &self);
        seal(block, &SUPERBLOCK);
    }

    /// Returns the two places that the superblock is written to, one after the other with a flush
    /// between. The first is the one that the previous superblock was written to last: a crash may
    /// have come before that write.
    ///
    /// The other place is sure to hold the previous superblock. If that were overwritten first and
    /// the power went, only an older superblock would be left, and the area of its image has been
    /// used again.
    pub fn places(&self) -> [u64; 2] {
        let [even, odd] = SUPERBLOCKS;
        match self.sequence.get() % 2 {
            0 => [even, odd],
            _ => [odd, even],
        }
    }

    /// Makes the next superblock go to `place` first, where there is no valid one. If the power
    /// goes meanwhile, this superblock is left.
    pub fn replace_first(&mut self, place: u64) {
        // The next one goes first to where this one went last.
        let [first, _] = self.places();
        if first == place {
            self.sequence += U64::new(1);
        }
    }

    /// Reads a superblock that this code may use from a block.
    ///
    /// Errors: [`Invalid`], which says why the block was refused.
    pub fn from_block(block: &Block) -> Result<Self, Invalid> {
        unseal(block, &SUPERBLOCK)?;
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

const _: () = assert!(core::mem::size_of::<Superblock>() == 208);
const _: () = assert!(SEAL_BYTES + core::mem::size_of::<Superblock>() <= SUPERBLOCK.covered);
