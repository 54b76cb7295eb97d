// SPDX-License-Identifier: GPL-2.0

//! The copier: preserves what writes are about to overwrite.
//!
//! One work item per engine does everything here, so that its state needs no finer lock. Reads and writes
//! are asynchronous; their completion only puts them back and lets the work run.
//!
//! # States of a bio
//!
//! 1. *Pending*: to be looked at.
//! 2. *Parked*: the gate is closed; pending again when the work next runs, which opening the gate sees to.
//! 3. *Waiting for a claim*, *for a copy slot* or *for space*: pending again when that ends.
//! 4. *Submitted* to the origin, inside the gate, all its chunks marked.
//!
//! # States of a copy (and of the claim on its chunks)
//!
//! 1. *Reading* from the origin. If that fails for several chunks, the first is read alone; if that
//!    fails too, the chunk is gone: marked without a copy.
//! 2. *Writing* to the store. If that fails, the store is lost, and all snapshots with it.
//! 3. *Settling*: inside the gate, if the epoch in which need was decided is still present: chunks not
//!    marked in the meantime are indexed, then marked; then the claim is given up, and the bios that
//!    waited for it are submitted, all in one stay. If the epoch has ended, the claim is given up and
//!    need is decided again.
//!
//! A chunk has at most one claim. Things are taken in the order claim (with slot and space checked
//! before), and nothing is waited for while holding any of them, so there is no deadlock: a bio that has
//! to wait holds nothing.

#![forbid(unsafe_code)]

use crate::args::OnFull;
use crate::bitmap::Bitmap;
use crate::chunk::Chunks;
use crate::copies::Copies;
use crate::dm;
use crate::dm::Direction;
use crate::dm::Entry;
use crate::dm::Io;
use crate::dm::IoDone;
use crate::dm::List;
use crate::dm::NoIo;
use crate::dm::Op;
use crate::dm::Status;
use crate::engine::Engine;
use crate::engine::Present;
use crate::events::Event;
use crate::live::LiveBio;
use crate::write::WINDOW;
use kernel::prelude::*;
use kernel::sync::atomic::Acquire;
use kernel::sync::atomic::Relaxed;
use kernel::sync::atomic::Release;
use kernel::sync::Arc;
use kernel::workqueue::WorkItem;

/// Longest run copied at once, in bytes, unless a chunk is longer.
const RUN_BYTES: u64 = 64 << 10;
/// Memory for copies in flight, in bytes: the bound on their number.
const RESERVE_BYTES: u64 = 4 << 20;
const MAX_SLOTS: u64 = 64;
const MIN_SLOTS: u64 = 4;
/// Most copies started at once for one bio.
const RUNS_PER_BIO: usize = 8;
/// How long to wait for memory, in milliseconds.
const NO_MEMORY_MS: u32 = 10;

/// What goes along with a copy.
pub(crate) struct Copy {
    slot: usize,
    stage: Stage,
    /// The epoch in which need was decided.
    epoch: u64,
    /// Where in the store the content goes, in chunks.
    position: u64,
    status: Status,
    /// The epoch's copies: keeps the space from going to somebody else while it is written. Set from
    /// [`Engine::reserve`] until the claim is given up.
    copies: Option<Arc<Copies>>,
    /// Set while in flight only, or the engine would own itself.
    engine: Option<Arc<Engine>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Reading,
    Writing,
}

impl IoDone for Copy {
    fn done(mut io: KBox<Io<Self>>, status: Status) {
        io.data.status = status;
        // Not the last reference: shutting down waits for all copies, then for all `done`s (which are RCU
        // read-side sections), with a reference of its own.
        if let Some(engine) = io.data.engine.take() {
            engine.finished.push(io);
            engine.kick();
        }
    }
}

/// The chunks that a copy is about, and who waits for it.
struct Claim {
    chunks: Chunks,
    waiters: List<LiveBio>,
}

/// The copier's state.
pub(crate) struct Slow {
    pending: List<LiveBio>,
    parked: List<LiveBio>,
    wait_slot: List<LiveBio>,
    wait_space: List<LiveBio>,
    /// Copies that are written but could not settle, as the gate was closed.
    unsettled: List<KBox<Io<Copy>>>,
    idle: List<KBox<Io<Copy>>>,
    /// By slot.
    claims: KVec<Option<Claim>>,
    /// Chunks found unreadable, to be told.
    lost: u64,
    /// Chunks that fit into a slot.
    run_chunks: u64,
}

impl Slow {
    /// Allocates the slots with their pages.
    pub(crate) fn new(chunk_bytes: u64) -> Result<Self> {
        let run_bytes = RUN_BYTES.max(chunk_bytes);
        let slots = (RESERVE_BYTES / run_bytes).clamp(MIN_SLOTS, MAX_SLOTS);
        let mut idle = List::new();
        let mut claims = KVec::new();
        for _ in 0..slots {
            let copy = Copy {
                slot: claims.len(),
                stage: Stage::Reading,
                epoch: 0,
                position: 0,
                status: Status::OK,
                copies: None,
                engine: None,
            };
            // CAST: At most 1 MiB.
            idle.push(Io::new(run_bytes as usize, copy)?);
            claims.push(None, GFP_KERNEL)?;
        }
        Ok(Self {
            pending: List::new(),
            parked: List::new(),
            wait_slot: List::new(),
            wait_space: List::new(),
            unsettled: List::new(),
            idle,
            claims,
            lost: 0,
            run_chunks: run_bytes.checked_div(chunk_bytes).ok_or(EINVAL)?,
        })
    }

    /// The claim on a chunk.
    fn claim_of(&mut self, chunk: u64) -> Option<&mut Claim> {
        let mut claims = self.claims.iter_mut().flatten();
        claims.find(|claim| claim.chunks.contains(chunk))
    }

    fn is_claimed(&self, chunk: u64) -> bool {
        let mut claims = self.claims.iter().flatten();
        claims.any(|claim| claim.chunks.contains(chunk))
    }

    /// Whether a copy is in flight, or not settled.
    pub(crate) fn is_copying(&self) -> bool {
        self.claims.iter().any(Option::is_some)
    }

    /// Ends a copy: gives up the claim, and lets those who waited for a slot try again.
    fn release(&mut self, mut io: KBox<Io<Copy>>) -> List<LiveBio> {
        io.data.copies = None;
        let claim = self.claims.get_mut(io.data.slot).and_then(Option::take);
        self.idle.push(io);
        self.pending.append(&mut self.wait_slot);
        claim.map_or(List::new(), |claim| claim.waiters)
    }

    fn chunks_of(&self, io: &Io<Copy>) -> Option<Chunks> {
        let claim = self.claims.get(io.data.slot)?.as_ref()?;
        Some(claim.chunks)
    }
}

/// What to do next for a bio.
enum Step {
    /// Wait for the claim on this chunk.
    Wait(u64),
    /// Copy these chunks, as decided in this epoch.
    Copy(Chunks, u64),
    /// Look again: some chunks have been marked.
    Again,
}

impl WorkItem for Engine {
    type Pointer = Arc<Engine>;

    fn run(this: Arc<Engine>) {
        let _noio = NoIo::enter();
        this.run_copier();
    }
}

impl Engine {
    fn run_copier(self: &Arc<Self>) {
        let mut guard = self.slow.lock();
        let slow = &mut *guard;
        slow.pending.append(&mut slow.parked);
        let mut unsettled = slow.unsettled.take();
        while let Some(io) = unsettled.pop() {
            self.settle(slow, io);
        }
        self.resume_waiting_for_space(slow);
        loop {
            let mut finished = self.finished.take();
            slow.pending.append(&mut self.incoming.lock());
            if finished.is_empty() && slow.pending.is_empty() {
                break;
            }
            while let Some(io) = finished.pop() {
                self.advance_copy(slow, io);
            }
            // Those that become pending meanwhile wait for the next round.
            let mut pending = slow.pending.take();
            while let Some(bio) = pending.pop() {
                self.advance_bio(slow, bio);
            }
        }
        self.blocked.store(!slow.wait_space.is_empty(), Release);
        if !slow.is_copying() {
            self.copies_done.notify_all();
        }
        let lost = core::mem::take(&mut slow.lost);
        drop(guard);
        if lost > 0 {
            self.tell_lost(lost);
        }
    }

    /// Space may have come, or the bios have to go back to device-mapper. They find out when they are
    /// looked at again.
    fn resume_waiting_for_space(&self, slow: &mut Slow) {
        let mut waiting = slow.wait_space.take();
        slow.pending.append(&mut waiting);
    }

    fn chunks_of(&self, bio: &LiveBio) -> Chunks {
        let span = bio.span();
        self.shape.outward(span.start, span.start + span.len)
    }

    /// Submits a bio if all its chunks are marked or can be right away; gives it back otherwise.
    fn try_submit(&self, present: &Entry<'_, Present>, mut bio: LiveBio) -> Result<(), LiveBio> {
        let chunks = self.chunks_of(&bio);
        if present.marks.find(chunks, false).is_some() && !self.mark_unneeded(present, chunks) {
            return Err(bio);
        }
        let start = bio.span().start;
        *bio.state() = Some(present.ticket());
        bio.submit(&self.origin, start);
        Ok(())
    }

    /// Moves a bio on as far as it goes.
    fn advance_bio(self: &Arc<Self>, slow: &mut Slow, bio: LiveBio) {
        let Some(present) = self.gate.enter() else {
            slow.parked.push(bio);
            return;
        };
        let bio = match self.try_submit(&present, bio) {
            Ok(()) => return,
            Err(bio) => bio,
        };
        if bio.op() == Op::Discard {
            // Not discarding what is needed is always right.
            bio.end(Status::OK);
            return;
        }
        let chunks = self.chunks_of(&bio);
        let step = self.next_step(slow, &present, chunks);
        let marks = present.marks.clone();
        drop(present);
        match step {
            Step::Wait(chunk) => match slow.claim_of(chunk) {
                Some(claim) => claim.waiters.push(bio),
                None => slow.pending.push(bio),
            },
            Step::Copy(run, epoch) => self.start_copies(slow, bio, run, epoch),
            Step::Again => {
                // What could not be marked may lack memory for its mark.
                let unmarked = marks.find(chunks, false);
                if unmarked.is_some_and(|chunk| !can_mark(&marks, chunk)) {
                    dm::sleep_ms(NO_MEMORY_MS);
                }
                slow.pending.push(bio);
            }
        }
    }

    /// What the first unmarked chunk of a bio asks for.
    fn next_step(&self, slow: &Slow, present: &Entry<'_, Present>, chunks: Chunks) -> Step {
        let Some(first) = present.marks.find(chunks, false) else {
            return Step::Again;
        };
        if slow.is_claimed(first) {
            return Step::Wait(first);
        }
        let timeline = self.timeline();
        if timeline.needs(first) {
            let limit = chunks.end.min(first + slow.run_chunks);
            let mut end = first + 1;
            while end < limit
                && !present.marks.get(end)
                && !slow.is_claimed(end)
                && timeline.needs(end)
            {
                end += 1;
            }
            return Step::Copy(Chunks { start: first, end }, present.epoch);
        }
        let end = chunks.end.min(first + WINDOW);
        let end = self
            .first_needed(present, Chunks { start: first, end })
            .unwrap_or(end);
        self.mark_unneeded(present, Chunks { start: first, end });
        Step::Again
    }

    /// Starts the copy of a run, and of some more runs of the same bio if it is long. The bio waits for
    /// the first.
    fn start_copies(self: &Arc<Self>, slow: &mut Slow, bio: LiveBio, run: Chunks, epoch: u64) {
        let chunks = self.chunks_of(&bio);
        let Some(mut at) = self.start_copy(slow, bio, run, epoch) else {
            return;
        };
        for _ in 1..RUNS_PER_BIO {
            let rest = Chunks {
                start: at,
                end: chunks.end,
            };
            let Some(present) = self.gate.enter() else {
                return;
            };
            let step = self.next_step(slow, &present, rest);
            drop(present);
            match step {
                Step::Copy(run, epoch) if !slow.idle.is_empty() => {
                    match self.begin(slow, run, epoch) {
                        Begun::Copying(_, end) => at = end,
                        Begun::NoSlot | Begun::NoSpace | Begun::NoMemory => return,
                    }
                }
                _ => return,
            }
        }
    }

    /// Starts one copy that `bio` waits for: the chunk up to which it goes. If it cannot start, the bio waits
    /// for what is missing.
    fn start_copy(
        self: &Arc<Self>,
        slow: &mut Slow,
        bio: LiveBio,
        run: Chunks,
        epoch: u64,
    ) -> Option<u64> {
        match self.begin(slow, run, epoch) {
            Begun::Copying(slot, end) => {
                match slow.claims.get_mut(slot).and_then(Option::as_mut) {
                    Some(claim) => claim.waiters.push(bio),
                    None => slow.pending.push(bio),
                }
                Some(end)
            }
            Begun::NoSlot => {
                slow.wait_slot.push(bio);
                None
            }
            Begun::NoSpace => {
                self.no_space(slow, bio);
                None
            }
            Begun::NoMemory => {
                // What is kept cannot come from a reserve: the snapshot is given up, never the write.
                self.give_up_oldest(c"out of memory for its index");
                slow.pending.push(bio);
                None
            }
        }
    }

    /// Claims a run, as long as there is space for, and starts reading it. Outside the gate: allocates.
    fn begin(self: &Arc<Self>, slow: &mut Slow, run: Chunks, epoch: u64) -> Begun {
        let Some(mut io) = slow.idle.pop() else {
            return Begun::NoSlot;
        };
        let run = match self.reserve(&mut io.data, run, epoch) {
            Ok(Some(run)) => run,
            refused => {
                io.data.copies = None;
                slow.idle.push(io);
                return match refused {
                    Ok(_) => Begun::NoSpace,
                    Err(_) => Begun::NoMemory,
                };
            }
        };
        let slot = io.data.slot;
        if let Some(claim) = slow.claims.get_mut(slot) {
            *claim = Some(Claim {
                chunks: run,
                waiters: List::new(),
            });
        }
        self.read(io, run);
        Begun::Copying(slot, run.end)
    }

    /// Takes everything that settling a copy will need: space, room in the index, leaves for the marks. The
    /// result is the part of the run that there is space for.
    fn reserve(&self, copy: &mut Copy, run: Chunks, epoch: u64) -> Result<Option<Chunks>> {
        copy.epoch = epoch;
        let timeline = self.timeline();
        let Some(present) = timeline.present().filter(|present| present.id == epoch) else {
            // The epoch has ended: this copy will not be written, but decided anew.
            return Ok(Some(run));
        };
        let Some(copies) = present.copies.as_ref() else {
            // The last snapshot has been dropped: as above.
            return Ok(Some(run));
        };
        present.marks.prepare(run)?;
        copies.make_room(run, 1)?;
        let taken = copies.take_space(run.len())?;
        self.watch_space();
        Ok(taken.map(|(position, len)| {
            copy.position = position;
            copy.copies = Some(copies.clone());
            let end = run.start + len;
            Chunks { end, ..run }
        }))
    }

    /// Gives back the space of the chunks of a copy from the `keep`th on, if nothing was taken after it.
    fn give_back(&self, copy: &Copy, run: Chunks, keep: u64) {
        if let Some(copies) = &copy.copies {
            copies.give_back_space(copy.position + keep, run.len().saturating_sub(keep));
        }
    }

    fn read(self: &Arc<Self>, mut io: KBox<Io<Copy>>, run: Chunks) {
        io.data.stage = Stage::Reading;
        io.data.engine = Some(self.clone());
        let (sector, bytes) = self.extent(run);
        io.submit(&self.origin, Direction::Read, sector, bytes);
    }

    fn write(self: &Arc<Self>, mut io: KBox<Io<Copy>>, run: Chunks) {
        io.data.stage = Stage::Writing;
        io.data.engine = Some(self.clone());
        let (_, bytes) = self.extent(run);
        let sector = self.shape.sector(io.data.position);
        io.submit(&self.store_device, Direction::Write, sector, bytes);
    }

    /// First sector and length in bytes of a run on the origin; the last chunk of the device may be short.
    fn extent(&self, run: Chunks) -> (u64, u32) {
        let geometry = self.geometry();
        let bytes = geometry.sectors_of(run) * crate::chunk::SECTOR_BYTES;
        // CAST: At most what fits into a slot, 1 MiB.
        (geometry.sector(run.start), bytes as u32)
    }

    /// A read or write of a copy is done.
    fn advance_copy(self: &Arc<Self>, slow: &mut Slow, io: KBox<Io<Copy>>) {
        let Some(run) = slow.chunks_of(&io) else {
            slow.idle.push(io);
            return;
        };
        match (io.data.stage, io.data.status == Status::OK) {
            (Stage::Reading, true) if self.is_stale(&io) => self.abandon(slow, io),
            (Stage::Reading, true) => self.write(io, run),
            (Stage::Reading, false) if run.len() > 1 => self.read_first_alone(slow, io, run),
            (Stage::Reading, false) | (Stage::Writing, true) => self.settle(slow, io),
            (Stage::Writing, false) => {
                self.give_up_all(c"writing to the store failed");
                self.abandon(slow, io);
            }
        }
    }

    /// The epoch in which need was decided has ended, and with it the place in the store; or there was
    /// none, as nothing was needed any longer.
    fn is_stale(&self, io: &Io<Copy>) -> bool {
        let timeline = self.timeline();
        io.data.copies.is_none() || timeline.present().map(|epoch| epoch.id) != Some(io.data.epoch)
    }

    /// Gives up a copy; need is decided again for those who wait.
    fn abandon(&self, slow: &mut Slow, io: KBox<Io<Copy>>) {
        if let Some(run) = slow.chunks_of(&io) {
            self.give_back(&io.data, run, 0);
        }
        let mut waiters = slow.release(io);
        slow.pending.append(&mut waiters);
    }

    /// Reading several chunks at once failed: only one that fails alone is gone.
    fn read_first_alone(self: &Arc<Self>, slow: &mut Slow, io: KBox<Io<Copy>>, run: Chunks) {
        let alone = Chunks {
            start: run.start,
            end: run.start + 1,
        };
        self.give_back(&io.data, run, alone.len());
        if let Some(claim) = slow.claims.get_mut(io.data.slot).and_then(Option::as_mut) {
            claim.chunks = alone;
        }
        self.read(io, alone);
    }

    /// Indexes and marks what was copied, and lets the writes go; see the states above.
    fn settle(self: &Arc<Self>, slow: &mut Slow, io: KBox<Io<Copy>>) {
        let Some(run) = slow.chunks_of(&io) else {
            slow.idle.push(io);
            return;
        };
        let Some(present) = self.gate.enter() else {
            slow.unsettled.push(io);
            return;
        };
        if present.epoch != io.data.epoch {
            drop(present);
            return self.abandon(slow, io);
        }
        let copied = io.data.stage == Stage::Writing;
        if copied {
            if let Err(entries) = self.index(&present, run, &io.data) {
                drop(present);
                return self.settle_after_making_room(slow, io, run, entries);
            }
        } else if present.marks.set(run.start) == Some(false) {
            slow.lost += 1;
            self.give_back(&io.data, run, 0);
        }
        let mut waiters = slow.release(io);
        while let Some(bio) = waiters.pop() {
            if let Err(bio) = self.try_submit(&present, bio) {
                slow.pending.push(bio);
            }
        }
    }

    /// Indexes the chunks of a run that nobody has marked meanwhile, then marks them. Without room for
    /// that nothing is changed, and the error says how many entries are needed.
    fn index(&self, present: &Entry<'_, Present>, run: Chunks, copy: &Copy) -> Result<(), u64> {
        let Some(copies) = &copy.copies else {
            return Ok(());
        };
        let pieces = || Pieces {
            marks: &present.marks,
            left: run,
        };
        // CAST: A count of pieces of a short run.
        let entries = pieces().count() as u64;
        if !copies.has_room(run, entries) {
            return Err(entries);
        }
        for piece in pieces() {
            // There is room, and nobody else inserts.
            copies
                .insert(piece, copy.position + (piece.start - run.start))
                .map_err(|_| entries)?;
            for chunk in piece.start..piece.end {
                // The leaf exists: `reserve` has prepared it, in this epoch.
                present.marks.set(chunk);
            }
        }
        Ok(())
    }

    fn settle_after_making_room(
        self: &Arc<Self>,
        slow: &mut Slow,
        io: KBox<Io<Copy>>,
        run: Chunks,
        entries: u64,
    ) {
        let copies = io.data.copies.as_ref();
        if copies.is_none_or(|copies| copies.make_room(run, entries).is_err()) {
            self.give_up_oldest(c"out of memory for its index");
            return self.abandon(slow, io);
        }
        slow.unsettled.push(io);
        // Looked at again when the work runs next.
        self.kick();
    }

    /// Chunks could not be read before they were overwritten: they have no frozen content any longer.
    fn tell_lost(&self, chunks: u64) {
        self.counters.gone.add(chunks, Relaxed);
        pr_warn!(
            "{}: {chunks} chunks of the origin cannot be read, their frozen content is gone\n",
            self.identity.live
        );
        self.event(Event::Gone);
    }

    /// Whether space is about to come back: a reader still holds an epoch that is not needed.
    fn space_comes_back(&self) -> bool {
        let timeline = self.timeline();
        let epochs = timeline.epochs(0, u64::MAX);
        // CAST: A few.
        let kept = epochs.filter(|epoch| epoch.copies.is_some()).count() as u64;
        drop(timeline);
        self.store.spaces() > kept
    }

    /// The store is full: what `on_full=` says.
    fn no_space(self: &Arc<Self>, slow: &mut Slow, bio: LiveBio) {
        match self.options().on_full {
            // Its return lets the copier run.
            _ if self.space_comes_back() => slow.wait_space.push(bio),
            OnFull::Invalidate => {
                self.give_up_oldest(c"the store is full");
                slow.pending.push(bio);
            }
            OnFull::Block if self.requeue.load(Acquire) => bio.end(Status::REQUEUE),
            OnFull::Block => {
                slow.wait_space.push(bio);
                if !self.blocked.load(Acquire) {
                    self.blocked.store(true, Release);
                    pr_warn!("{}: the store is full, writes wait\n", self.identity.live);
                    self.event(Event::Blocked);
                }
            }
        }
    }
}

/// Makes it possible to mark a chunk, if there is memory.
fn can_mark(marks: &Bitmap, chunk: u64) -> bool {
    let end = chunk + 1;
    marks.prepare(Chunks { start: chunk, end }).is_ok()
}

/// Whether a copy could be started.
enum Begun {
    /// In this slot, up to this chunk.
    Copying(usize, u64),
    /// All slots are in use.
    NoSlot,
    /// The store is full.
    NoSpace,
    /// No memory for the index or the marks.
    NoMemory,
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
