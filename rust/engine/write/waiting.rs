// SPDX-License-Identifier: GPL-2.0

//! The copier's state: its slots, the claims on chunks, and the bios that wait for either.
//!
//! A copy in flight has a slot, pages for its content, and a claim on its chunks. A slot has one
//! claim at most, and a chunk is in one. Pages are lent by need, so that in the same memory there
//! may be a few long copies or many short ones.

#![forbid(unsafe_code)]

use crate::dm;
use crate::dm::Bio;
use crate::dm::Io;
use crate::dm::List;
use crate::dm::Pages;
use crate::dm::Status;
use crate::dm::Ticket;
use crate::engine::log::contents::Copy;
use crate::engine::log::contents::Returned;
use crate::engine::log::pending::KEPT_FREE;
use crate::engine::reserves::Reserves;
use crate::maps::Chunks;
use crate::maps::Claims;
use kernel::prelude::*;
use kernel::sync::Arc;

/// Longest run copied at once, in bytes, unless a chunk is longer.
const RUN_BYTES: u64 = 64 << 10;
/// Chunks that there is memory for, at least and at most.
const MIN_SLOTS: u64 = 4;
const MAX_SLOTS: u64 = 1024;
/// Bytes of a page.
const PAGE_BYTES: u64 = 4096;

/// A bio of a live device that the copier holds. Its state is the way out of the gate, if it is
/// inside.
pub(in crate::engine) type HeldBio = Bio<Option<Ticket>>;

/// The copier's state.
pub(in crate::engine) struct Copier {
    pub(in crate::engine) pending: List<HeldBio>,
    pub(super) parked: List<HeldBio>,
    pub(super) wait_slot: List<HeldBio>,
    pub(super) wait_space: List<HeldBio>,
    /// Bios that would have to be logged while the store is failing.
    pub(super) wait_store: List<HeldBio>,
    /// That writes wait for space has been told.
    pub(super) told_blocked: bool,
    pub(in crate::engine) regions: Announcements,
    /// Copies that have been read, and go to the log.
    pub(super) read: List<KBox<Io<Copy>>>,
    /// Copies whose chunk cannot be read, which is being logged.
    pub(super) losing: List<KBox<Io<Copy>>>,
    /// Copies that are written but could not settle, as the gate was closed.
    pub(in crate::engine) unsettled: List<KBox<Io<Copy>>>,
    /// Slots without a copy, and without pages.
    idle: List<KBox<Io<Copy>>>,
    /// Pages that no copy has.
    pages: Pages,
    /// Pages of a chunk.
    chunk_pages: usize,
    claims: Claims,
    /// By slot: the bios that wait for its copy.
    waiters: KVec<List<HeldBio>>,
    /// Chunks found unreadable, to be told.
    pub(in crate::engine) lost: u64,
    /// Chunks that fit into a slot.
    pub(super) run_chunks: u64,
}

impl Copier {
    /// Allocates the slots and the pages; their copies come back by `returned`. May sleep.
    ///
    /// Errors: `ENOMEM`; `EINVAL` for chunks of no bytes, which cannot be.
    pub(in crate::engine) fn new(
        chunk_bytes: u64,
        reserves: Reserves,
        returned: &Arc<Returned>,
    ) -> Result<Self> {
        let chunk_pages = chunk_bytes.div_ceil(PAGE_BYTES);
        let slots = (reserves.copy_bytes / PAGE_BYTES)
            .checked_div(chunk_pages)
            .ok_or(EINVAL)?
            .clamp(MIN_SLOTS, MAX_SLOTS);
        let run_chunks = (RUN_BYTES / PAGE_BYTES / chunk_pages).clamp(1, slots);
        let mut idle = List::new();
        // CAST: At most 1024.
        let mut waiters = KVec::with_capacity(slots as usize, GFP_KERNEL)?;
        // CAST: As above.
        for slot in 0..slots as usize {
            // CAST: At most 1 MiB.
            let bytes = (run_chunks * chunk_bytes) as usize;
            idle.push(Io::without_pages(bytes, Copy::new(slot, returned.clone()))?);
            waiters.push(List::new(), GFP_KERNEL)?;
        }
        Ok(Self {
            pending: List::new(),
            parked: List::new(),
            wait_slot: List::new(),
            wait_space: List::new(),
            wait_store: List::new(),
            told_blocked: false,
            regions: Announcements::new()?,
            read: List::new(),
            losing: List::new(),
            unsettled: List::new(),
            idle,
            // CAST: A size in memory.
            pages: Pages::new((slots * chunk_pages) as usize)?,
            // CAST: At most 256.
            chunk_pages: chunk_pages as usize,
            // CAST: As above.
            claims: Claims::new(slots as usize, run_chunks)?,
            waiters,
            lost: 0,
            run_chunks,
        })
    }

    /// Returns the number of slots.
    pub(in crate::engine) fn slots(&self) -> usize {
        self.waiters.len()
    }

    /// Returns true if there is a bio here, whatever it waits for.
    pub(in crate::engine) fn holds_bios(&self) -> bool {
        let lists = [
            &self.pending,
            &self.parked,
            &self.wait_slot,
            &self.wait_space,
            &self.wait_store,
        ];
        let lists = Iterator::chain(lists.into_iter(), &self.waiters);
        let mut lists = Iterator::chain(lists, self.regions.lists());
        lists.any(|list| !list.is_empty())
    }

    /// Returns true if a copy of a chunk can begin.
    pub(super) fn has_slot(&self) -> bool {
        !self.idle.is_empty() && self.pages.left() >= self.chunk_pages
    }

    /// Returns true if a bio waits for a slot, and one is free.
    pub(super) fn can_use_slot(&self) -> bool {
        self.has_slot() && !self.wait_slot.is_empty()
    }

    /// Takes a free slot, and returns it with the number of chunks that there are pages for: no
    /// fewer than one.
    pub(super) fn take_slot(&mut self) -> Option<(KBox<Io<Copy>>, u64)> {
        // CAST: A count of pages.
        let chunks = self.pages.left().checked_div(self.chunk_pages)? as u64;
        let io = (chunks > 0).then(|| self.idle.pop())??;
        Some((io, chunks))
    }

    /// Lends a copy the pages for its chunks, and claims these.
    ///
    /// Errors: `ENOMEM` if there are too few, or the slot has a claim already, which cannot be.
    pub(super) fn claim(&mut self, io: &mut Io<Copy>, chunks: Chunks) -> Result {
        // CAST: At most what fits into a slot, 1 MiB.
        let bytes = chunks.len() as usize * self.chunk_pages * PAGE_BYTES as usize;
        let lent = io.borrow_pages(&mut self.pages, bytes);
        if lent.is_err() || !self.claims.add(io.data.slot, chunks) {
            dm::bug("there are no pages for a copy, or its slot has a claim");
            return Err(ENOMEM);
        }
        Ok(())
    }

    /// Takes back a slot whose copy has ended, or never begun, with its pages.
    pub(super) fn free_slot(&mut self, mut io: KBox<Io<Copy>>) {
        io.data.copies = None;
        io.return_pages(&mut self.pages);
        self.idle.push(io);
    }

    /// Returns true if a chunk is claimed.
    pub(super) fn is_claimed(&self, chunk: u64) -> bool {
        self.claims.holder(chunk).is_some()
    }

    /// Lets a bio wait for the copy in a slot.
    pub(super) fn wait_for_copy(&mut self, slot: usize, bio: HeldBio) {
        match self.waiters.get_mut(slot) {
            Some(waiters) => waiters.push(bio),
            None => self.pending.push(bio),
        }
    }

    /// Lets a bio wait for the claim on a chunk, or be looked at again if there is none.
    pub(super) fn wait_for_claim(&mut self, chunk: u64, bio: HeldBio) {
        match self.claims.holder(chunk) {
            Some(slot) => self.wait_for_copy(slot, bio),
            None => self.pending.push(bio),
        }
    }

    /// Keeps a bio until the store is given up; gives it back to device-mapper if that takes it.
    pub(super) fn wait_for_store(&mut self, bio: HeldBio, can_requeue: bool) {
        match can_requeue {
            true => bio.end(Status::REQUEUE),
            false => self.wait_store.push(bio),
        }
    }

    /// Gives up a claim except for some chunks. The bios that wait for it look again when the copy
    /// ends.
    pub(in crate::engine) fn narrow(&mut self, slot: usize, chunks: Chunks) {
        self.claims.remove(slot);
        if !self.claims.add(slot, chunks) {
            dm::bug("a claim cannot be narrowed");
        }
    }

    /// Returns true if a copy is in flight, or not settled.
    pub(in crate::engine) fn is_copying(&self) -> bool {
        !self.claims.is_empty()
    }

    /// Ends a copy: gives up its claim and frees its slot. Returns the bios that waited for it.
    /// Those that wait for a slot get it one by one, in the [copier](crate::engine::write::copier).
    pub(super) fn release(&mut self, io: KBox<Io<Copy>>) -> List<HeldBio> {
        let slot = io.data.slot;
        self.free_slot(io);
        self.claims.remove(slot);
        let waiters = self.waiters.get_mut(slot);
        waiters.map_or(List::new(), List::take)
    }

    /// Returns the chunks that a copy is about.
    pub(super) fn chunks_of(&self, io: &Io<Copy>) -> Option<Chunks> {
        self.claims.of(io.data.slot)
    }
}

/// Most regions being announced: there is always room in the log for so few.
const MAX_ANNOUNCED: usize = KEPT_FREE;

/// A region being announced in the log, and who waits for that.
pub(super) struct Announced {
    pub(super) ticket: u64,
    pub(super) region: u64,
    pub(super) epoch: u64,
    pub(super) period: u64,
    pub(super) waiters: List<HeldBio>,
}

/// The regions being announced, and who waits for them.
pub(in crate::engine) struct Announcements {
    pub(super) announced: KVec<Announced>,
    /// Bios that wait until one more region can be announced.
    pub(super) queue: List<HeldBio>,
}

impl Announcements {
    /// Makes an empty list of announcements. May sleep.
    ///
    /// Errors: `ENOMEM`.
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            announced: KVec::with_capacity(MAX_ANNOUNCED, GFP_KERNEL)?,
            queue: List::new(),
        })
    }

    /// Returns true if no region is being announced, and nobody waits for one.
    pub(super) fn is_idle(&self) -> bool {
        self.announced.is_empty() && self.queue.is_empty()
    }

    /// Returns true if one more region can be announced.
    pub(super) fn has_room(&self) -> bool {
        self.announced.len() < MAX_ANNOUNCED
    }

    /// Returns true if one more region can be announced, and a bio waits for that.
    pub(super) fn can_go_on(&self) -> bool {
        self.has_room() && !self.queue.is_empty()
    }

    /// Returns the announcement of a region, for this epoch and period.
    pub(super) fn find(&mut self, region: u64, epoch: u64, period: u64) -> Option<&mut Announced> {
        let mut all = self.announced.iter_mut();
        all.find(|known| (known.region, known.epoch, known.period) == (region, epoch, period))
    }

    /// Returns the lists of bios that wait for a region.
    fn lists(&self) -> impl Iterator<Item = &List<HeldBio>> {
        let waiters = self.announced.iter().map(|known| &known.waiters);
        Iterator::chain(core::iter::once(&self.queue), waiters)
    }
}
