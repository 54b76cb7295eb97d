// SPDX-License-Identifier: GPL-2.0

//! The target `preserve-view`: a read-only device that shows a snapshot. What becomes of a read is
//! in [`reader`].

#![forbid(unsafe_code)]

mod reader;

use crate::dm::BlockDevice;
use crate::dm::Completed;
use crate::dm::Constructor;
use crate::dm::DevT;
use crate::dm::Ended;
use crate::dm::Incoming;
use crate::dm::Mapped;
use crate::dm::Op;
use crate::dm::Span;
use crate::dm::Status;
use crate::dm::StatusKind;
use crate::dm::StatusWriter;
use crate::dm::Target;
use crate::dm::WorkQueue;
use crate::engine::Engine;
use crate::engine::Phase;
use crate::engine::Source;
use crate::history::Snapshot;
use crate::interface::registry;
use crate::maps::Chunks;
use crate::maps::SECTOR_BYTES;
use crate::uapi::args;
use crate::uapi::args::Unprotected;
use core::fmt;
use core::fmt::Write;
use kernel::prelude::*;
use kernel::str::CString;
use kernel::sync::Arc;
use reader::Reader;
use reader::Reading;

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
        let snapshot = find_snapshot(table, &engine, line.snapshot)?;
        if table.len() > snapshot.sectors {
            return Err(table.fail(c"The view is longer than the snapshot"));
        }
        claim(table, engine.device().identity().origin)?;
        claim(table, engine.device().identity().store)?;
        let queue = WorkQueue::new(c"dm-preserve-view")?;
        let reader = Reader::new(engine, snapshot, line.unprotected)?;
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
            Source::Copy(..) if is_part(&bio.span(), engine) => {
                *bio.state() = Reading::Part;
                bio.take(|bio| self.reader.take(bio, &self.queue))
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
        bio.hold(|bio| self.reader.take(bio, &self.queue))
    }

    /// That of the live device: filesystems refuse devices with larger blocks than theirs. The
    /// store's may be larger.
    fn block_bytes(&self) -> u32 {
        let origin = self.reader.engine.device().origin();
        // CAST: At most a chunk.
        (origin.block_sectors() * SECTOR_BYTES) as u32
    }

    fn status(&self, kind: StatusKind, out: &mut StatusWriter<'_>) -> fmt::Result {
        let reader = &self.reader;
        match kind {
            StatusKind::Info => {
                let word = match reader.engine.phases().now() {
                    Phase::Bypassed | Phase::Dead => "detached",
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

impl Drop for View {
    fn drop(&mut self) {
        self.reader.flush_waiting();
    }
}

/// Returns true unless a span is made of what can be read from the store as it is: whole chunks, as
/// their contents have checksums, or with a transient store whole blocks of its device, which may
/// be larger than the view's. A short last chunk of a device counts as a part.
fn is_part(span: &Span, engine: &Engine) -> bool {
    let device = engine.device();
    let unit = match device.is_persistent() {
        true => device.shape().chunk_sectors(),
        false => device.store().block_sectors(),
    };
    (span.start | span.len) & (unit - 1) != 0
}

/// Returns the snapshot with an id, or the latest one.
///
/// Errors: those of [`Constructor::fail`], if there is none or it is unproven.
fn find_snapshot(
    table: &mut Constructor<'_>,
    engine: &Engine,
    id: Option<u64>,
) -> Result<Arc<Snapshot>> {
    let timeline = engine.state().timeline();
    let found = match id {
        Some(id) => timeline.snapshot(id),
        None => timeline.snapshots().last(),
    };
    let snapshot = found.ok_or_else(|| table.fail(c"There is no such snapshot"))?;
    engine.state().ensure_proven(snapshot.id).map_err(|_| {
        table.fail(
            c"The snapshot is unproven: vouch for it with the message trust to the \
            live device, if the store had not failed",
        )
    })?;
    Ok(snapshot.clone())
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
