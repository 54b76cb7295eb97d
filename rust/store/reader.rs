// SPDX-License-Identifier: GPL-2.0

//! Reading the log: the next record, and where the one after it is.
//!
//! A record is the next one if it is of this store and session, has the next number and the
//! checksum of the header before it, and is whole: its own checksum is right, and so is that of
//! each content behind it. Everything that reads a log reads it here: recovery, `preserve check`
//! and `preserve dump`.

#![forbid(unsafe_code)]

use crate::format::crc32c;
use crate::format::Block;
use crate::format::Entry;
use crate::format::Layout;
use crate::format::Record;
use crate::format::Superblock;
use crate::format::KIND_CONTENTS;
use crate::format::KIND_ENTRIES;
use crate::store::disk::Buffer;
use crate::store::disk::Disk;
use crate::store::log_end::LogPosition;
use crate::store::tail::Tail;
use kernel::prelude::*;

/// A log that is being read.
pub struct LogReader<'a> {
    superblock: &'a Superblock,
    layout: &'a Layout,
    /// Behind the last record.
    place: LogPosition,
    /// Records so far.
    records: u64,
    /// Records that are known to be whole: their contents are not read.
    trusted: u64,
    /// Records below this number are known to have been durable.
    durable: u64,
    /// The block of the ring in `ring`. It is read once, not before each record with contents.
    in_ring: Option<u64>,
    ring: Buffer,
    header: Buffer,
    content: Buffer,
}

impl<'a> LogReader<'a> {
    /// Begins to read at `place`; the contents of the first `trusted` records are not read. May
    /// sleep.
    ///
    /// Errors: `ENOMEM`.
    pub fn new(
        superblock: &'a Superblock,
        layout: &'a Layout,
        place: LogPosition,
        trusted: u64,
    ) -> Result<Self> {
        Ok(Self {
            superblock,
            layout,
            place,
            records: 0,
            trusted,
            durable: 0,
            in_ring: None,
            ring: Buffer::new()?,
            header: Buffer::new()?,
            content: Buffer::new()?,
        })
    }

    /// Returns the place behind the last record.
    pub fn place(&self) -> LogPosition {
        self.place
    }

    /// Returns the number of records so far.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Returns the blocks in which the next record may be: one of the ring, and one of the open
    /// segment.
    pub fn blocks(&self) -> (u64, Option<u64>) {
        let ring = self.layout.ring_block(self.place.ring);
        let content = self.place.content;
        (ring, (content < self.place.content_end).then_some(content))
    }

    /// Returns what stands behind the last record.
    pub fn tail(&self) -> Tail<'a> {
        Tail {
            superblock: self.superblock,
            layout: self.layout,
            place: self.place,
            durable: self.durable,
        }
    }

    /// Returns the next record and its first block; `None` behind the last whole one.
    ///
    /// Errors: those of reading `disk`.
    pub fn next<D: Disk>(&mut self, disk: &mut D) -> Result<Option<(u64, Record<'_>)>> {
        let (in_ring, in_segment) = self.blocks();
        if self.in_ring != Some(in_ring) {
            self.in_ring = None;
            self.ring.load(disk, in_ring)?;
            self.in_ring = Some(in_ring);
        }
        if self.is_next(self.ring.as_block()?, KIND_ENTRIES) {
            return self.take_entries(in_ring);
        }
        let Some(block) = in_segment else {
            return Ok(None);
        };
        self.header.load(disk, block)?;
        if !self.is_next(self.header.as_block()?, KIND_CONTENTS) {
            return Ok(None);
        }
        self.take_contents(disk, block)
    }

    /// Moves on behind the record with entries in the ring.
    fn take_entries(&mut self, block: u64) -> Result<Option<(u64, Record<'_>)>> {
        let Ok(record) = Record::from_block(self.ring.as_block()?) else {
            return Ok(None);
        };
        self.place = self.place.after_entries(record.checksum);
        for entry in record.raw_entries().filter_map(Entry::from_raw) {
            if let Entry::Segment { segment, .. } = entry {
                // A segment that does not exist takes no contents; replay refuses its entry.
                let start = self.layout.segment_start(segment);
                self.place.content = start.unwrap_or(0);
                self.place.content_end = start.map_or(0, |at| at + self.layout.segment_blocks);
            }
        }
        self.durable = self.durable.max(record.header.durable.get());
        self.records += 1;
        Ok(Some((block, record)))
    }

    /// Moves on behind the record with contents in the open segment, if it is whole.
    fn take_contents<D: Disk>(
        &mut self,
        disk: &mut D,
        block: u64,
    ) -> Result<Option<(u64, Record<'_>)>> {
        let Ok(record) = Record::from_block(self.header.as_block()?) else {
            return Ok(None);
        };
        let step = self.layout.chunk_blocks;
        if self.records >= self.trusted {
            let mut at = block + 1;
            for content in record.contents() {
                if content_checksum(disk, at, step, &mut self.content)? != content.checksum.get() {
                    return Ok(None);
                }
                at += step;
            }
        }
        let count = u64::from(record.header.count.get());
        self.place = self.place.after_contents(count, step, record.checksum);
        self.durable = self.durable.max(record.header.durable.get());
        self.records += 1;
        Ok(Some((block, record)))
    }

    /// Returns true if a block has the next record's header, of this kind.
    fn is_next(&self, block: &Block, kind: u32) -> bool {
        let Ok(record) = Record::from_block(block) else {
            return false;
        };
        let header = &record.header;
        header.store == self.superblock.store
            && header.session == self.superblock.session
            && header.sequence.get() == self.place.sequence
            && header.previous.get() == self.place.previous
            && header.kind.get() == kind
            && (kind == KIND_ENTRIES
                || u64::from(header.count.get()) <= self.place.room(self.layout.chunk_blocks))
    }
}

/// Returns the checksum of the content of `blocks` blocks at a position.
///
/// Errors: those of reading `disk`.
fn content_checksum<D: Disk>(
    disk: &mut D,
    position: u64,
    blocks: u64,
    buffer: &mut Buffer,
) -> Result<u32> {
    let mut checksum = 0;
    for at in position..position + blocks {
        checksum = crc32c(checksum, buffer.load(disk, at)?);
    }
    Ok(checksum)
}
