// SPDX-License-Identifier: GPL-2.0

//! Copies: preserving a run of chunks, from reading the origin to marking them.
//!
//! # States of a copy (and of the claim on its chunks)
//!
//! 1. *Reading* from the origin. If that fails for several chunks, the first is read alone; if that
//!    fails too, the chunk is gone: marked without a copy. With a persistent store that is logged
//!    first: *losing*. (Not lost if nobody needs it any longer by then.)
//! 2. *Writing* to the store: with a persistent one by way of the [log](crate::engine::log),
//!    which gives it a place and has it back when its record is durable. If that fails, the store
//!    is lost, and all snapshots with it.
//! 3. *Settling*: inside the gate, if the epoch in which need was decided is still present: chunks
//!    not marked in the meantime are indexed, then marked; then the claim is given up, and the bios
//!    that waited for it are submitted, all in one stay. If the epoch has ended, the claim is given
//!    up and need is decided again. While the gate is closed the copy is *unsettled*; it settles
//!    when it has opened.
//!
//! A copy takes what is short when it begins, and waits for nothing: slot, pages, space, leaves for
//! the marks. Room in the index is made right before it settles, for the worst case, and nobody can
//! use it first: only the copier adds to an index, one copy after the other. The
//! [copier](crate::engine::write::copier) drives it.

#![forbid(unsafe_code)]

use crate::dm::Direction;
use crate::dm::Io;
use crate::dm::IoDone;
use crate::dm::Status;
use crate::engine::events::Event;
use crate::engine::log::contents::Copy;
use crate::engine::log::contents::Stage;
use crate::engine::log::pending::Lane;
use crate::engine::state::Present;
use crate::engine::write::waiting::Copier;
use crate::engine::write::Writes;
use crate::maps::Bitmap;
use crate::maps::Chunks;
use kernel::prelude::*;
use kernel::sync::Arc;

impl IoDone for Copy {
    fn done(mut io: KBox<Io<Self>>, status: Status) {
        io.data.status = status;
        // Neither is the last reference: shutting down waits for all copies, then for all `done`s
        // (which are RCU read-side sections), with references of its own.
        if let Some(owner) = io.data.owner.take() {
            let returned = io.data.returned.clone();
            returned.push(io);
            owner.take_in();
        }
    }
}

/// What became of an attempt to start a copy.
pub(in crate::engine) enum Begun {
    /// In this slot, up to this chunk.
    Copying(usize, u64),
    /// There is no slot, or no page for it.
    NoSlot,
    /// The store is full.
    NoSpace,
    /// No memory for the index or the marks.
    NoMemory,
}

impl Writes {
    /// Claims the part of a run that there are pages and space for, and starts reading it. Must be
    /// called outside the gate, as it allocates.
    pub(in crate::engine) fn begin(
        self: &Arc<Self>,
        copier: &mut Copier,
        run: Chunks,
        epoch: u64,
    ) -> Begun {
        let Some((mut io, most)) = copier.take_slot() else {
            return Begun::NoSlot;
        };
        let end = run.end.min(run.start.saturating_add(most));
        let run = match self.reserve(&mut io.data, Chunks { end, ..run }, epoch) {
            Ok(Some(run)) => run,
            refused => {
                copier.free_slot(io);
                return match refused {
                    Ok(_) => Begun::NoSpace,
                    Err(_) => Begun::NoMemory,
                };
            }
        };
        let slot = io.data.slot;
        if copier.claim(&mut io, run).is_err() {
            self.give_back(&mut io.data, run, 0);
            copier.free_slot(io);
            return Begun::NoMemory;
        }
        self.read(io, run);
        Begun::Copying(slot, run.end)
    }

    /// Takes the space that a copy needs, and allocates the leaves for its marks. Returns the part
    /// of the run that there is space for, or `None` if the store is full.
    fn reserve(
        self: &Arc<Self>,
        copy: &mut Copy,
        run: Chunks,
        epoch: u64,
    ) -> Result<Option<Chunks>> {
        copy.epoch = epoch;
        let timeline = self.state.timeline();
        let Some(present) = timeline.present().filter(|present| present.id == epoch) else {
            // The epoch has ended: this copy will not be written, but decided anew.
            return Ok(Some(run));
        };
        let Some(copies) = present.copies.as_ref() else {
            // The last snapshot has been dropped: this copy will not be written either.
            return Ok(Some(run));
        };
        present.marks.prepare_from(run, &self.memory)?;
        let taken = match self.device.is_persistent() {
            true => self.space.with_segments(|segments| {
                copy.reserved = segments.reserve(run.len());
                (copy.reserved > 0).then_some((0, copy.reserved))
            }),
            false => Some(copies.take_space(run.len())?),
        };
        let taken = taken.flatten();
        Ok(taken.map(|(position, len)| {
            copy.position = position;
            copy.copies = Some(copies.clone());
            let end = run.start + len;
            Chunks { end, ..run }
        }))
    }

    /// Gives back the space of the chunks of a copy from number `keep` on, if nothing was taken
    /// after it.
    fn give_back(self: &Arc<Self>, copy: &mut Copy, run: Chunks, keep: u64) {
        if self.device.is_persistent() {
            let reserved = copy.reserved;
            copy.reserved = reserved.min(keep);
            self.space.with_segments(|segments| match keep {
                _ if reserved == 0 => (),
                0 => segments.unreserve(reserved),
                keep => segments.narrow(reserved, keep),
            });
        } else if let Some(copies) = &copy.copies {
            copies.give_back_space(copy.position + keep, run.len().saturating_sub(keep));
        }
        // Others may wait for it.
        self.waker.look_again();
    }

    fn read(self: &Arc<Self>, mut io: KBox<Io<Copy>>, run: Chunks) {
        io.data.stage = Stage::Reading;
        io.data.owner = Some(self.clone());
        let (sector, bytes) = self.extent(run);
        io.submit(self.device.origin(), Direction::Read, sector, bytes);
    }

    fn write(self: &Arc<Self>, copier: &mut Copier, mut io: KBox<Io<Copy>>, run: Chunks) {
        io.data.stage = Stage::Writing;
        let (_, bytes) = self.extent(run);
        // Whole chunks are written, as the store's blocks may be larger than the origin's. What
        // lies beyond the device's end is zero; with a persistent store it has a checksum too.
        // CAST: At most what fits into a slot, 1 MiB.
        let whole = (run.len() * self.device.shape().chunk_bytes()) as u32;
        // CAST: Sizes in memory.
        if let Err(error) = io.zero(bytes as usize, whole as usize) {
            pr_err!("{}: a copy is too short: {error:?}\n", self.device.live());
        }
        if self.device.is_persistent() {
            io.data.run = run;
            return copier.read.push(io);
        }
        io.data.owner = Some(self.clone());
        let sector = self.device.shape().sector(io.data.position);
        io.submit(self.device.store(), Direction::Write, sector, whole);
    }

    /// Returns the first sector and the length in bytes of a run on the origin. The last chunk of
    /// the device may be short.
    fn extent(&self, run: Chunks) -> (u64, u32) {
        let geometry = self.device.geometry();
        let bytes = geometry.sectors_of(run) * crate::maps::SECTOR_BYTES;
        // CAST: At most what fits into a slot, 1 MiB.
        (geometry.sector(run.start), bytes as u32)
    }

    /// Moves on a copy whose read or write is done.
    pub(super) fn advance_copy(self: &Arc<Self>, copier: &mut Copier, io: KBox<Io<Copy>>) {
        let Some(run) = copier.chunks_of(&io) else {
            copier.free_slot(io);
            return;
        };
        match (io.data.stage, io.data.status == Status::OK) {
            (Stage::Reading, true) if self.is_stale(&io) => self.abandon(copier, io),
            (Stage::Reading, true) => self.write(copier, io, run),
            (Stage::Reading, false) if run.len() > 1 => self.read_first_alone(copier, io, run),
            (Stage::Reading, false) if self.device.is_persistent() => self.lose(copier, io, run),
            // The log did not write it, as its epoch has ended.
            (Stage::Writing, true) if self.device.is_persistent() && io.data.position == 0 => {
                self.abandon(copier, io);
            }
            (Stage::Reading, false) | (Stage::Writing, true) => self.settle(copier, io),
            (Stage::Losing(_), _) => copier.losing.push(io),
            (Stage::Writing, false) => {
                match self.device.is_persistent() {
                    true => self.upkeep.store_failed(EIO),
                    false => self.upkeep.give_up_all(c"writing to the store failed"),
                }
                self.abandon(copier, io);
            }
        }
    }

    /// Logs that a chunk cannot be read. The copy settles when that is durable.
    fn lose(self: &Arc<Self>, copier: &mut Copier, mut io: KBox<Io<Copy>>, run: Chunks) {
        let entry = crate::format::Entry::Gone {
            chunk: run.start,
            epoch: io.data.epoch,
        };
        match self.log.append_for_slot(io.data.slot, entry) {
            Some(ticket) => {
                io.data.stage = Stage::Losing(ticket);
                copier.losing.push(io);
            }
            // Nothing can be logged any longer, and nobody needs anything.
            None if self.log.is_given_up() => self.settle(copier, io),
            // Much is being logged: from the beginning.
            None => self.abandon(copier, io),
        }
    }

    /// Settles the copies whose loss has been logged.
    pub(super) fn settle_lost(self: &Arc<Self>, copier: &mut Copier) {
        let mut losing = copier.losing.take();
        while let Some(io) = losing.pop() {
            let Stage::Losing(ticket) = io.data.stage else {
                continue;
            };
            let done = self.log.is_durable(Lane::Copier, ticket);
            if done || self.log.is_given_up() {
                self.settle(copier, io);
            } else if self.log.has_failed() {
                // It never will be. Those who wait have to be able to go back to device-mapper.
                self.abandon(copier, io);
            } else {
                copier.losing.push(io);
            }
        }
    }

    /// Returns true if a copy is not wanted any longer: the epoch in which need was decided has
    /// ended, and with it the place in the store; or nothing was needed to begin with.
    fn is_stale(&self, io: &Io<Copy>) -> bool {
        io.data.copies.is_none() || !self.state.keeps_copies(io.data.epoch)
    }

    /// Gives up a copy. Need is decided again for those who wait for it.
    fn abandon(self: &Arc<Self>, copier: &mut Copier, io: KBox<Io<Copy>>) {
        let mut io = io;
        if let Some(run) = copier.chunks_of(&io) {
            self.give_back(&mut io.data, run, 0);
        }
        self.log.settled(io.data.slot);
        let mut waiters = copier.release(io);
        copier.pending.append(&mut waiters);
    }

    /// Reads the first chunk of a copy again, alone, after reading several at once has failed: only
    /// a chunk that fails alone is gone.
    fn read_first_alone(self: &Arc<Self>, copier: &mut Copier, io: KBox<Io<Copy>>, run: Chunks) {
        let alone = Chunks {
            start: run.start,
            end: run.start + 1,
        };
        let mut io = io;
        self.give_back(&mut io.data, run, alone.len());
        copier.narrow(io.data.slot, alone);
        self.read(io, alone);
    }

    /// Indexes and marks what was copied, and submits the bios that waited for it; see the states
    /// above.
    pub(super) fn settle(self: &Arc<Self>, copier: &mut Copier, mut io: KBox<Io<Copy>>) {
        let Some(run) = copier.chunks_of(&io) else {
            copier.free_slot(io);
            return;
        };
        let copied = io.data.stage == Stage::Writing;
        if copied && self.make_index_room(&io.data, run).is_err() {
            return self.give_up_for_memory(copier, io);
        }
        let Some(present) = self.state.enter() else {
            copier.unsettled.push(io);
            return;
        };
        if present.epoch != io.data.epoch {
            drop(present);
            return self.abandon(copier, io);
        }
        if copied {
            if index(&present, run, &io.data, self.space.step()).is_err() {
                drop(present);
                return self.give_up_for_memory(copier, io);
            }
        } else {
            // Asked before the mark: what nobody needs any longer is not lost.
            let needed = self
                .state
                .look_at_timeline(|timeline| timeline.needs(run.start));
            if present.marks.set(run.start) == Some(false) && needed {
                copier.lost += 1;
            }
            self.give_back(&mut io.data, run, 0);
        }
        // Inside the gate: a checkpoint either has the marks, or replays the record.
        self.log.settled(io.data.slot);
        let mut waiters = copier.release(io);
        while let Some(bio) = waiters.pop() {
            if let Err(bio) = self.try_submit(&present, bio) {
                copier.pending.push(bio);
            }
        }
    }

    /// Makes room in the index for a copy's run, in whatever pieces it will be indexed: between two
    /// pieces there is a chunk that others have marked.
    fn make_index_room(&self, copy: &Copy, run: Chunks) -> Result {
        let copies = copy.copies.as_ref();
        copies.map_or(Ok(()), |copies| {
            copies.make_room(run, run.len().div_ceil(2), &self.memory)
        })
    }

    /// Gives up the oldest snapshot, and the copy, for want of memory. What is kept cannot come
    /// from a reserve: the snapshot goes, never the write.
    fn give_up_for_memory(self: &Arc<Self>, copier: &mut Copier, mut io: KBox<Io<Copy>>) {
        if !self.is_stale(&io) {
            self.upkeep.give_up_oldest(c"out of memory for its index");
        }
        // Its space stays taken, as a part may be in the index. The epoch's segments may go with
        // this reference: not before replay can do without its record.
        self.log.settled(io.data.slot);
        io.data.copies = None;
        self.abandon(copier, io);
    }

    /// Tells user space that chunks could not be read before they were overwritten: they have no
    /// frozen content any longer.
    pub(super) fn tell_lost(self: &Arc<Self>, chunks: u64) {
        self.device.counters().gone.add(chunks);
        pr_warn!(
            "{}: {chunks} chunks of the origin cannot be read, their frozen content is gone\n",
            self.device.live()
        );
        self.events.add(Event::Gone);
    }
}

/// Indexes the chunks of a run that nobody has marked meanwhile, and marks them. Contents are
/// `step` positions long. Fails only if there is no room, possibly with a part indexed and marked.
fn index(present: &Present, run: Chunks, copy: &Copy, step: u64) -> Result {
    let Some(copies) = &copy.copies else {
        return Ok(());
    };
    let pieces = Pieces {
        marks: &present.marks,
        left: run,
    };
    for piece in pieces {
        copies.insert(piece, copy.position + (piece.start - run.start) * step)?;
        for chunk in piece.start..piece.end {
            // The leaf exists: `reserve` has prepared it, in this epoch.
            present.marks.set(chunk);
        }
    }
    Ok(())
}

/// The unmarked pieces of a run.
struct Pieces<'a> {
    marks: &'a Bitmap,
    left: Chunks,
}

impl Iterator for Pieces<'_> {
    type Item = Chunks;

    fn next(&mut self) -> Option<Chunks> {
        let start = self.marks.find(self.left, false)?;
        let rest = Chunks { start, ..self.left };
        let end = self.marks.find(rest, true).unwrap_or(rest.end);
        self.left.start = end;
        Some(Chunks { start, end })
    }
}
