// SPDX-License-Identifier: GPL-2.0

//! A write's way through `map`: the fast path, and what can be decided on the spot.
//!
//! # The way of a write
//!
//! 1. Enter the gate. It is closed while a snapshot is taken: on to the
//!    [copier](crate::engine::write::copier).
//! 2. All chunks are marked in the present epoch: remap to the origin, and leave the gate when the
//!    write completes. This is the fast path: no lock, no allocation.
//! 3. Some are not, but nobody needs what they hold: mark them and go on as in 2. This needs no
//!    claim: within an epoch need only shrinks, so what is not needed now cannot become so while we
//!    are inside, and a copier that is still busy with such a chunk sees the mark and throws its
//!    copy away (the protocol model explores this). With a persistent store, their regions must
//!    have been announced in the log for this epoch and period; the copier sees to
//!    that.
//! 4. Otherwise the copier takes the bio.
//!
//! Marks are set before the write is submitted, inside the same stay in the gate. So when the gate
//! has drained, the marks of the epoch that ends are exact (but for bios that the copier works
//! through piece by piece, whose marks may come before the write by one epoch: a chunk too many,
//! never one too few).
//!
//! A discard or write-zeroes may be as long as the device. One that is all marked goes on whole.
//! Others are cut where the answer changes, which is found by words of 64 chunks, so that a run of
//! chunks with one answer costs one piece, up to a window's length. A discard may be ignored: the
//! parts that are needed end at once.

#![forbid(unsafe_code)]

use crate::dm::Incoming;
use crate::dm::Mapped;
use crate::dm::Op;
use crate::dm::Status;
use crate::dm::Target;
use crate::dm::Ticket;
use crate::engine::write::decide::Verdict;
use crate::engine::write::decide::WINDOW;
use crate::engine::write::Writes;
use kernel::sync::Arc;

/// Most chunks of zeroes that the copier gets in one bio. That is submitted when all its chunks are
/// marked in one epoch: this has to come, however many snapshots are taken.
const MOST_ZEROES: u64 = 1024;

/// A target whose bios carry their way out of the gate, if they are inside.
pub trait Gated: Target<PerBio = Option<Ticket>> {}

impl<T: Target<PerBio = Option<Ticket>>> Gated for T {}

impl Writes {
    /// Maps a bio of the live device: sends it to the origin, ends it, or gives it to the copier.
    pub fn map<'a, T: Gated>(self: &'a Arc<Self>, bio: Incoming<'a, T>) -> Mapped<'a> {
        let start = bio.span().start;
        match bio.op() {
            Op::Read | Op::Flush => bio.remap(self.device.origin(), start),
            Op::Write => self.map_write(bio),
            Op::WriteZeroes | Op::Discard => self.map_long(bio),
            Op::Other => bio.end(Status::NOT_SUPPORTED),
        }
    }

    #[inline]
    fn map_write<'a, T: Gated>(self: &'a Arc<Self>, mut bio: Incoming<'a, T>) -> Mapped<'a> {
        let span = bio.span();
        let shape = self.device.shape();
        let chunks = shape.outward(span.start, span.start + span.len);
        let Some(stay) = self.state.enter() else {
            return self.defer(bio);
        };
        if stay.marks.find(chunks, false).is_some() && !self.mark_unneeded(&stay, chunks) {
            drop(stay);
            return self.defer(bio);
        }
        *bio.state() = Some(stay.keep());
        bio.remap(self.device.origin(), span.start)
    }

    /// Maps the beginning of a discard or write-zeroes, as far as one answer goes; device-mapper
    /// sends the rest again.
    fn map_long<'a, T: Gated>(self: &'a Arc<Self>, mut bio: Incoming<'a, T>) -> Mapped<'a> {
        let span = bio.span();
        let shape = self.device.shape();
        let run = shape.outward(span.start, span.start + span.len);
        let is_discard = bio.op() == Op::Discard;
        let most = if is_discard { WINDOW } else { MOST_ZEROES };
        let most = shape.sector(run.start + most) - span.start;
        let Some(stay) = self.state.enter() else {
            bio.keep_first(most);
            return self.defer(bio);
        };
        let part = self.judge(&stay, run);
        let len = shape.sector(part.unmarked.end) - span.start;
        let is_free = part.verdict == Verdict::Free;
        if is_free && stay.marks.set_run_nowait(part.unmarked).is_ok() {
            bio.keep_first(len);
            *bio.state() = Some(stay.keep());
            return bio.remap(self.device.origin(), span.start);
        }
        drop(stay);
        if is_discard && part.verdict != Verdict::Unannounced {
            // Needed, or no memory for the marks: not discarding is always right.
            bio.keep_first(len);
            return bio.end(Status::OK);
        }
        bio.keep_first(if is_discard { len } else { most });
        self.defer(bio)
    }

    /// Gives a bio to the copier.
    fn defer<'a, T: Gated>(self: &'a Arc<Self>, bio: Incoming<'a, T>) -> Mapped<'a> {
        if bio.is_nowait() {
            return bio.end(Status::AGAIN);
        }
        self.device.counters().waited.add(1);
        let mapped = bio.take(|bio| self.incoming.lock().push(bio));
        self.kick();
        mapped
    }
}
