// SPDX-License-Identifier: GPL-2.0

//! Makes records of what waits in the [log](crate::engine::log): entries first, those of control
//! operations before others, then contents.
//!
//! All here happens under the log's lock. A record is launched as soon as it is made; which
//! come first, and how much is in each, follows from how many are in flight.

#![forbid(unsafe_code)]

use crate::dm;
use crate::dm::Io;
use crate::dm::List;
use crate::dm::Status;
use crate::engine::log::contents::Copy;
use crate::engine::log::pending::Lane;
use crate::engine::log::Flight;
use crate::engine::log::Inner;
use crate::engine::log::Log;
use crate::engine::log::Write;
use crate::engine::log::CONTENTS_IN_FLIGHT;
use crate::engine::log::IN_FLIGHT;
use crate::format::Entry;
use crate::format::BLOCK_BYTES;
use crate::format::BLOCK_SECTORS;
use crate::format::MAX_CONTENTS;
use crate::store::Formed;
use crate::store::LogEnd;
use crate::store::RING_RESERVE;
use kernel::prelude::*;
use kernel::sync::Arc;

impl Log {
    /// Appends the contents of copies to the log, and makes records of them. What there is no room
    /// for goes on when a record is written, or when a checkpoint has freed some
    /// ([`Log::retire_soon`]).
    ///
    /// The copies come back as finished ones: with their positions once the record is durable, with
    /// an error if that fails, and without a position if their epoch has ended.
    pub(in crate::engine) fn append_contents(
        self: &Arc<Self>,
        contents: &mut List<KBox<Io<Copy>>>,
    ) {
        let mut inner = self.inner.lock();
        inner.contents.append(contents);
        self.form_records(&mut inner);
    }

    /// Gives contents back that wait for a record, as the log has failed.
    pub(in crate::engine) fn give_back_waiting(self: &Arc<Self>) {
        let mut inner = self.inner.lock();
        if !inner.contents.is_empty() {
            self.form_records(&mut inner);
        }
    }

    /// Makes records of what waits, as long as they can be written.
    pub(super) fn form_records(self: &Arc<Self>, inner: &mut Inner) {
        if self.has_failed() {
            let mut contents = inner.contents.take();
            while let Some(io) = contents.pop() {
                self.give_back_contents(io, true);
            }
            self.waker.look_again();
            return;
        }
        while !self.is_full(inner) {
            let formed = Lane::ALL
                .into_iter()
                .any(|lane| self.form_entries(inner, lane))
                || self.form_contents(inner);
            if !formed {
                break;
            }
        }
        let Some(end) = inner.end.as_ref() else {
            return;
        };
        if end.ring_room() < end.layout.ring_blocks / 2 {
            self.waker.start_checkpoint();
        }
    }

    fn form_entries(self: &Arc<Self>, inner: &mut Inner, lane: Lane) -> bool {
        let fitting = inner.queues[lane as usize].fitting();
        if fitting.0 == 0 {
            return false;
        }
        let Inner {
            end,
            queues,
            header,
            durable,
            ..
        } = inner;
        let (Some(end), Ok(block)) = (end.as_mut(), header.block()) else {
            return false;
        };
        let queue = &mut queues[lane as usize];
        let entries = queue.entries.get(..fitting.1).unwrap_or(&[]);
        let Some(formed) = end.entries(entries, *durable, lane.reserve(), block) else {
            // A checkpoint will make room.
            self.waker.start_checkpoint();
            return false;
        };
        queue.remove(fitting);
        self.launch(inner, formed, None)
    }

    /// Makes a record of the contents that wait, as many as fit. Returns true if a record was made.
    fn form_contents(self: &Arc<Self>, inner: &mut Inner) -> bool {
        let flights = inner.flights.iter();
        let with_contents =
            flights.filter(|flight| flight.has_contents && flight.written.is_none());
        if with_contents.count() >= CONTENTS_IN_FLIGHT {
            return false;
        }
        let Some(io) = self.next_contents(inner) else {
            return false;
        };
        let room = inner.end.as_ref().map_or(0, LogEnd::room);
        if room < io.data.run.len() && !self.open_segment(inner) {
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
        self.gather_contents(inner, &mut write, io);
        self.launch_contents(inner, write)
    }

    /// Adds contents to a record's write: `io`, and those that wait behind it, as many as fit.
    fn gather_contents(self: &Arc<Self>, inner: &mut Inner, write: &mut Write, io: KBox<Io<Copy>>) {
        let Some(place) = inner.end.as_ref().map(LogEnd::place) else {
            inner.contents.push_front(io);
            return;
        };
        let room = inner.end.as_ref().map_or(0, LogEnd::room);
        let step = self.space.step();
        inner.checksums.clear();
        let mut count = 0;
        let mut next = Some(io);
        while let Some(mut io) = next {
            let chunks = io.data.run.len();
            // CAST: At most a gather's capacity.
            let bytes = (chunks * step) as u32 * BLOCK_BYTES as u32;
            let slot = io.data.slot;
            let fits = count + chunks <= room && self.add_checksums(inner, &io);
            if fits {
                io.data.position = place.content + 1 + count * step;
                io.data.reserved = 0;
            }
            if let Err(mut io) = if fits { write.add(io, bytes) } else { Err(io) } {
                (io.data.position, io.data.reserved) = (0, chunks);
                // CAST: A count of contents.
                inner.checksums.truncate(count as usize);
                inner.contents.push_front(io);
                break;
            }
            // At once, or somebody else might be promised the same blocks; the first one takes the
            // header along.
            let blocks = chunks * step + u64::from(count == 0);
            self.space.with_segments(|segments| {
                segments.unreserve(chunks);
                segments.used_of_current(blocks);
            });
            count += chunks;
            // Each has counted a header of its own, and may now share one: space comes back.
            self.waker.note();
            if let Some(unsettled) = inner.unsettled.get_mut(slot) {
                *unsettled = Some(place);
            }
            next = self.next_contents(inner);
        }
    }

    /// Makes the header of a record with contents, and writes the record. Returns true if
    /// that could be done.
    fn launch_contents(self: &Arc<Self>, inner: &mut Inner, mut write: Write) -> bool {
        let Inner {
            end,
            header,
            durable,
            checksums,
            epoch,
            ..
        } = inner;
        let formed = match (end.as_mut(), header.block()) {
            (Some(end), Ok(block)) => end.contents(*epoch, checksums, *durable, block),
            _ => None,
        };
        let Some(formed) = formed else {
            // A copy is never too long for a record, and there was room in the segment.
            dm::bug("a record with contents does not fit: the store is given up");
            let mut parts = write.take_parts();
            while let Some(io) = parts.pop() {
                self.give_back_contents(io, true);
            }
            inner.idle.push(write);
            return false;
        };
        self.launch(inner, formed, Some(write))
    }

    /// Returns the next contents that are still wanted. Others go back without a position: those of
    /// another epoch, and all of them if the last snapshot is gone, as there is no segment for them
    /// any longer.
    fn next_contents(self: &Arc<Self>, inner: &mut Inner) -> Option<KBox<Io<Copy>>> {
        loop {
            let io = inner.contents.pop()?;
            if io.data.epoch == inner.epoch && self.state.keeps_copies(inner.epoch) {
                return Some(io);
            }
            self.give_back_contents(io, false);
            // Nothing else might: no record is made of it.
            self.waker.look_again();
        }
    }

    /// Adds the chunks and checksums of a copy to those of the record. Returns false if there is no
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
            if inner
                .checksums
                .push_within_capacity((chunk, checksum))
                .is_err()
            {
                dm::bug("there is no room for a record's checksums: it goes without them");
                return false;
            }
        }
        true
    }

    /// Takes a new segment for the present epoch, and logs that. Returns false if that cannot be
    /// done now.
    fn open_segment(self: &Arc<Self>, inner: &mut Inner) -> bool {
        let epoch = inner.epoch;
        let end = inner.end.as_ref();
        if inner.idle.is_empty() || end.is_none_or(|end| end.ring_room() <= RING_RESERVE) {
            self.waker.start_checkpoint();
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
            self.waker.start_checkpoint();
            return false;
        };
        inner.segments_left = inner.segments_left.saturating_sub(1);
        if inner.segments_left == 0 {
            self.waker.start_checkpoint();
        }
        let Inner {
            end,
            header,
            durable,
            ..
        } = inner;
        let entry = Entry::Segment { segment, epoch };
        let formed = match (end.as_mut(), header.block()) {
            (Some(end), Ok(block)) => end.entries(&[entry], *durable, 0, block),
            _ => None,
        };
        formed.is_some_and(|formed| self.launch(inner, formed, None))
    }

    /// Writes a record whose header has been made. Returns false if there is no free write for it.
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
        write.data.log = Some(self.clone());
        let flight = Flight {
            sequence: formed.sequence,
            tickets: [inner.queues[0].formed, inner.queues[1].formed],
            has_contents,
            written: None,
        };
        if set.is_err() || inner.flights.push_within_capacity(flight).is_err() {
            dm::bug("a record cannot be followed: the store is given up");
            self.set_failed();
        }
        write.submit(self.device.store(), formed.block * BLOCK_SECTORS);
        true
    }

    /// Gives contents back to the copier.
    pub(super) fn give_back_contents(&self, mut io: KBox<Io<Copy>>, failed: bool) {
        io.data.status = match failed {
            true => Status::IO_ERROR,
            false => Status::OK,
        };
        self.returned.push(io);
    }
}
