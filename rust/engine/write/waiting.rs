// SPDX-License-Identifier: GPL-2.0

//! The copier's state: its slots, the claims on chunks, and the bios that wait for either.
//!
//! A copy in flight has a slot, with the memory for its content, and a claim on its chunks. A slot
//! has one claim at most, and a chunk is in one.

#![forbid(unsafe_code)]

use crate::dm;
use crate::dm::Bio;
use crate::dm::Io;
use crate::dm::List;
use crate::dm::Ticket;
use crate::engine::log::contents::Copy;
use crate::engine::log::contents::Returned;
use crate::maps::Chunks;
use kernel::prelude::*;
use kernel::sync::Arc;

/// Longest run copied at once, in bytes, unless a chunk is longer.
const RUN_BYTES: u64 = 64 << 10;
/// Memory for copies in flight, in bytes: the bound on their number.
const RESERVE_BYTES: u64 = 4 << 20;
const MAX_SLOTS: u64 = 64;
const MIN_SLOTS: u64 = 4;

/// A bio of a live device that the copier holds. Its state is the way out of the gate, if it is
/// inside.
pub(in crate::engine) type HeldBio = Bio<Option<Ticket>>;

/// The chunks that a copy is about, and who waits for it.
pub(in crate::engine) struct Claim {
    slot: usize,
    chunks: Chunks,
    pub(super) waiters: List<HeldBio>,
}

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
    pub(in crate::engine) idle: List<KBox<Io<Copy>>>,
    slots: usize,
    /// Few as a rule. There is room for one of each slot.
    claims: KVec<Claim>,
    /// Chunks found unreadable, to be told.
    pub(in crate::engine) lost: u64,
    /// Chunks that fit into a slot.
    pub(super) run_chunks: u64,
}

impl Copier {
    /// Allocates the slots with their pages; their copies come back by `returned`. May sleep.
    ///
    /// Errors: `ENOMEM`; `EINVAL` for chunks of no bytes, which cannot be.
    pub(in crate::engine) fn new(chunk_bytes: u64, returned: &Arc<Returned>) -> Result<Self> {
        let run_bytes = RUN_BYTES.max(chunk_bytes);
        // CAST: At most `MAX_SLOTS`.
        let slots = (RESERVE_BYTES / run_bytes).clamp(MIN_SLOTS, MAX_SLOTS) as usize;
        let mut idle = List::new();
        for slot in 0..slots {
            // CAST: At most 1 MiB.
            idle.push(Io::new(
                run_bytes as usize,
                Copy::new(slot, returned.clone()),
            )?);
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
            slots,
            claims: KVec::with_capacity(slots, GFP_KERNEL)?,
            lost: 0,
            run_chunks: run_bytes.checked_div(chunk_bytes).ok_or(EINVAL)?,
        })
    }

    /// Returns the number of slots.
    pub(in crate::engine) fn slots(&self) -> usize {
        self.slots
    }

    /// Returns true if there is a bio here, whatever it waits for.
    pub(in crate::engine) fn holds_bios(&self) -> bool {
        let lists = [
            &self.pending,
            &self.parked,
            &self.wait_slot,
            &self.wait_space,
            &self.wait_store,
            &self.regions.waiting,
        ];
        let waits_for_copies = self.claims.iter().any(|claim| !claim.waiters.is_empty());
        waits_for_copies || lists.iter().any(|list| !list.is_empty())
    }

    /// Returns the claim on a chunk, if there is one.
    pub(super) fn claim_of(&mut self, chunk: u64) -> Option<&mut Claim> {
        let mut claims = self.claims.iter_mut();
        claims.find(|claim| claim.chunks.contains(chunk))
    }

    /// Returns true if a bio waits for a slot, and one is free.
    pub(super) fn can_use_slot(&self) -> bool {
        !self.idle.is_empty() && !self.wait_slot.is_empty()
    }

    pub(super) fn is_claimed(&self, chunk: u64) -> bool {
        let mut claims = self.claims.iter();
        claims.any(|claim| claim.chunks.contains(chunk))
    }

    /// Returns the claim of the copy in a slot.
    pub(super) fn claim_in(&mut self, slot: usize) -> Option<&mut Claim> {
        self.claims.iter_mut().find(|claim| claim.slot == slot)
    }

    /// Claims the chunks of a copy.
    ///
    /// Errors: `ENOMEM` if the slot has a claim already, which cannot be.
    pub(super) fn claim(&mut self, slot: usize, chunks: Chunks) -> Result {
        let claim = Claim {
            slot,
            chunks,
            waiters: List::new(),
        };
        self.claims.push_within_capacity(claim).map_err(|_| {
            dm::bug("a slot has more than one claim");
            ENOMEM
        })
    }

    /// Gives up a claim except for some chunks. The bios that wait for it look again when the copy
    /// ends.
    pub(in crate::engine) fn narrow(&mut self, slot: usize, chunks: Chunks) {
        if let Some(claim) = self.claim_in(slot) {
            claim.chunks = chunks;
        }
    }

    /// Returns true if a copy is in flight, or not settled.
    pub(in crate::engine) fn is_copying(&self) -> bool {
        !self.claims.is_empty()
    }

    /// Ends a copy: gives up its claim and frees its slot. Returns the bios that waited for it.
    /// Those that wait for a slot get it one by one, in the [copier](crate::engine::write::copier).
    pub(super) fn release(&mut self, mut io: KBox<Io<Copy>>) -> List<HeldBio> {
        io.data.copies = None;
        let mut claims = self.claims.iter();
        let at = claims.position(|claim| claim.slot == io.data.slot);
        self.idle.push(io);
        let claim = at.and_then(|at| self.claims.remove(at).ok());
        claim.map_or(List::new(), |claim| claim.waiters)
    }

    pub(super) fn chunks_of(&self, io: &Io<Copy>) -> Option<Chunks> {
        let mut claims = self.claims.iter();
        let claim = claims.find(|claim| claim.slot == io.data.slot)?;
        Some(claim.chunks)
    }
}

/// Most regions being announced.
pub(super) const MAX_ANNOUNCED: usize = 64;

/// A region being announced in the log.
#[derive(Clone, Copy)]
pub(super) struct Announced {
    pub(super) ticket: u64,
    pub(super) region: u64,
    pub(super) epoch: u64,
    pub(super) period: u64,
}

impl Announced {
    /// Returns true if both are about the same region, epoch and period.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        (self.region, self.epoch, self.period) == (other.region, other.epoch, other.period)
    }
}

/// The regions being announced, and who waits for them.
pub(in crate::engine) struct Announcements {
    pub(super) announced: KVec<Announced>,
    pub(super) waiting: List<HeldBio>,
}

impl Announcements {
    /// Makes an empty list of announcements. May sleep.
    ///
    /// Errors: `ENOMEM`.
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            announced: KVec::with_capacity(MAX_ANNOUNCED, GFP_KERNEL)?,
            waiting: List::new(),
        })
    }

    /// Returns true if no region is being announced, and nobody waits for one.
    pub(super) fn is_idle(&self) -> bool {
        self.announced.is_empty() && self.waiting.is_empty()
    }
}
