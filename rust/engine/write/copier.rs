// SPDX-License-Identifier: GPL-2.0

//! The copier: preserves what writes are about to overwrite.
//!
//! One work item per engine does everything here, so that its state needs no finer lock. Reads and
//! writes are asynchronous; their completion only puts them back and lets the work run.
//!
//! # States of a bio
//!
//! 1. *Pending*: to be looked at.
//! 2. *Parked*: the gate is closed; pending again when it has opened.
//! 3. *Waiting for a claim*, *for a copy slot*, *for space* or, with a persistent store, *for a
//!    region* to be announced in the log, or *for the store* to be written or given up when it is
//!    failing: pending again when that ends.
//! 4. *Submitted* to the origin, inside the gate, all its chunks marked.
//!
//! # Rounds
//!
//! The work goes in rounds. Each sees to everything once, so that nobody waits longer than a round
//! for what has happened already, however much is under way. Those who wait may be many, so a round
//! looks at them only after what they wait for:
//!
//! - parked bios, and copies that could not settle: when the gate can be entered;
//! - bios that wait for a region: when its announcement has ended;
//! - bios that wait until one more region can be announced, or for a slot: as many as can go on;
//! - bios that wait for space or for the store: when something was noted in the
//!   [waker](crate::engine::wake).
//!
//! A run of the work ends after some rounds, and goes on behind what else is queued.
//!
//! What happens to a copy, and to the claim on its chunks, is in
//! [`copy`](crate::engine::write::copy); how a region is announced, in
//! [`regions`](crate::engine::write::regions); who waits for what, and has which slot, in
//! [`waiting`](crate::engine::write::waiting).
//!
//! A chunk has at most one claim. Things are taken in the order claim (with slot and space checked
//! before), and nothing is waited for while holding any of them, so there is no deadlock: a bio
//! that has to wait holds nothing.

#![forbid(unsafe_code)]

use crate::dm;
use crate::dm::NoIo;
use crate::dm::Op;
use crate::dm::Status;
use crate::dm::Stay;
use crate::engine::events::Event;
use crate::engine::reserves::NO_MEMORY_MS;
use crate::engine::state::Present;
use crate::engine::wake::Wake;
use crate::engine::write::copy::Begun;
use crate::engine::write::decide::WINDOW;
use crate::engine::write::waiting::Copier;
use crate::engine::write::waiting::HeldBio;
use crate::engine::write::Writes;
use crate::maps::Bitmap;
use crate::maps::Chunks;
use crate::store::Segments;
use crate::uapi::args::OnFull;
use kernel::prelude::*;
use kernel::sync::atomic::Release;
use kernel::sync::Arc;
use kernel::workqueue::WorkItem;

/// Most copies started at once for one bio.
const RUNS_PER_BIO: usize = 8;
/// Most rounds of one run.
const ROUNDS: usize = 16;

/// What to do next for a bio.
enum Step {
    /// Wait for the claim on this chunk.
    Wait(u64),
    /// Copy these chunks, as decided in this epoch.
    Copy(Chunks, u64),
    /// Announce the regions of these chunks, which nobody needs.
    Announce(Chunks),
    /// Look again: some chunks have been marked.
    Again,
}

impl Wake for Writes {
    fn take_in(self: Arc<Self>) {
        self.kick();
    }

    fn start_checkpoint(self: Arc<Self>) {
        self.upkeep.start_checkpoint();
    }
}

impl WorkItem for Writes {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        let _noio = NoIo::enter();
        this.run_copier();
    }
}

impl Writes {
    /// Lets the copier take what has come for it: bios, copies, durable entries of the log. Any
    /// context.
    pub(super) fn kick(self: &Arc<Self>) {
        self.queues.writes.enqueue(self.clone());
    }

    fn run_copier(self: &Arc<Self>) {
        let mut guard = self.copier.lock();
        let copier = &mut *guard;
        let is_done = (0..ROUNDS).any(|_| !self.run_round(copier));
        if !is_done {
            self.kick();
        }
        self.is_blocked
            .store(!copier.wait_space.is_empty(), Release);
        copier.told_blocked &= !copier.wait_space.is_empty();
        if !copier.is_copying() {
            self.copies_done.notify_all();
        }
        let lost = core::mem::take(&mut copier.lost);
        drop(guard);
        // What copies took counts now: with a persistent store not when it was reserved.
        self.upkeep.watch_space();
        if lost > 0 {
            self.tell_lost(lost);
        }
    }

    /// Goes through everything once. Returns true if there was something to do for a bio or a copy.
    fn run_round(self: &Arc<Self>, copier: &mut Copier) -> bool {
        self.look_again(copier);
        let mut finished = self.returned.take();
        copier.pending.append(&mut self.incoming.lock());
        if finished.is_empty()
            && copier.pending.is_empty()
            && !copier.can_use_slot()
            && !copier.regions.can_go_on()
        {
            return false;
        }
        while let Some(io) = finished.pop() {
            self.advance_copy(copier, io);
        }
        // All that has been read by now in as few records as can be: one header and one durable
        // write for many.
        if !copier.read.is_empty() {
            self.log.append_contents(&mut copier.read);
        }
        self.take_turns(copier);
        // Those that become pending meanwhile wait for the next round.
        let mut pending = copier.pending.take();
        while let Some(bio) = pending.pop() {
            self.advance_bio(copier, bio);
        }
        true
    }

    /// Looks again at those who wait, if what they wait for has happened.
    fn look_again(self: &Arc<Self>, copier: &mut Copier) {
        let held = !copier.parked.is_empty() || !copier.unsettled.is_empty();
        if held && self.state.enter().is_some() {
            copier.pending.append(&mut copier.parked);
            let mut unsettled = copier.unsettled.take();
            while let Some(io) = unsettled.pop() {
                self.settle(copier, io);
            }
        }
        self.settle_lost(copier);
        if !copier.regions.is_idle() {
            self.open_regions(copier);
        }
        if self.waker.take_news() {
            // Space may have come, the store may have been given up, or the bios have to go back to
            // device-mapper: they find out.
            copier.pending.append(&mut copier.wait_store);
            copier.pending.append(&mut copier.wait_space);
        }
    }

    /// Lets those go on whose turn it is: gives free slots to bios that wait for one, and announces
    /// regions for bios that wait until one more can be. Takes only as many bios as there is room
    /// for, since many more may wait.
    fn take_turns(self: &Arc<Self>, copier: &mut Copier) {
        while copier.can_use_slot() {
            if let Some(bio) = copier.wait_slot.pop() {
                self.advance_bio(copier, bio);
            }
        }
        while copier.regions.can_go_on() {
            if let Some(bio) = copier.regions.queue.pop() {
                self.advance_bio(copier, bio);
            }
        }
    }

    /// Moves a bio on as far as it goes.
    fn advance_bio(self: &Arc<Self>, copier: &mut Copier, bio: HeldBio) {
        let Some(present) = self.state.enter() else {
            copier.parked.push(bio);
            return;
        };
        let bio = match self.try_submit(&present, bio) {
            Ok(()) => return,
            Err(bio) => bio,
        };
        let chunks = self.chunks_of(&bio);
        if bio.op() == Op::Discard && self.first_needed(&present, chunks).is_some() {
            // Not discarding what is needed is always right.
            bio.end(Status::OK);
            return;
        }
        let step = self.next_step(copier, &present, chunks);
        // A reference is counted next to what every write reads: only where it is used.
        let marks = matches!(step, Step::Again).then(|| present.marks.clone());
        drop(present);
        match step {
            Step::Wait(chunk) => copier.wait_for_claim(chunk, bio),
            Step::Copy(..) | Step::Announce(_) if self.log.is_failing() => {
                copier.wait_for_store(bio, self.phases.can_requeue())
            }
            Step::Copy(run, epoch) => self.start_copies(copier, bio, run, epoch),
            Step::Announce(run) => self.announce(copier, bio, run),
            Step::Again => {
                // What could not be marked may lack memory for its mark.
                if marks.is_some_and(|marks| !self.can_mark(&marks, chunks)) {
                    dm::sleep_ms(NO_MEMORY_MS);
                }
                copier.pending.push(bio);
            }
        }
    }

    /// Returns what to do for the first unmarked chunk of a bio.
    fn next_step(&self, copier: &Copier, present: &Stay<'_, Present>, chunks: Chunks) -> Step {
        let Some(first) = present.marks.find(chunks, false) else {
            return Step::Again;
        };
        if copier.is_claimed(first) {
            return Step::Wait(first);
        }
        let timeline = self.state.timeline();
        if timeline.needs(first) {
            let limit = chunks.end.min(first + copier.run_chunks);
            let mut end = first + 1;
            while end < limit
                && !present.marks.get(end)
                && !copier.is_claimed(end)
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
        let unneeded = Chunks { start: first, end };
        if !self.is_announced(present, unneeded) {
            return Step::Announce(unneeded);
        }
        self.mark_unneeded(present, unneeded);
        Step::Again
    }

    /// Starts the copy of a run, and of some more runs of the same bio if it is long. The bio waits
    /// for the first copy.
    fn start_copies(self: &Arc<Self>, copier: &mut Copier, bio: HeldBio, run: Chunks, epoch: u64) {
        let chunks = self.chunks_of(&bio);
        let Some(mut at) = self.start_copy(copier, bio, run, epoch) else {
            return;
        };
        for _ in 1..RUNS_PER_BIO {
            let rest = Chunks {
                start: at,
                end: chunks.end,
            };
            let Some(present) = self.state.enter() else {
                return;
            };
            let step = self.next_step(copier, &present, rest);
            drop(present);
            match step {
                Step::Copy(run, epoch) if copier.has_slot() => {
                    match self.begin(copier, run, epoch) {
                        Begun::Copying(_, end) => at = end,
                        Begun::NoSlot | Begun::NoSpace | Begun::NoMemory => return,
                    }
                }
                _ => return,
            }
        }
    }

    /// Starts one copy that `bio` waits for. Returns the end of its chunks, or `None` if it cannot
    /// start; then the bio waits for what is missing.
    fn start_copy(
        self: &Arc<Self>,
        copier: &mut Copier,
        bio: HeldBio,
        run: Chunks,
        epoch: u64,
    ) -> Option<u64> {
        match self.begin(copier, run, epoch) {
            Begun::Copying(slot, end) => {
                copier.wait_for_copy(slot, bio);
                Some(end)
            }
            Begun::NoSlot => {
                copier.wait_slot.push(bio);
                None
            }
            Begun::NoSpace => {
                self.no_space(copier, bio);
                None
            }
            Begun::NoMemory => {
                // What is kept cannot come from a reserve: the snapshot is given up, never the
                // write.
                self.upkeep.give_up_oldest(c"out of memory for its index");
                copier.pending.push(bio);
                None
            }
        }
    }

    /// Makes room for marking the first unmarked chunk of a run. Returns false if there is no
    /// memory.
    fn can_mark(&self, marks: &Bitmap, run: Chunks) -> bool {
        marks.find(run, false).is_none_or(|start| {
            let first = Chunks {
                start,
                end: start + 1,
            };
            marks.prepare_from(first, &self.memory).is_ok()
        })
    }

    /// Returns true if space is about to come back: segments wait for a checkpoint, copies under
    /// way were promised more than they will take, or a reader still holds an epoch that is not
    /// needed.
    fn space_comes_back(&self) -> bool {
        let timeline = self.state.timeline();
        let comes_back =
            |segments: &mut Segments| segments.has_waiting() || segments.has_reserved();
        if self.space.with_segments(comes_back) == Some(true) {
            return true;
        }
        if self.state.has_dropped() {
            // Its copies go when there is memory for a timeline without it.
            return true;
        }
        let epochs = timeline.epochs(0, u64::MAX);
        // CAST: A few.
        let kept = epochs.filter(|epoch| epoch.copies.is_some()).count() as u64;
        drop(timeline);
        self.space.spaces() > kept
    }

    /// Does what `on_full=` says, as the store is full: gives up the oldest snapshot, or lets the
    /// bio wait. It waits in any case if space is about to come back.
    fn no_space(self: &Arc<Self>, copier: &mut Copier, bio: HeldBio) {
        match self.device.options().on_full {
            OnFull::Block if self.phases.can_requeue() => bio.end(Status::REQUEUE),
            // Its return lets the copier run.
            _ if self.space_comes_back() => {
                copier.wait_space.push(bio);
                if self.space.with_segments(|segments| segments.has_waiting()) == Some(true) {
                    self.upkeep.start_checkpoint();
                }
            }
            OnFull::Invalidate => {
                self.upkeep.give_up_oldest(c"the store is full");
                copier.pending.push(bio);
            }
            OnFull::Block => {
                copier.wait_space.push(bio);
                self.is_blocked.store(true, Release);
                if !core::mem::replace(&mut copier.told_blocked, true) {
                    pr_warn!(
                        "{}: the store is full, writes wait: drop a snapshot, release ranges \
                        or enlarge the store\n",
                        self.device.live()
                    );
                    self.events.add(Event::Blocked);
                }
            }
        }
    }
}
