// SPDX-License-Identifier: GPL-2.0

//! Making records for the [journal](crate::engine::log) of what waits there: entries first, those
//! of control operations before others, then contents.
//!
//! All here happens under the journal's lock. A record is launched as soon as it is made; which
//! come first, and how much is in each, follows from how many are in flight.

#![forbid(unsafe_code)]

use crate::dm::Io;
use crate::dm::Status;
use crate::engine::log::pending::Lane;
use crate::engine::log::Flight;
use crate::engine::log::Inner;
use crate::engine::log::Write;
use crate::engine::log::CONTENTS_IN_FLIGHT;
use crate::engine::log::IN_FLIGHT;
use crate::engine::write::copy::Copy;
use crate::engine::Engine;
use crate::format::Entry;
use crate::format::BLOCK_BYTES;
use crate::format::BLOCK_SECTORS;
use crate::format::MAX_CONTENTS;
use crate::store::Formed;
use crate::store::LogEnd;
use crate::store::RING_RESERVE;
use kernel::prelude::*;
use kernel::sync::atomic::Release;
use kernel::sync::Arc;

impl Engine {
    /// Makes records of what waits, as long as they can be written.
    pub(super) fn form_records(self: &Arc<Self>, inner: &mut Inner) {
        if self.log.has_failed() {
            let mut contents = inner.contents.take();
            while let Some(io) = contents.pop() {
                self.give_back_contents(io, true);
            }
            self.kick();
            return;
        }
        while !self.log.is_full(inner) {
            let formed = Lane::ALL
                .into_iter()
                .any(|lane| self.form_entries(inner, lane))
                || self.form_contents(inner);
            if !formed {
                break;
            }
        }
        let Some(book) = inner.book.as_ref() else {
            return;
        };
        if book.ring_room() < book.layout.ring_blocks / 2 {
            self.kick_checkpoint();
        }
    }

    fn form_entries(self: &Arc<Self>, inner: &mut Inner, lane: Lane) -> bool {
        let fitting = inner.queues[lane as usize].fitting();
        if fitting.0 == 0 {
            return false;
        }
        let Inner {
            book,
            queues,
            header,
            durable,
            ..
        } = inner;
        let (Some(book), Ok(block)) = (book.as_mut(), header.block()) else {
            return false;
        };
        let queue = &mut queues[lane as usize];
        let entries = queue.entries.get(..fitting.1).unwrap_or(&[]);
        let Some(formed) = book.entries(entries, *durable, lane.reserve(), block) else {
            // A checkpoint will make room.
            self.kick_checkpoint();
            return false;
        };
        queue.remove(fitting);
        self.launch(inner, formed, None)
    }

    /// Makes a record of the contents that wait, as many as fit.
    fn form_contents(self: &Arc<Self>, inner: &mut Inner) -> bool {
        let flights = inner.flights.iter();
        let with_contents =
            flights.filter(|flight| flight.has_contents && flight.written.is_none());
        if with_contents.count() >= CONTENTS_IN_FLIGHT {
            return false;
        }
        let Some(mut io) = self.next_contents(inner) else {
            return false;
        };
        let step = self.store.step;
        let chunks = io.data.run.len();
        let room = inner.book.as_ref().map_or(0, LogEnd::room);
        if room < chunks && !self.open_segment(inner) {
            inner.contents.push_front(io);
            return false;
        }
        if inner.flights.len() >= IN_FLIGHT {
            // The segment's record took the last place.
            inner.contents.push_front(io);
            return true;
        }
        let Some(mut write) = inner.idle.pop() else {
            inner.contents.push_front(io);
            return false;
        };
        let (Some(place), room) = (
            inner.book.as_ref().map(LogEnd::place),
            inner.book.as_ref().map_or(0, LogEnd::room),
        ) else {
            return false;
        };
        inner.checksums.clear();
        let mut count = 0;
        loop {
            let chunks = io.data.run.len();
            // CAST: At most a gather's capacity.
            let bytes = (chunks * step) as u32 * BLOCK_BYTES as u32;
            let slot = io.data.slot;
            let fits = count + chunks <= room && self.add_checksums(inner, &io);
            if fits {
                io.data.position = place.content + 1 + count * step;
                io.data.reserved = 0;
            }
            match if fits { write.add(io, bytes) } else { Err(io) } {
                Ok(()) => {
                    count += chunks;
                    self.store
                        .with_segments(|segments| segments.unreserve(chunks));
                    // Each has counted a header of its own, and may now share one: space comes
                    // back.
                    self.woken.store(true, Release);
                    if let Some(unsettled) = inner.unsettled.get_mut(slot) {
                        *unsettled = Some(place);
                    }
                }
                Err(mut io) => {
                    (io.data.position, io.data.reserved) = (0, chunks);
                    // CAST: A count of contents.
                    inner.checksums.truncate(count as usize);
                    inner.contents.push_front(io);
                    break;
                }
            }
            io = match self.next_contents(inner) {
                Some(io) => io,
                None => break,
            };
        }
        let Inner {
            book,
            header,
            durable,
            checksums,
            epoch,
            ..
        } = inner;
        let formed = match (book.as_mut(), header.block()) {
            (Some(book), Ok(block)) => book.contents(*epoch, checksums, *durable, block),
            _ => None,
        };
        let Some(formed) = formed else {
            // Cannot be: a copy is never too long for a record, and there was room in the segment.
            let mut parts = write.take_parts();
            while let Some(io) = parts.pop() {
                self.give_back_contents(io, true);
            }
            inner.idle.push(write);
            return false;
        };
        self.store
            .with_segments(|segments| segments.used_of_current(1 + count * step));
        self.launch(inner, formed, Some(write))
    }

    /// The next contents that are still kept. Others go back without a position: those of another
    /// epoch, and, when the last snapshot is gone, all of them, as there is no segment for them any
    /// longer.
    fn next_contents(self: &Arc<Self>, inner: &mut Inner) -> Option<KBox<Io<Copy>>> {
        loop {
            let io = inner.contents.pop()?;
            if io.data.epoch() == inner.epoch && self.state.keeps_copies(inner.epoch) {
                return Some(io);
            }
            self.give_back_contents(io, false);
            // Nothing else might: no record is made of it.
            self.kick();
        }
    }

    /// Adds the chunks and checksums of a copy to those of the record; `false` when there is no
    /// room.
    fn add_checksums(&self, inner: &mut Inner, io: &Io<Copy>) -> bool {
        let run = io.data.run;
        // CAST: A length in memory.
        if inner.checksums.len() as u64 + run.len() > MAX_CONTENTS as u64 {
            return false;
        }
        // CAST: A chunk's size, at most 1 MiB.
        let bytes = self.device.shape().chunk_bytes() as usize;
        for (n, chunk) in (0..).zip(run.start..run.end) {
            let checksum = io.checksum(n * bytes, bytes);
            // There is room.
            let _ = inner.checksums.push_within_capacity((chunk, checksum));
        }
        true
    }

    /// Takes a new segment for the present epoch, and logs that.
    fn open_segment(self: &Arc<Self>, inner: &mut Inner) -> bool {
        let epoch = inner.epoch;
        let book = inner.book.as_ref();
        if inner.idle.is_empty() || book.is_none_or(|book| book.ring_room() <= RING_RESERVE) {
            self.kick_checkpoint();
            return false;
        }
        let timeline = self.state.timeline();
        let copies = timeline
            .present()
            .filter(|present| present.id == epoch)
            .and_then(|present| present.copies.as_ref());
        let Some(segment) = copies.and_then(|copies| copies.open_segment()) else {
            // No memory, or the last snapshot has just gone. What waits is looked at again behind a
            // checkpoint.
            self.kick_checkpoint();
            return false;
        };
        inner.segments_left = inner.segments_left.saturating_sub(1);
        if inner.segments_left == 0 {
            self.kick_checkpoint();
        }
        let Inner {
            book,
            header,
            durable,
            ..
        } = inner;
        let entry = Entry::Segment { segment, epoch };
        let formed = match (book.as_mut(), header.block()) {
            (Some(book), Ok(block)) => book.entries(&[entry], *durable, 0, block),
            _ => None,
        };
        formed.is_some_and(|formed| self.launch(inner, formed, None))
    }

    /// Writes a record lane header has been made.
    fn launch(self: &Arc<Self>, inner: &mut Inner, formed: Formed, write: Option<Write>) -> bool {
        let has_contents = write.is_some();
        let Some(mut write) = write.or_else(|| inner.idle.pop()) else {
            return false;
        };
        let set = inner
            .header
            .block()
            .and_then(|block| write.set_header(block));
        write.data.sequence = formed.sequence;
        write.data.status = Status::OK;
        write.data.engine = Some(self.clone());
        let flight = Flight {
            sequence: formed.sequence,
            tickets: [inner.queues[0].formed, inner.queues[1].formed],
            has_contents,
            written: None,
        };
        // There is room for all that can be in flight.
        if set.is_err() || inner.flights.push_within_capacity(flight).is_err() {
            self.log.set_failed();
        }
        write.submit(self.device.store(), formed.block * BLOCK_SECTORS);
        true
    }
}
