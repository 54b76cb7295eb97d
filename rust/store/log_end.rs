// SPDX-License-Identifier: GPL-2.0

//! The end of the log: where its next record goes, and how that is chained to the one before.
//!
//! Records have numbers without gaps. Those with entries follow one another in the ring, those with
//! contents in the segment that the latest [`Entry::Segment`] names. Each has the checksum of the
//! header before it, so that what an earlier session left behind is never taken for the
//! continuation.
//!
//! This file makes header blocks; it does no I/O. A reader follows the same [`LogPosition`]s
//! (see [`recover`](crate::store::recover)).

#![forbid(unsafe_code)]

use crate::format::record_block;
use crate::format::Block;
use crate::format::Entry;
use crate::format::Layout;
use crate::format::RawContent;
use crate::format::RecordHeader;
use crate::format::KIND_CONTENTS;
use crate::format::KIND_ENTRIES;
use crate::format::MAX_CONTENTS;
use zerocopy::little_endian::U32;
use zerocopy::little_endian::U64;

/// A place between two records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogPosition {
    /// Number of the record that comes next.
    pub sequence: u64,
    /// How many records the ring has taken since formatting.
    pub ring: u64,
    /// Where the next contents go, in blocks, and the end of the segment; equal when there is no
    /// room.
    pub content: u64,
    /// See `content`.
    pub content_end: u64,
    /// Checksum of the last header; 0 for the first of a session.
    pub previous: u32,
}

impl LogPosition {
    /// Returns the number of contents that fit at the place.
    pub fn room(&self, chunk_blocks: u64) -> u64 {
        let blocks = self.content_end.saturating_sub(self.content);
        let contents = blocks.saturating_sub(1).checked_div(chunk_blocks);
        // CAST: A small constant.
        contents.unwrap_or(0).min(MAX_CONTENTS as u64)
    }

    /// Returns the place behind a record with `count` contents.
    pub fn after_contents(self, count: u64, chunk_blocks: u64, checksum: u32) -> Self {
        Self {
            sequence: self.sequence + 1,
            content: self.content + 1 + count * chunk_blocks,
            previous: checksum,
            ..self
        }
    }

    /// Returns the place behind a record with entries.
    pub fn after_entries(self, checksum: u32) -> Self {
        Self {
            sequence: self.sequence + 1,
            ring: self.ring + 1,
            previous: checksum,
            ..self
        }
    }
}

/// Ring blocks reserved for control records (snapshot, drop), so that the copier cannot fill the
/// ring.
pub const RING_RESERVE: u64 = 12;

/// Where a record goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Formed {
    /// Its number.
    pub sequence: u64,
    /// Its first block.
    pub block: u64,
}

/// The log's end.
pub struct LogEnd {
    store: [u8; 16],
    session: u64,
    /// Where things are in the store.
    pub layout: Layout,
    place: LogPosition,
    /// Records of the ring that are needed: from this on.
    tail: u64,
}

impl LogEnd {
    /// Returns the end of a log whose next record goes to `place`. Nothing in the ring is needed.
    pub fn new(store: [u8; 16], session: u64, layout: Layout, place: LogPosition) -> Self {
        Self {
            store,
            session,
            layout,
            place,
            tail: place.ring,
        }
    }

    /// Returns the place that the next record goes to.
    pub fn place(&self) -> LogPosition {
        self.place
    }

    /// Returns the number of free blocks in the ring.
    pub fn ring_room(&self) -> u64 {
        let used = self.place.ring.saturating_sub(self.tail);
        self.layout.ring_blocks.saturating_sub(used)
    }

    /// Frees the ring before `place`, which a durable checkpoint no longer needs.
    pub fn trim(&mut self, place: &LogPosition) {
        self.tail = self.tail.max(place.ring);
    }

    /// Returns the number of contents that fit into the open segment.
    pub fn room(&self) -> u64 {
        self.place.room(self.layout.chunk_blocks)
    }

    fn header(&self, kind: u32, epoch: u64, durable: u64) -> RecordHeader {
        RecordHeader {
            store: self.store,
            sequence: U64::new(self.place.sequence),
            session: U64::new(self.session),
            epoch: U64::new(epoch),
            durable: U64::new(durable),
            previous: U32::new(self.place.previous),
            kind: U32::new(kind),
            count: U32::new(0),
            reserved: U32::new(0),
        }
    }

    /// Makes a record of entries, at most [`MAX_ENTRIES`](crate::format::MAX_ENTRIES). Returns
    /// `None` unless more than `reserve` blocks of the ring are free. Every record below number
    /// `durable` must be durable.
    pub fn entries(
        &mut self,
        entries: &[Entry],
        durable: u64,
        reserve: u64,
        block: &mut Block,
    ) -> Option<Formed> {
        if self.ring_room() <= reserve {
            return None;
        }
        let formed = Formed {
            sequence: self.place.sequence,
            block: self.layout.ring_block(self.place.ring),
        };
        let header = self.header(KIND_ENTRIES, 0, durable);
        let raw = entries.iter().map(|entry| entry.to_raw());
        let checksum = record_block(block, header, raw);
        self.place = self.place.after_entries(checksum);
        for entry in entries {
            if let Entry::Segment { segment, .. } = entry {
                self.open(*segment);
            }
        }
        Some(formed)
    }

    fn open(&mut self, segment: u64) {
        if let Some(start) = self.layout.segment_start(segment) {
            self.place.content = start;
            self.place.content_end = start + self.layout.segment_blocks;
        }
    }

    /// Closes the open segment. The next contents go to a segment that is still to be named.
    pub fn close_segment(&mut self) {
        self.place.content = 0;
        self.place.content_end = 0;
    }

    /// Makes the header of a record with contents of an epoch, given as chunks and checksums.
    /// Returns `None` if they do not fit into the open segment. Every record below number `durable`
    /// must be durable.
    pub fn contents(
        &mut self,
        epoch: u64,
        contents: &[(u64, u32)],
        durable: u64,
        block: &mut Block,
    ) -> Option<Formed> {
        // CAST: A count in memory.
        let count = contents.len() as u64;
        if count == 0 || count > self.room() {
            return None;
        }
        let formed = Formed {
            sequence: self.place.sequence,
            block: self.place.content,
        };
        let header = self.header(KIND_CONTENTS, epoch, durable);
        let entries = contents.iter().map(|(chunk, checksum)| RawContent {
            chunk: U64::new(*chunk),
            checksum: U32::new(*checksum),
            reserved: U32::new(0),
        });
        let checksum = record_block(block, header, entries);
        self.place = self
            .place
            .after_contents(count, self.layout.chunk_blocks, checksum);
        Some(formed)
    }
}
