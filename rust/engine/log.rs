// SPDX-License-Identifier: GPL-2.0

//! The log: records on their way to a persistent store, and the order in which they count.
//!
//! # States of a record
//!
//! 1. *Waiting*: its entries or contents are in one of the lists here. Records are made when there
//!    is a [`Gather`] for one: at once when little is in flight, with more in each when much is
//!    (group commit). While two records with contents are in flight, more contents gather.
//! 2. *In flight*: numbered, and written durably (FUA). Several are; they complete in any order.
//! 3. *Written*: complete, but an earlier one is not.
//! 4. *Durable*: it and all earlier ones are written. Only now do its contents go back to the
//!    copier, and only now do those who wait for its entries wake: recovery stops at the first
//!    record that is not whole.
//!
//! If a record cannot be written the log has *failed*, for good: all that waits comes back with
//! an error. Writes that should have been logged pass only when the log is *given up*, once a
//! superblock says that tracking is broken, or cannot be written with `on_error=continue`.
//!
//! # What takes part
//!
//! Anybody in process context adds to it. Completions only put the record back and let the engine's
//! log work run, which needs neither the copier nor the control lock; so both may wait for the log.
//!
//! Control entries (snapshots, drops, ...) go before the copier's entries, and may use the ring's
//! reserve. The order between the two does not matter, since a copier's entry holds for one epoch
//! and checkpoint generation only.
//!
//! # Lock order
//!
//! `inner`, then the timeline, and the space of an epoch's copies with the store's segments: a
//! record may need a segment.

#![forbid(unsafe_code)]

pub(in crate::engine) mod form;
pub(in crate::engine) mod pending;

use crate::dm::Gather;
use crate::dm::GatherDone;
use crate::dm::Io;
use crate::dm::IrqStack;
use crate::dm::List;
use crate::dm::NoIo;
use crate::dm::Status;
use crate::engine::log::pending::Lane;
use crate::engine::log::pending::Queue;
use crate::engine::write::copy::Copy;
use crate::engine::Engine;
use crate::engine::LOG;
use crate::format::Entry;
use crate::format::Layout;
use crate::format::MAX_CONTENTS;
use crate::store::Buffer;
use crate::store::LogEnd;
use crate::store::LogPosition;
use kernel::new_condvar;
use kernel::new_mutex;
use kernel::prelude::*;
use kernel::sync::atomic::Acquire;
use kernel::sync::atomic::Atomic;
use kernel::sync::atomic::Release;
use kernel::sync::Arc;
use kernel::sync::CondVar;
use kernel::sync::Mutex;
use kernel::workqueue::WorkItem;

/// Most records in flight.
pub(super) const IN_FLIGHT: usize = 8;
/// Most of them with contents: one being written and one to follow keep a device busy, and what
/// comes meanwhile is one record, with one header and one durable write for all of it.
pub(super) const CONTENTS_IN_FLIGHT: usize = 2;
/// A checkpoint is made when so many segments have been filled since the last one ...
const MIN_SEGMENTS: u64 = 64;
/// ... and they are so many times the last one's image.
const IMAGE_SHARE: u64 = 16;

/// A record's write.
pub(crate) type Write = KBox<Gather<Copy, Record>>;

/// What goes along with it.
pub(super) struct Record {
    pub(super) sequence: u64,
    pub(crate) status: Status,
    /// Set while in flight only, or the engine would own itself.
    pub(crate) engine: Option<Arc<Engine>>,
}

impl GatherDone<Copy> for Record {
    fn done(mut gather: Write, status: Status) {
        gather.data.status = status;
        // As in `Copy::done`: not the last reference.
        if let Some(engine) = gather.data.engine.take() {
            engine.log.written.push(gather);
            engine.kick_log();
        }
    }
}

/// A record in flight or written, in the order of their numbers.
pub(super) struct Flight {
    /// Its number.
    pub(super) sequence: u64,
    /// Tickets up to this one are for it and earlier records, by [`Lane`].
    pub(super) tickets: [u64; 2],
    /// It has contents, not entries.
    pub(super) has_contents: bool,
    /// Set when it is complete.
    pub(crate) written: Option<Write>,
}

/// What the log's lock protects.
pub(super) struct Inner {
    /// `None` while there is no session.
    pub(super) end: Option<LogEnd>,
    pub(super) idle: List<Write>,
    pub(super) flights: KVec<Flight>,
    pub(crate) queues: [Queue; 2],
    /// Contents that wait for a record.
    pub(crate) contents: List<KBox<Io<Copy>>>,
    /// The present epoch; contents of another are not written.
    pub(crate) epoch: u64,
    /// Records below this are durable.
    pub(super) durable: u64,
    /// Segments to be filled until a checkpoint is made, so that replay takes a bounded time.
    pub(super) segments_left: u64,
    /// The place before the record of each slot that is not settled.
    pub(super) unsettled: KVec<Option<LogPosition>>,
    pub(super) header: Buffer,
    /// Chunks and checksums of a record being made.
    pub(super) checksums: KVec<(u64, u32)>,
}

/// The log. See the [module's documentation](self).
#[pin_data]
pub(super) struct Log {
    #[pin]
    inner: Mutex<Inner>,
    written: IrqStack<Write>,
    /// The last durable tickets, by [`Lane`].
    durable: [Atomic<u64>; 2],
    failed: Atomic<bool>,
    given_up: Atomic<bool>,
    #[pin]
    progress: CondVar,
}

impl Log {
    /// Makes an empty log for `slots` copies. May sleep.
    ///
    /// Errors: `ENOMEM`.
    pub(crate) fn new(slots: usize) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            inner <- new_mutex!(Inner::new(slots)?, "Log::inner"),
            written: IrqStack::new(),
            durable: [Atomic::new(0), Atomic::new(0)],
            failed: Atomic::new(false),
            given_up: Atomic::new(false),
            progress <- new_condvar!("Log::progress"),
        }? Error)
    }

    /// Begins a session: the next record goes to `end`.
    pub(crate) fn begin(&self, end: LogEnd, epoch: u64) {
        let mut inner = self.inner.lock();
        inner.durable = end.place().sequence;
        inner.end = Some(end);
        inner.epoch = epoch;
    }

    /// Ends a session: no record is made until the next session begins.
    pub(crate) fn end(&self) {
        self.inner.lock().end = None;
    }

    /// Returns true if the log has failed: nothing can be logged any longer.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Acquire)
    }

    /// Returns true if the log is given up: writes pass that should have been logged.
    pub(super) fn is_given_up(&self) -> bool {
        self.given_up.load(Acquire)
    }

    /// Gives up the log. The caller has written the broken state to the store, if that was
    /// possible.
    pub(super) fn give_up(&self) {
        self.given_up.store(true, Release);
    }

    /// Makes the log fail: nothing is logged from now on. The caller holds the lock, and wakes
    /// those who wait.
    pub(super) fn set_failed(&self) {
        self.failed.store(true, Release);
    }

    /// Makes the log fail: nothing is logged from now on. Wakes those who wait.
    pub(crate) fn fail(&self) {
        self.set_failed();
        // With the lock, so that nobody is between looking and waiting.
        let _inner = self.inner.lock();
        self.progress.notify_all();
    }

    /// Returns true if an entry is durable.
    pub(super) fn is_durable(&self, lane: Lane, ticket: u64) -> bool {
        self.durable[lane as usize].load(Acquire) >= ticket
    }

    /// Waits until an entry is durable. Process context. Not interruptible, since whoever waits has
    /// begun what cannot be undone.
    ///
    /// Errors: `EIO` if the entry never will be durable.
    pub(crate) fn wait(&self, lane: Lane, ticket: u64) -> Result {
        let mut inner = self.inner.lock();
        loop {
            if self.is_durable(lane, ticket) {
                return Ok(());
            }
            if self.has_failed() {
                return Err(EIO);
            }
            self.progress.wait(&mut inner);
        }
    }

    /// Waits until no record is in flight.
    pub(super) fn wait_until_idle(&self) {
        let mut inner = self.inner.lock();
        while !inner.flights.is_empty() {
            self.progress.wait(&mut inner);
        }
    }

    /// Returns the place where replay would have to begin, and the number of the next record.
    /// `None` if there is no session.
    pub(crate) fn cut(&self) -> Option<(LogPosition, u64)> {
        let inner = self.inner.lock();
        let next = inner.end.as_ref()?.place();
        let unsettled = inner.unsettled.iter().flatten();
        let first = unsettled.min_by_key(|place| place.sequence);
        Some((*first.unwrap_or(&next), next.sequence))
    }

    /// Frees the log before `place`, which a durable checkpoint no longer needs. Returns true if a
    /// record may have been waiting for space. `image_blocks`: size of that checkpoint's image, in
    /// blocks.
    pub(super) fn trim(&self, place: &LogPosition, layout: &Layout, image_blocks: u64) -> bool {
        let mut inner = self.inner.lock();
        let log = (IMAGE_SHARE * image_blocks)
            .checked_div(layout.segment_blocks)
            .unwrap_or(0);
        inner.segments_left = log.max(MIN_SEGMENTS);
        if let Some(end) = inner.end.as_mut() {
            end.trim(place);
            end.layout = *layout;
        }
        let mut queues = inner.queues.iter();
        queues.any(|queue| queue.fitting().0 > 0) || !inner.contents.is_empty()
    }

    /// Takes over the layout of a store that has grown.
    pub(super) fn set_layout(&self, layout: &Layout) {
        if let Some(end) = self.inner.lock().end.as_mut() {
            end.layout = *layout;
        }
    }

    /// Returns the number of free blocks in the ring, and of all its blocks.
    pub(super) fn ring(&self) -> (u64, u64) {
        let inner = self.inner.lock();
        let end = inner.end.as_ref();
        end.map_or((0, 0), |end| (end.ring_room(), end.layout.ring_blocks))
    }

    /// Takes note that the copy in a slot has been settled, or given up: replay need not begin at
    /// its record.
    pub(super) fn settled(&self, slot: usize) {
        let mut inner = self.inner.lock();
        if let Some(place) = inner.unsettled.get_mut(slot) {
            *place = None;
        }
    }

    /// Begins an epoch: no more contents are written for the one before.
    pub(super) fn begin_epoch(&self, epoch: u64) {
        let mut inner = self.inner.lock();
        inner.epoch = epoch;
        if let Some(end) = inner.end.as_mut() {
            end.close_segment();
        }
    }

    /// Returns true if no record can be made now.
    pub(super) fn is_full(&self, inner: &Inner) -> bool {
        inner.end.is_none() || inner.flights.len() >= IN_FLIGHT
    }
}

impl Inner {
    fn new(slots: usize) -> Result<Self> {
        let mut idle = List::new();
        for _ in 0..IN_FLIGHT {
            idle.push(Gather::new(Record {
                sequence: 0,
                status: Status::OK,
                engine: None,
            })?);
        }
        Ok(Self {
            end: None,
            idle,
            flights: KVec::with_capacity(IN_FLIGHT, GFP_KERNEL)?,
            queues: [Queue::new()?, Queue::new()?],
            contents: List::new(),
            epoch: 0,
            durable: 0,
            segments_left: MIN_SEGMENTS,
            unsettled: KVec::from_elem(None, slots, GFP_KERNEL)?,
            header: Buffer::new()?,
            checksums: KVec::with_capacity(MAX_CONTENTS, GFP_KERNEL)?,
        })
    }
}

impl Engine {
    /// Appends entries that belong together to the log. Returns a ticket to wait for, or `None` if
    /// too many entries wait already, or the log has failed.
    pub(super) fn append(self: &Arc<Self>, lane: Lane, entries: &[Entry]) -> Option<u64> {
        if self.log.has_failed() {
            return None;
        }
        let mut inner = self.log.inner.lock();
        let ticket = inner.queues[lane as usize].add(entries);
        self.form_records(&mut inner);
        ticket
    }

    /// Appends an entry like [`Engine::append`], for the copy in a slot. Until that is settled,
    /// replay begins no later than here.
    pub(super) fn append_for_slot(self: &Arc<Self>, slot: usize, entry: Entry) -> Option<u64> {
        let mut inner = self.log.inner.lock();
        if self.log.has_failed() {
            return None;
        }
        let place = inner.end.as_ref()?.place();
        let ticket = inner.queues[Lane::Copier as usize].add(&[entry])?;
        if let Some(unsettled) = inner.unsettled.get_mut(slot) {
            *unsettled = Some(place);
        }
        self.form_records(&mut inner);
        Some(ticket)
    }

    /// Appends the contents of a copy to the log; [`Engine::form_appended`] makes the record.
    ///
    /// The copy comes back as a finished one: with its position once the record is durable, with an
    /// error if that fails, and without a position if its epoch has ended.
    pub(super) fn append_contents(&self, io: KBox<Io<Copy>>) {
        self.log.inner.lock().contents.push(io);
    }

    /// Makes records of the contents that were appended.
    pub(super) fn form_appended(self: &Arc<Self>) {
        let mut inner = self.log.inner.lock();
        if !inner.contents.is_empty() {
            self.form_records(&mut inner);
        }
    }

    /// Takes in the records that have been written, and makes more. This is the log's work.
    pub(super) fn run_log(self: &Arc<Self>) {
        let mut inner = self.log.inner.lock();
        let mut written = self.log.written.take();
        while let Some(write) = written.pop() {
            let sequence = write.data.sequence;
            let mut flights = inner.flights.iter_mut();
            if let Some(flight) = flights.find(|flight| flight.sequence == sequence) {
                flight.written = Some(write);
            }
        }
        self.retire_records(&mut inner);
        self.form_records(&mut inner);
        drop(inner);
        self.log.progress.notify_all();
        if self.log.has_failed() {
            // The checkpoint's work gives the store up: here nothing is waited for.
            self.kick_checkpoint();
        }
        self.kick_copier();
    }

    /// Takes the durable records off the front of the list of flights.
    fn retire_records(self: &Arc<Self>, inner: &mut Inner) {
        while inner
            .flights
            .first()
            .is_some_and(|first| first.written.is_some())
        {
            let Ok(flight) = inner.flights.remove(0) else {
                return;
            };
            let Some(mut write) = flight.written else {
                return;
            };
            if write.data.status != Status::OK && !self.log.has_failed() {
                self.log.set_failed();
            }
            // After a failure nothing later counts, whether it was written or not.
            let failed = self.log.has_failed();
            if !failed {
                inner.durable = flight.sequence + 1;
                for lane in Lane::ALL {
                    let durable = &self.log.durable[lane as usize];
                    durable.store(flight.tickets[lane as usize], Release);
                }
            }
            let mut parts = write.take_parts();
            while let Some(io) = parts.pop() {
                self.give_back_contents(io, failed);
            }
            inner.idle.push(write);
        }
    }

    /// Gives contents back to the copier.
    pub(super) fn give_back_contents(&self, mut io: KBox<Io<Copy>>, failed: bool) {
        io.data.status = match failed {
            true => Status::IO_ERROR,
            false => Status::OK,
        };
        self.finished.push(io);
    }
}

impl WorkItem<LOG> for Engine {
    type Pointer = Arc<Engine>;

    fn run(this: Arc<Engine>) {
        let _noio = NoIo::enter();
        this.run_log();
    }
}
