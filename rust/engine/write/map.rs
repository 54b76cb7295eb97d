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
//! A discard may be ignored: where it meets chunks that are needed it is cut, and those parts end
//! at once.

#![forbid(unsafe_code)]

use crate::dm::Incoming;
use crate::dm::Mapped;
use crate::dm::Op;
use crate::dm::Status;
use crate::dm::Target;
use crate::dm::Ticket;
use crate::engine::write::decide::WINDOW;
use crate::engine::write::Writes;
use crate::maps::Chunks;
use kernel::sync::Arc;

/// A target whose bios carry their way out of the gate, if they are inside.
pub trait Gated: Target<PerBio = Option<Ticket>> {}

impl<T: Target<PerBio = Option<Ticket>>> Gated for T {}

impl Writes {
    /// Maps a bio of the live device: sends it to the origin, ends it, or gives it to the copier.
    pub fn map<'a, T: Gated>(self: &'a Arc<Self>, bio: Incoming<'a, T>) -> Mapped<'a> {
        let start = bio.span().start;
        match bio.op() {
            Op::Read | Op::Flush => bio.remap(self.device.origin(), start),
            Op::Write | Op::WriteZeroes => self.map_write(bio),
            Op::Discard => self.map_discard(bio),
            Op::Other => bio.end(Status::NOT_SUPPORTED),
        }
    }

    #[inline]
    fn map_write<'a, T: Gated>(self: &'a Arc<Self>, mut bio: Incoming<'a, T>) -> Mapped<'a> {
        let span = bio.span();
        // Zeroes may be gigabytes, and are submitted when all their chunks are marked in one epoch:
        // that has to come.
        let len = match bio.op() {
            Op::WriteZeroes => bio.keep_first(self.window_sectors(span.start)),
            _ => span.len,
        };
        let chunks = self.device.shape().outward(span.start, span.start + len);
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

    /// Returns the number of sectors from `start` on that lie in [`WINDOW`] chunks. The first chunk
    /// may count in part.
    fn window_sectors(&self, start: u64) -> u64 {
        let end = self.device.shape().chunk(start).saturating_add(WINDOW);
        self.device.shape().sector(end).saturating_sub(start)
    }

    /// Passes on the part of a discard before the first needed chunk, or ends the part that is
    /// needed.
    fn map_discard<'a, T: Gated>(self: &'a Arc<Self>, mut bio: Incoming<'a, T>) -> Mapped<'a> {
        let span = bio.span();
        let chunks = self
            .device
            .shape()
            .outward(span.start, span.start + span.len);
        let Some(stay) = self.state.enter() else {
            return self.defer(bio);
        };
        if stay.marks.find(chunks, false).is_some() {
            let mut window = Chunks {
                start: chunks.start,
                end: chunks.end.min(chunks.start + WINDOW),
            };
            let needed = self.first_needed(&stay, window);
            let drop_it = needed == Some(window.start);
            window.end = match needed {
                Some(_) if drop_it => window.start + 1,
                Some(needed) => needed,
                None => window.end,
            };
            bio.keep_first(
                self.device
                    .shape()
                    .sector(window.end)
                    .saturating_sub(span.start),
            );
            if drop_it {
                return bio.end(Status::OK);
            }
            if !self.is_announced(&stay, window) {
                drop(stay);
                return self.defer(bio);
            }
            if !self.mark_unneeded(&stay, window) {
                // No memory for the mark: not discarding is always right.
                return bio.end(Status::OK);
            }
        }
        *bio.state() = Some(stay.keep());
        bio.remap(self.device.origin(), span.start)
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
