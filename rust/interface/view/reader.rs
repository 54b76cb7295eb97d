// SPDX-License-Identifier: GPL-2.0

//! Reads of a view: from the time when they are mapped until they end.
//!
//! # States of a read
//!
//! 1. *Mapped*: cut to a run with one answer (`Frozen::look`). Holes and gone content end here.
//! 2. *Reading* a copy, or the origin.
//! 3. *Arrived*: looked at by the work item, since finding a copy's checksum may sleep. A copy that
//!    has the right one, or an origin that is still unmarked: done.
//! 4. Otherwise *read again*, piece by piece through a page buffer. This is rare, but for parts of
//!    what is read from the store as a whole: of chunks with a persistent one, as the checksum is
//!    one of the whole chunk; of its device's blocks. They go here at once.
//! 5. *Waiting*, while nobody can tell what an unmarked origin is worth, as the live device is
//!    suspended. That is for another work item, so that reads of what is in the store go on. After
//!    the resume: 4. After half a minute: `ETIMEDOUT`, since the reader cannot be killed while its
//!    bio is here.

#![forbid(unsafe_code)]

use crate::dm;
use crate::dm::Bio;
use crate::dm::IrqStack;
use crate::dm::NoIo;
use crate::dm::Status;
use crate::dm::WorkQueue;
use crate::engine::read_deadline;
use crate::engine::Copies;
use crate::engine::Engine;
use crate::engine::Kind;
use crate::engine::Piece;
use crate::engine::ReadBuffer;
use crate::history::Snapshot;
use crate::maps::Chunks;
use crate::store::Content;
use crate::uapi::args::Unprotected;
use kernel::impl_has_work;
use kernel::new_mutex;
use kernel::new_work;
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::sync::Mutex;
use kernel::workqueue::Work;
use kernel::workqueue::WorkItem;

/// Where a read is.
#[derive(Default)]
pub(crate) enum Reading {
    /// Nowhere, or done.
    #[default]
    Nothing,
    /// In a copy, which stays as long as this; whole chunks if the store is persistent.
    Copy(Arc<Copies>, Content),
    /// On the origin.
    Origin(Chunks),
    /// Nowhere yet: it is read through the buffer.
    Part,
    /// Nowhere, until the live device is resumed, or until this time.
    Waiting(u64),
}

/// What reads of a view need, apart from the target.
#[pin_data]
pub(super) struct Reader {
    pub(super) engine: Arc<Engine>,
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) unprotected: Unprotected,
    arrived: IrqStack<Bio<Reading>>,
    #[pin]
    buffer: Mutex<ReadBuffer>,
    #[pin]
    work: Work<Reader, ARRIVED>,
    /// Those that wait, in the order of their deadlines, or nearly.
    waiting: IrqStack<Bio<Reading>>,
    #[pin]
    waiting_work: Work<Reader, WAITING>,
}

/// Number of the work for reads that have arrived.
const ARRIVED: u64 = 0;
/// Number of that for those that wait.
const WAITING: u64 = 1;

impl_has_work! {
    impl HasWork<Self, ARRIVED> for Reader { self.work }
    impl HasWork<Self, WAITING> for Reader { self.waiting_work }
}

impl WorkItem<ARRIVED> for Reader {
    type Pointer = Arc<Reader>;

    fn run(this: Arc<Reader>) {
        let _noio = NoIo::enter();
        let mut arrived = this.arrived.take();
        while let Some(bio) = arrived.pop() {
            this.finish(bio);
        }
    }
}

impl WorkItem<WAITING> for Reader {
    type Pointer = Arc<Reader>;

    fn run(this: Arc<Reader>) {
        let _noio = NoIo::enter();
        let mut waiting = this.waiting.take();
        while let Some(mut bio) = waiting.pop() {
            let status = match core::mem::take(bio.state()) {
                Reading::Waiting(deadline) => this.wait_and_read(&mut bio, deadline),
                _ => Status::IO_ERROR,
            };
            bio.end(status);
        }
    }
}

impl Reader {
    /// Makes a reader of a snapshot. May sleep.
    ///
    /// Errors: `ENOMEM`.
    pub(super) fn new(
        engine: Arc<Engine>,
        snapshot: Arc<Snapshot>,
        unprotected: Unprotected,
    ) -> Result<Arc<Self>> {
        let buffer = ReadBuffer::new(engine.frozen())?;
        let reader = pin_init!(Self {
            engine,
            snapshot,
            unprotected,
            arrived: IrqStack::new(),
            buffer <- new_mutex!(buffer, "Reader::buffer"),
            work <- new_work!("Reader::work"),
            waiting: IrqStack::new(),
            waiting_work <- new_work!("Reader::waiting_work"),
        });
        Arc::pin_init(reader, GFP_KERNEL)
    }

    /// Takes a bio, for the work item in `queue` to finish. Any context.
    pub(super) fn take(self: &Arc<Self>, bio: Bio<Reading>, queue: &WorkQueue) {
        self.arrived.push(bio);
        // When it is queued already it will see the bio.
        let _ = queue.enqueue::<_, ARRIVED>(self.clone());
    }

    /// Waits for the work of those that wait, which may not quite have ended when all reads have.
    pub(super) fn flush_waiting(&self) {
        dm::flush_work(&self.waiting_work);
    }

    /// Ends a read that has arrived, after reading again what was not the frozen content; or lets
    /// it wait for a resume.
    fn finish(self: &Arc<Self>, mut bio: Bio<Reading>) {
        if let Some(status) = self.result(&mut bio) {
            return bio.end(status);
        }
        // Who needs it asks again, and must not have waited twice.
        if bio.is_readahead() {
            return bio.end(Status::TIMEOUT);
        }
        *bio.state() = Reading::Waiting(read_deadline());
        self.waiting.push(bio);
        // When it is queued already it will see the bio.
        let queue = self.engine.waits();
        let _ = queue.enqueue::<_, WAITING>(self.clone());
    }

    /// Returns the status that a read that has arrived ends with. `None` if only a resume of the
    /// live device can tell; the bio then covers what is still to be read.
    fn result(&self, bio: &mut Bio<Reading>) -> Option<Status> {
        let status = bio.status();
        match core::mem::take(bio.state()) {
            Reading::Origin(run) if status == Status::OK => {
                match self.engine.frozen().still_on_origin(self.snapshot.id, run) {
                    Ok(true) => Some(Status::OK),
                    Ok(false) => self.read_again(bio),
                    Err(EAGAIN) if bio.rewind() => None,
                    Err(_) => Some(Status::IO_ERROR),
                }
            }
            Reading::Copy(_copies, content) if status == Status::OK => {
                match self.is_right(bio, content) {
                    true => Some(Status::OK),
                    false => self.read_again(bio),
                }
            }
            // The store's device could not divide the bio's pieces into its blocks, which may be
            // larger than the view's.
            Reading::Copy(..) if status == Status::INVALID => self.read_again(bio),
            Reading::Part => self.read_pieces(bio),
            _ => Some(status),
        }
    }

    /// Returns true if the contents that a bio has read from the store have the right checksums.
    fn is_right(&self, bio: &mut Bio<Reading>, first: Content) -> bool {
        if !self.engine.device().is_persistent() {
            return true;
        }
        let mut buffer = self.buffer.lock();
        bio.rewind() && buffer.are_right(self.engine.frozen(), first, bio)
    }

    /// Waits for the live device's resume, then reads what the bio covers.
    fn wait_and_read(&self, bio: &mut Bio<Reading>, deadline: u64) -> Status {
        loop {
            match self.engine.phases().wait_until_active(deadline) {
                Ok(()) => (),
                Err(ETIMEDOUT) => return Status::TIMEOUT,
                Err(_) => return Status::IO_ERROR,
            }
            // It may have been suspended again meanwhile.
            if let Some(status) = self.read_pieces(bio) {
                return status;
            }
        }
    }

    fn read_again(&self, bio: &mut Bio<Reading>) -> Option<Status> {
        match bio.rewind() {
            true => self.read_pieces(bio),
            false => Some(Status::IO_ERROR),
        }
    }

    /// Reads what the bio covers through the buffer. Returns `None` like [`result`](Self::result).
    fn read_pieces(&self, bio: &mut Bio<Reading>) -> Option<Status> {
        let mut buffer = self.buffer.lock();
        let span = bio.span();
        let end = span.start + span.len;
        let mut at = span.start;
        while at < end {
            let read =
                self.engine
                    .frozen()
                    .read_frozen(self.snapshot.id, at, end - at, &mut buffer);
            let Piece {
                kind,
                offset,
                sectors,
            } = match read {
                Ok(piece) if piece.sectors > 0 => piece,
                Err(EAGAIN) => return None,
                Ok(_) | Err(_) => return Some(Status::IO_ERROR),
            };
            // CAST: At most the buffer's size.
            let bytes = (sectors * crate::maps::SECTOR_BYTES) as u32;
            match kind {
                Kind::Hole if self.unprotected == Unprotected::Error => {
                    return Some(Status::IO_ERROR)
                }
                Kind::Hole => bio.skip_zeroed(bytes),
                Kind::Data => bio.fill_from(&mut buffer.io, offset, bytes),
            }
            at += sectors;
        }
        Some(Status::OK)
    }
}
