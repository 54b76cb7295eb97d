// SPDX-License-Identifier: GPL-2.0

//! What stands behind the last whole record of a log: nothing that counts, or the rest of a damaged
//! log?
//!
//! When the power goes, records in flight are lost or torn, in any order, and replay stops at the
//! first of them. None of those behind it can say that it was durable. So a record that does say so
//! is proof that the missing one was whole once: damage, and everything behind it is lost.
//!
//! Such records are looked for
//!
//! - in the ring,
//! - in the rest of the segment in which the log stops,
//! - in the segments that later records of the ring name,
//! - and if the block in the ring where the next record would be has something that is not a
//!   record, in all segments: it may have named one. (A block of zeroes is what the ring is
//!   formatted with, so there the search ends. That is the one case in which damage goes unnoticed:
//!   the last segment's record wiped out, and nothing in the ring since.)

#![forbid(unsafe_code)]

use crate::base::EUCLEAN;
use crate::format::Block;
use crate::format::Entry;
use crate::format::Invalid;
use crate::format::Layout;
use crate::format::Record;
use crate::format::Superblock;
use crate::format::KIND_CONTENTS;
use crate::format::KIND_ENTRIES;
use crate::maps::Bitmap;
use crate::maps::Chunks;
use crate::store::disk::Buffer;
use crate::store::disk::Disk;
use crate::store::log_end::LogPosition;
use kernel::prelude::*;

/// What stands behind the last whole record.
pub struct Tail<'a> {
    /// The store's superblock.
    pub superblock: &'a Superblock,
    /// The store's layout.
    pub layout: &'a Layout,
    /// Behind the last whole record.
    pub place: LogPosition,
    /// Records below this number are known to have been durable.
    pub durable: u64,
}

/// What is called with each record of a tail and its block. Returns true to stop.
type Visitor<'v> = dyn FnMut(u64, &Record<'_>) -> bool + 'v;

impl Tail<'_> {
    /// Returns true if a record behind the end shows that the missing record was durable once.
    ///
    /// Errors: those of reading `disk`, `ENOMEM`, `EUCLEAN` for a segment that does not exist.
    pub fn is_damaged<D: Disk>(&self, disk: &mut D) -> Result<bool> {
        if self.durable > self.place.sequence {
            return Ok(true);
        }
        self.visit(disk, &mut |_, record| self.is_proof(record))
    }

    /// Returns true if a record could only be written after the missing one was durable.
    pub fn is_proof(&self, record: &Record<'_>) -> bool {
        record.header.durable.get() > self.place.sequence
    }

    /// Calls `each` with the records of this session from the missing one's number on, until it
    /// returns true. Returns true if it did.
    ///
    /// Errors: as [`Tail::is_damaged`].
    pub fn visit<D: Disk>(&self, disk: &mut D, each: &mut Visitor<'_>) -> Result<bool> {
        let mut buffer = Buffer::new()?;
        let named = Bitmap::new(self.layout.segments)?;
        if self.visit_ring(disk, &mut buffer, &named, each)?
            || self.visit_blocks(
                disk,
                &mut buffer,
                self.place.content..self.place.content_end,
                each,
            )?
        {
            return Ok(true);
        }
        self.name_begun_segments(disk, &mut buffer, &named)?;
        let mut from = 0;
        let end = named.len();
        while let Some(segment) = named.find(Chunks { start: from, end }, true) {
            let start = self.layout.segment_start(segment).ok_or(EUCLEAN)?;
            let blocks = start..start + self.layout.segment_blocks;
            if self.visit_blocks(disk, &mut buffer, blocks, each)? {
                return Ok(true);
            }
            from = segment + 1;
        }
        Ok(false)
    }

    /// Visits the ring's records; `named` gets the segments that they name.
    fn visit_ring<D: Disk>(
        &self,
        disk: &mut D,
        buffer: &mut Buffer,
        named: &Bitmap,
        each: &mut Visitor<'_>,
    ) -> Result<bool> {
        for n in 0..self.layout.ring_blocks {
            let at = self.layout.ring_start + n;
            let Some(record) = self.later(buffer.load(disk, at)?, KIND_ENTRIES) else {
                continue;
            };
            if each(at, &record) {
                return Ok(true);
            }
            for entry in record.raw_entries().filter_map(Entry::from_raw) {
                if let Entry::Segment { segment, .. } = entry {
                    named.merge(segment - segment % 64, 1 << (segment % 64))?;
                }
            }
        }
        Ok(false)
    }

    /// Visits the records in a segment. Each block is looked at, since without the missing record
    /// nobody knows where the next one is.
    fn visit_blocks<D: Disk>(
        &self,
        disk: &mut D,
        buffer: &mut Buffer,
        blocks: core::ops::Range<u64>,
        each: &mut Visitor<'_>,
    ) -> Result<bool> {
        for at in blocks {
            let record = self.later(buffer.load(disk, at)?, KIND_CONTENTS);
            if record.is_some_and(|record| each(at, &record)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Adds the segments that begin with a record of this session that is too late, if the missing
    /// record may have named one: if the ring's block where it would be has something that is not a
    /// record.
    fn name_begun_segments<D: Disk>(
        &self,
        disk: &mut D,
        buffer: &mut Buffer,
        named: &Bitmap,
    ) -> Result {
        let next = buffer.load(disk, self.layout.ring_block(self.place.ring))?;
        if matches!(Record::from_block(next), Ok(_) | Err(Invalid::Blank)) {
            return Ok(());
        }
        for segment in 0..self.layout.segments {
            let Some(start) = self.layout.segment_start(segment) else {
                return Ok(());
            };
            if self
                .later(buffer.load(disk, start)?, KIND_CONTENTS)
                .is_some()
            {
                named.merge(segment - segment % 64, 1 << (segment % 64))?;
            }
        }
        Ok(())
    }

    /// Returns the record in a block, if it is one of this session from the missing one's number
    /// on.
    fn later<'b>(&self, block: &'b Block, kind: u32) -> Option<Record<'b>> {
        let record = Record::from_block(block).ok()?;
        let header = &record.header;
        let later = header.store == self.superblock.store
            && header.session == self.superblock.session
            && header.sequence.get() >= self.place.sequence
            && header.kind.get() == kind;
        later.then_some(record)
    }
}
