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
//! Anybody in process context adds to it ([`append`]), which makes records ([`form`]). Completions
//! only put the record back and let the log's work run ([`retire`]). That needs neither the copier
//! nor the control lock; so both may wait for the log.
//!
//! Control entries (snapshots, drops, ...) go before the copier's entries, and may use the ring's
//! reserve. The order between the two does not matter, since a copier's entry holds for one epoch
//! and period only.
//!
//! # Lock order
//!
//! `inner`, then the timeline, and the space of an epoch's copies with the store's segments: a
//! record may need a segment.

#![forbid(unsafe_code)]

mod append;
pub(super) mod contents;
mod form;
pub(super) mod pending;
mod retire;

use crate::dm;
use crate::dm::Gather;
use crate::dm::Io;
use crate::dm::IrqStack;
use crate::dm::List;
use crate::dm::Status;
use crate::engine::device::Device;
use crate::engine::ground::Ground;
use crate::engine::log::contents::Copy;
use crate::engine::log::contents::Returned;
use crate::engine::log::pending::Lane;
use crate::engine::log::pending::Queue;
use crate::engine::queues::Queues;
use crate::engine::space::Space;
use crate::engine::state::State;
use crate::engine::wake::Waker;
use crate::format::Layout;
use crate::format::MAX_CONTENTS;
use crate::store::Buffer;
use crate::store::LogEnd;
use crate::store::LogPosition;
use kernel::impl_has_work;
use kernel::new_condvar;
use kernel::new_mutex;
use kernel::new_work;
use kernel::prelude::*;
use kernel::sync::atomic::Acquire;
use kernel::sync::atomic::Atomic;
use kernel::sync::atomic::Release;
use kernel::sync::Arc;
use kernel::sync::CondVar;
use kernel::sync::Mutex;
use kernel::workqueue::Work;

/// Most records in flight.
const IN_FLIGHT: usize = 8;
/// Most of them with contents: one being written and one to follow keep a device busy, and what
/// comes meanwhile is one record, with one header and one durable write for all of it.
const CONTENTS_IN_FLIGHT: usize = 2;
/// A checkpoint is made when so many segments have been filled since the last one ...
const MIN_SEGMENTS: u64 = 64;
/// ... and they are so many times the last one's image.
const IMAGE_SHARE: u64 = 16;

/// A record's write.
type Write = KBox<Gather<Copy, RecordTag>>;

/// What goes along with it.
struct RecordTag {
    sequence: u64,
    status: Status,
    /// Set while in flight only, or the log would own itself.
    log: Option<Arc<Log>>,
}

/// A record in flight or written, in the order of their numbers.
struct Flight {
    /// Its number.
    sequence: u64,
    /// Tickets up to this one are for it and earlier records, by [`Lane`].
    tickets: [u64; 2],
    /// It has contents, not entries.
    has_contents: bool,
    /// Set when it is complete.
    written: Option<Write>,
}

/// What the log's lock protects.
struct Inner {
    /// `None` while there is no session.
    end: Option<LogEnd>,
    idle: List<Write>,
    flights: KVec<Flight>,
    queues: [Queue; 2],
    /// Contents that wait for a record.
    contents: List<KBox<Io<Copy>>>,
    /// The present epoch; contents of another are not written.
    epoch: u64,
    /// Records below this are durable.
    durable: u64,
    /// Segments to be filled until a checkpoint is made, so that replay takes a bounded time.
    segments_left: u64,
    /// The place before the record of each slot that is not settled.
    unsettled: KVec<Option<LogPosition>>,
    header: Buffer,
    /// Chunks and checksums of a record being made.
    checksums: KVec<(u64, u32)>,
}

/// The log. See the [module's documentation](self).
#[pin_data]
pub(super) struct Log {
    device: Arc<Device>,
    state: Arc<State>,
    space: Arc<Space>,
    queues: Arc<Queues>,
    waker: Arc<Waker>,
    /// Where contents go back to.
    returned: Arc<Returned>,
    #[pin]
    inner: Mutex<Inner>,
    written: IrqStack<Write>,
    /// The last durable tickets, by [`Lane`].
    durable: [Atomic<u64>; 2],
    failed: Atomic<bool>,
    given_up: Atomic<bool>,
    #[pin]
    progress: CondVar,
    #[pin]
    work: Work<Log>,
}

impl_has_work! {
    impl HasWork<Self> for Log { self.work }
}

impl Log {
    /// Makes an empty log for `slots` copies, whose contents go back by `returned`. May sleep.
    ///
    /// Errors: `ENOMEM`.
    pub(super) fn new(ground: &Ground, returned: Arc<Returned>, slots: usize) -> Result<Arc<Self>> {
        let init = try_pin_init!(Self {
            device: ground.device.clone(),
            state: ground.state.clone(),
            space: ground.space.clone(),
            queues: ground.queues.clone(),
            waker: ground.waker.clone(),
            returned,
            inner <- new_mutex!(Inner::new(slots)?, "Log::inner"),
            written: IrqStack::new(),
            durable: [Atomic::new(0), Atomic::new(0)],
            failed: Atomic::new(false),
            given_up: Atomic::new(false),
            progress <- new_condvar!("Log::progress"),
            work <- new_work!("Log::work"),
        }? Error);
        Arc::pin_init(init, GFP_KERNEL)
    }

    /// Lets the log take in the records that have been written. Any context.
    pub(super) fn retire_soon(self: &Arc<Self>) {
        self.queues.log.enqueue(self.clone());
    }

    /// Waits until the log's work has nothing to do.
    pub(super) fn flush_work(&self) {
        dm::flush_work(&self.work);
    }

    /// Begins a session: the next record goes to `end`.
    pub(super) fn begin(&self, end: LogEnd, epoch: u64) {
        let mut inner = self.inner.lock();
        inner.durable = end.place().sequence;
        inner.end = Some(end);
        inner.epoch = epoch;
    }

    /// Ends a session: no record is made until the next session begins.
    pub(super) fn end(&self) {
        self.inner.lock().end = None;
    }

    /// Returns true if the log has failed: nothing can be logged any longer.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Acquire)
    }

    /// Returns true while writes wait that should be logged, as the store cannot be written.
    pub(super) fn is_failing(&self) -> bool {
        self.has_failed() && !self.is_given_up()
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
    fn set_failed(&self) {
        self.failed.store(true, Release);
    }

    /// Makes the log fail: nothing is logged from now on. Wakes those who wait.
    pub(super) fn fail(&self) {
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
    pub(super) fn wait(&self, lane: Lane, ticket: u64) -> Result {
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
    pub(super) fn cut(&self) -> Option<(LogPosition, u64)> {
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
    fn is_full(&self, inner: &Inner) -> bool {
        inner.end.is_none() || inner.flights.len() >= IN_FLIGHT
    }
}

impl Inner {
    fn new(slots: usize) -> Result<Self> {
        let mut idle = List::new();
        for _ in 0..IN_FLIGHT {
            idle.push(Gather::new(RecordTag {
                sequence: 0,
                status: Status::OK,
                log: None,
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
