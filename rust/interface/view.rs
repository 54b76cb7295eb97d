// SPDX-License-Identifier: GPL-2.0

//! The target `preserve-view`: a read-only device that shows a snapshot.
//!
//! # States of a read
//!
//! 1. *Mapped*: cut to a run with one answer ([`Engine::look`]). Holes and gone content end here.
//! 2. *Reading* a copy, or the origin.
//! 3. *Arrived*: looked at by the work item, since finding a copy's checksum may sleep. A copy that
//!    has the right one, or an origin that is still unmarked: done.
//! 4. Otherwise *read again*, piece by piece through a page buffer. This is rare, but for parts of
//!    chunks that are in a persistent store: their checksum is one of the whole chunk, so they go
//!    here at once.
//! 5. *Waiting*, while nobody can tell what an unmarked origin is worth, as the live device is
//!    suspended. That is for another work item, so that reads of what is in the store go on. After
//!    the resume: 4. After half a minute: `ETIMEDOUT`, since the reader cannot be killed while its
//!    bio is here.

#![forbid(unsafe_code)]

use crate::dm;
use crate::dm::Bio;
use crate::dm::BlockDevice;
use crate::dm::Completed;
use crate::dm::Constructor;
use crate::dm::DevT;
use crate::dm::Ended;
use crate::dm::Incoming;
use crate::dm::IrqStack;
use crate::dm::Mapped;
use crate::dm::NoIo;
use crate::dm::Op;
use crate::dm::Span;
use crate::dm::Status;
use crate::dm::StatusKind;
use crate::dm::StatusWriter;
use crate::dm::Target;
use crate::dm::WorkQueue;
use crate::engine::read_deadline;
use crate::engine::Copies;
use crate::engine::Engine;
use crate::engine::Kind;
use crate::engine::Phase;
use crate::engine::Piece;
use crate::engine::ReadBuffer;
use crate::engine::Source;
use crate::history::Snapshot;
use crate::interface::registry;
use crate::maps::Chunks;
use crate::store::Content;
use crate::uapi::args;
use crate::uapi::args::Unprotected;
use core::fmt;
use core::fmt::Write;
use kernel::impl_has_work;
use kernel::new_mutex;
use kernel::new_work;
use kernel::prelude::*;
use kernel::str::CString;
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

/// What the work item needs, apart from the target.
#[pin_data]
pub(super) struct Reader {
    engine: Arc<Engine>,
    snapshot: Arc<Snapshot>,
    unprotected: Unprotected,
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

/// A target `preserve-view` in a table.
pub(crate) struct View {
    // Dropped, and with that drained, before the reader.
    queue: WorkQueue,
    reader: Arc<Reader>,
    _held: Held,
    /// Keeps the live device from being removed.
    live: BlockDevice,
}

/// Keeps the engine's store from being used by another engine.
struct Held(Arc<Engine>);

impl Held {
    fn new(engine: &Arc<Engine>) -> Result<Self> {
        registry::hold(engine)?;
        Ok(Self(engine.clone()))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        registry::release(&self.0, registry::Use::View);
    }
}

#[vtable]
impl Target for View {
    const NAME: &'static CStr = c"preserve-view";
    const VERSION: [u32; 3] = crate::interface::VERSION;
    const REWINDS: bool = true;
    const HOLDS: bool = true;
    type PerBio = Reading;

    fn new(table: &mut Constructor<'_>, args: &[&str]) -> Result<Pin<KBox<Self>>> {
        let line = args::view(args).map_err(|why| table.fail(why))?;
        if table.is_writable() {
            return Err(table.fail(c"A view is read-only: use dmsetup create --readonly"));
        }
        let path = CString::try_from_fmt(fmt!("{}", line.live))?;
        let devt = DevT::from_path(&path).inspect_err(|_| {
            table.fail(c"There is no such live device");
        })?;
        if devt == table.devt() {
            return Err(table.fail(c"A device cannot be a view of itself"));
        }
        let engine = registry::find(devt)
            .ok_or_else(|| table.fail(c"That is not an active preserve device"))?;
        let live = BlockDevice::open(devt, false).inspect_err(|_| {
            table.fail(c"Cannot open the live device");
        })?;
        let snapshot = {
            let timeline = engine.state().timeline();
            let found = match line.snapshot {
                Some(id) => timeline.snapshot(id),
                None => timeline.snapshots().last(),
            };
            found
                .cloned()
                .ok_or_else(|| table.fail(c"There is no such snapshot"))?
        };
        engine.state().ensure_proven(snapshot.id).map_err(|_| {
            table.fail(
                c"The snapshot is unproven: vouch for it with the message trust to the \
                live device, if the store had not failed",
            )
        })?;
        if table.len() > snapshot.sectors {
            return Err(table.fail(c"The view is longer than the snapshot"));
        }
        claim(table, engine.device().identity().origin)?;
        claim(table, engine.device().identity().store)?;
        let queue = WorkQueue::new(c"dm-preserve-view")?;
        let buffer = ReadBuffer::new(engine.frozen())?;
        let reader = pin_init!(Reader {
            engine,
            snapshot,
            unprotected: line.unprotected,
            arrived: IrqStack::new(),
            buffer <- new_mutex!(buffer, "Reader::buffer"),
            work <- new_work!("Reader::work"),
            waiting: IrqStack::new(),
            waiting_work <- new_work!("Reader::waiting_work"),
        });
        let reader = Arc::pin_init(reader, GFP_KERNEL)?;
        let held = Held::new(&reader.engine)
            .map_err(|_| table.fail(c"That is not an active preserve device"))?;
        let view = Self {
            queue,
            reader,
            _held: held,
            live,
        };
        Ok(KBox::pin(view, GFP_KERNEL)?)
    }

    fn map<'a>(&'a self, mut bio: Incoming<'a, Self>) -> Mapped<'a> {
        let span = bio.span();
        match bio.op() {
            Op::Read if span.len > 0 => (),
            Op::Flush | Op::Read => return bio.end(Status::OK),
            _ => return bio.end(Status::IO_ERROR),
        }
        let (engine, snapshot) = (&self.reader.engine, &self.reader.snapshot);
        let timeline = engine.state().timeline();
        if timeline.snapshot(snapshot.id).is_none() {
            return bio.end(Status::IO_ERROR);
        }
        let run = engine
            .device()
            .shape()
            .outward(span.start, span.start + span.len);
        let visible = engine.frozen().visible(snapshot);
        let (found, end) = engine.frozen().look(&timeline, snapshot, &visible, run);
        bio.keep_first(
            engine
                .device()
                .shape()
                .sector(end)
                .saturating_sub(span.start),
        );
        match found {
            Source::Gone => bio.end(Status::IO_ERROR),
            Source::Hole if self.reader.unprotected == Unprotected::Error => {
                bio.end(Status::IO_ERROR)
            }
            Source::Hole => {
                bio.zero_fill();
                bio.end(Status::OK)
            }
            Source::Copy(..) if engine.device().is_persistent() && is_part(&bio.span(), engine) => {
                *bio.state() = Reading::Part;
                bio.take(|bio| self.hand_over(bio))
            }
            Source::Copy(copies, content) => {
                let within = span.start - engine.device().shape().sector(run.start);
                let sector = engine.device().store_sector(content.position) + within;
                *bio.state() = Reading::Copy(copies, content);
                bio.remap(engine.device().store(), sector)
            }
            Source::Origin => {
                *bio.state() = Reading::Origin(Chunks { end, ..run });
                bio.remap(engine.device().origin(), span.start)
            }
        }
    }

    fn end_io<'a>(&'a self, mut bio: Completed<'a, Self>) -> Ended<'a> {
        if matches!(bio.state(), Reading::Nothing) {
            return bio.done();
        }
        bio.hold(|bio| self.hand_over(bio))
    }

    fn status(&self, kind: StatusKind, out: &mut StatusWriter<'_>) -> fmt::Result {
        let reader = &self.reader;
        match kind {
            StatusKind::Info => {
                let word = match reader.engine.phases().now() {
                    Phase::Dead => "detached",
                    _ if reader.snapshot.is_dropped() => "dropped",
                    _ => "valid",
                };
                write!(out, "{} {word}", reader.snapshot.id)
            }
            StatusKind::Table => {
                write!(out, "{} {}", self.live.devt(), reader.snapshot.id)?;
                match reader.unprotected {
                    Unprotected::Zero => Ok(()),
                    Unprotected::Error => write!(out, " 1 unprotected=error"),
                }
            }
            StatusKind::Ima => {
                let [major, minor, patch] = Self::VERSION;
                write!(
                    out,
                    "target_name=preserve-view,target_version={major}.{minor}.{patch};"
                )
            }
        }
    }
}

impl View {
    /// Hands a bio to the work item.
    fn hand_over(&self, bio: Bio<Reading>) {
        self.reader.arrived.push(bio);
        // When it is queued already it will see the bio.
        let _ = self.queue.enqueue::<_, ARRIVED>(self.reader.clone());
    }
}

impl Drop for View {
    fn drop(&mut self) {
        // All reads have ended; their work may not quite have.
        dm::flush_work(&self.reader.waiting_work);
    }
}

/// Returns true unless a span is made of whole chunks. A short last chunk of a device counts as a
/// part.
fn is_part(span: &Span, engine: &Engine) -> bool {
    (span.start | span.len) & (engine.device().shape().chunk_sectors() - 1) != 0
}

/// Takes a device of the engine for the view's table, so that device-mapper knows its limits and
/// its use.
fn claim(table: &mut Constructor<'_>, devt: DevT) -> Result {
    let path = CString::try_from_fmt(fmt!("{devt}"))?;
    table.claim(&path, false, true).inspect_err(|_| {
        table.fail(c"Cannot open the live device's origin or store");
    })?;
    Ok(())
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
