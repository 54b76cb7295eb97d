// SPDX-License-Identifier: GPL-2.0

//! A persistent store's superblocks while it is in use: what they say, and writing them.

#![forbid(unsafe_code)]

use crate::dm::BlockDevice;
use crate::dm::Io;
use crate::engine::session::disk::StoreDisk;
use crate::engine::session::disk::PIECE_BYTES;
use crate::format::Layout;
use crate::format::Superblock;
use crate::format::BLOCK_BYTES;
use crate::format::STATE_BROKEN;
use crate::store::trust::BootId;
use crate::store::trust::EndedStore;
use crate::store::Buffer;
use crate::store::Disk;
use crate::store::LogPosition;
use kernel::prelude::*;
use zerocopy::little_endian::U32;
use zerocopy::little_endian::U64;

/// The superblocks of a store, and what goes with them.
pub(in crate::engine) struct Superblocks {
    pub(in crate::engine) superblock: Superblock,
    pub(in crate::engine) layout: Layout,
    /// The image is all there is to know: nothing has happened since.
    pub(super) image_is_exact: bool,
    /// A session is under way.
    pub(in crate::engine) is_open: bool,
    /// The disk says that it is. Before, nothing may be logged: it would not be replayed, and might
    /// be written over what the last session's image still needs.
    pub(in crate::engine) has_begun: bool,
    /// A session has been begun, on the disk or not, since the store was found.
    pub(super) has_tried: bool,
    /// No valid superblock was found: the ring may hold anything, and is zeroed before use.
    pub(super) is_ring_unknown: bool,
    /// The superblock may be on the disk or not: writing it failed.
    pub(super) is_unsure: bool,
    /// Writing the first of the two superblocks failed: the next one has the same number.
    is_repeated: bool,
    /// Where a superblock is that surely says that the store is broken.
    broken_at: Option<u64>,
    /// It has failed; that has been told.
    pub(in crate::engine) is_failing: bool,
    /// The boot id that the store had when it was found.
    pub(super) boot_before: BootId,
    /// Where the next session's log begins.
    pub(in crate::engine) place: LogPosition,
    pub(in crate::engine) io: KBox<Io<()>>,
    /// The block that is written, allocated beforehand: writing a superblock must not need memory.
    block: Buffer,
}

impl Superblocks {
    /// Describes a store that has been found: nothing has been written yet. May sleep.
    ///
    /// Errors: `ENOMEM`.
    pub(super) fn found(
        superblock: Superblock,
        layout: Layout,
        place: LogPosition,
        io: KBox<Io<()>>,
    ) -> Result<Self> {
        Ok(Self {
            superblock,
            layout,
            image_is_exact: false,
            is_open: false,
            has_begun: false,
            has_tried: false,
            is_ring_unknown: false,
            is_unsure: false,
            is_repeated: false,
            broken_at: None,
            is_failing: false,
            boot_before: superblock.boot,
            place,
            io,
            block: Buffer::new()?,
        })
    }

    /// Zeroes the ring of a store that was blank. If the ring held anything but records and zeroes,
    /// recovery would look for records in all segments.
    ///
    /// Errors: those of the device, as `EIO`, `ENOMEM`.
    pub(super) fn clear_ring(&mut self, device: &BlockDevice) -> Result {
        if !self.is_ring_unknown {
            return Ok(());
        }
        let (start, end) = (self.layout.ring_start, self.layout.image_start);
        let mut zeroes = KVVec::new();
        zeroes.resize(PIECE_BYTES, 0u8, GFP_KERNEL)?;
        let piece = (PIECE_BYTES / BLOCK_BYTES) as u64;
        let mut disk = self.disk(device);
        for at in (start..end).step_by(PIECE_BYTES / BLOCK_BYTES) {
            // CAST: At most a piece.
            let bytes = (end - at).min(piece) as usize * BLOCK_BYTES;
            disk.write(at, zeroes.get(..bytes).ok_or(EINVAL)?)?;
        }
        disk.flush()?;
        self.is_ring_unknown = false;
        Ok(())
    }

    /// Returns the store, to read and write.
    pub(in crate::engine) fn disk<'a>(&'a mut self, device: &'a BlockDevice) -> StoreDisk<'a> {
        StoreDisk::new(device, &mut self.io)
    }

    /// Gives the superblock the next number. That decides which place is written first: the one
    /// that may hold no valid superblock, since the other may be all there is. So a number whose
    /// first place could not be written is used again.
    fn take_number(&mut self) {
        if !core::mem::replace(&mut self.is_repeated, true) {
            let sequence = self.superblock.sequence.get() + 1;
            self.superblock.sequence = U64::new(sequence);
        }
    }

    /// Writes the superblock to one place, durably.
    ///
    /// Errors: those of the device, as `EIO`.
    fn write_to(&mut self, device: &BlockDevice, at: u64) -> Result {
        let block = self.block.block()?;
        self.superblock.to_block(block);
        let mut disk = StoreDisk::new(device, &mut self.io);
        disk.write(at, block)?;
        disk.flush()?;
        if self.superblock.places().first() == Some(&at) {
            self.is_repeated = false;
        }
        Ok(())
    }

    /// Writes both superblocks, one after the other, so that at any moment one of them is whole,
    /// and so is the image that it refers to.
    ///
    /// Needs no memory: whoever has changed the superblock could not take that back, and the next
    /// image would go to where the one is that counts.
    ///
    /// Errors: those of the device, as `EIO`.
    pub(in crate::engine) fn write_superblocks(&mut self, device: &BlockDevice) -> Result {
        self.is_unsure = true;
        self.take_number();
        for at in self.superblock.places() {
            self.write_to(device, at)?;
        }
        self.is_unsure = false;
        Ok(())
    }

    /// Writes the broken state to the superblocks. One superblock that can still be written is
    /// enough, as it is later than the other. Where it is already it stays, unless it is in both
    /// places: a write that is torn would leave the other one.
    ///
    /// Errors: those of the device, as `EIO`, if it is in neither place.
    pub(in crate::engine) fn write_broken(&mut self, device: &BlockDevice) -> Result {
        self.superblock.state = U32::new(STATE_BROKEN);
        self.image_is_exact = false;
        self.take_number();
        for at in self.superblock.places() {
            if self.broken_at != Some(at) && self.write_to(device, at).is_ok() {
                self.broken_at = self.broken_at.or(Some(at));
            }
        }
        self.broken_at.map(|_| ()).ok_or(EIO)
    }

    /// Returns what to remember of an engine that ends now. `None` for a store that is closed, or
    /// was left alone. `is_intact` says that every write that passed is in the log.
    pub(in crate::engine) fn ended(&self, is_intact: bool) -> Option<EndedStore> {
        let is_left_open = self.has_tried && !self.image_is_exact;
        is_left_open.then_some(EndedStore {
            store: self.superblock.store,
            session: self.superblock.session.get(),
            boot_before: self.boot_before,
            is_intact,
        })
    }

    /// Returns the UUID given at formatting.
    pub(in crate::engine) fn store(&self) -> [u8; 16] {
        self.superblock.store
    }

    /// Returns the id up to which snapshots and bookmarks are unproven; 0 for none.
    pub(in crate::engine) fn unproven(&self) -> u64 {
        self.superblock.unproven.get()
    }

    /// Returns the UUID that changes whenever tracking breaks.
    pub(in crate::engine) fn generation(&self) -> [u8; 16] {
        self.superblock.generation
    }
}
