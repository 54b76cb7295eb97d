// SPDX-License-Identifier: GPL-2.0

//! What lies beyond the place where replay stopped: nothing that counts, or the rest of a damaged log?
//!
//! When the power goes, records in flight are lost or torn, in any order, and replay stops at the first of
//! them. None of those behind it can say that it was durable. So a record that does say so is proof that the
//! missing one was whole once: damage, and everything behind it is lost.
//!
//! Such records are looked for
//!
//! - in the ring,
//! - in the rest of the segment in which the log stops,
//! - in the segments that later records of the ring name,
//! - and if the block in the ring where the next record would be has something that is not a record, in all segments:
//!   it may have named one. (A block of zeroes is what the ring is formatted with, so there the search ends. That is
//!   the one case in which damage goes unnoticed: the last segment's record wiped out, and nothing in the ring since.)

#![forbid(unsafe_code)]

use crate::bitmap::Bitmap;
use crate::chunk::Chunks;
use crate::disk::Buffer;
use crate::disk::Disk;
use crate::entry::Entry;
use crate::errors::EUCLEAN;
use crate::layout::Layout;
use crate::logbook::Place;
use crate::ondisk::Block;
use crate::ondisk::Invalid;
use crate::ondisk::Record;
use crate::ondisk::Superblock;
use crate::ondisk::KIND_CONTENTS;
use crate::ondisk::KIND_ENTRIES;
use kernel::prelude::*;

/// Where replay stopped, and what it knows.
pub(crate) struct End<'a> {
    /// The store's.
    pub(crate) superblock: &'a Superblock,
    /// The store's.
    pub(crate) layout: &'a Layout,
    /// Behind the last whole record.
    pub(crate) place: Place,
    /// Records below this are known to have been durable.
    pub(crate) durable: u64,
}

impl End<'_> {
    /// Whether there is a record that could only be written when one was durable that cannot be read now.
    pub(crate) fn goes_on<D: Disk>(&self, disk: &mut D) -> Result<bool> {
        if self.durable > self.place.sequence {
            return Ok(true);
        }
        let mut buffer = Buffer::new()?;
        let named = Bitmap::new(self.layout.segments)?;
        if self.in_ring(disk, &mut buffer, &named)?
            || self.in_blocks(
                disk,
                &mut buffer,
                self.place.content,
                self.place.content_end,
            )?
        {
            return Ok(true);
        }
        let mut from = 0;
        let end = named.len();
        while let Some(segment) = named.find(Chunks { start: from, end }, true) {
            let start = self.layout.segment_start(segment).ok_or(EUCLEAN)?;
            let end = start + self.layout.segment_blocks;
            if self.in_blocks(disk, &mut buffer, start, end)? {
                return Ok(true);
            }
            from = segment + 1;
        }
        self.in_any_segment(disk, &mut buffer)
    }

    /// Looks through the ring; `named` gets the segments that later records there name.
    fn in_ring<D: Disk>(&self, disk: &mut D, buffer: &mut Buffer, named: &Bitmap) -> Result<bool> {
        for n in 0..self.layout.ring_blocks {
            let block = buffer.load(disk, self.layout.ring_start + n)?;
            let Some(record) = self.later(block, KIND_ENTRIES) else {
                continue;
            };
            if self.is_proof(&record) {
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

    /// Looks at each block of a segment, since without the missing record nobody knows where the next one is.
    fn in_blocks<D: Disk>(
        &self,
        disk: &mut D,
        buffer: &mut Buffer,
        from: u64,
        to: u64,
    ) -> Result<bool> {
        for at in from..to {
            let record = self.later(buffer.load(disk, at)?, KIND_CONTENTS);
            if record.is_some_and(|record| self.is_proof(&record)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Looks through the segments that begin with a record of this session that is too late.
    fn in_any_segment<D: Disk>(&self, disk: &mut D, buffer: &mut Buffer) -> Result<bool> {
        let next = buffer.load(disk, self.layout.ring_block(self.place.ring))?;
        if matches!(Record::from_block(next), Ok(_) | Err(Invalid::Blank)) {
            return Ok(false);
        }
        for segment in 0..self.layout.segments {
            let Some(start) = self.layout.segment_start(segment) else {
                return Ok(false);
            };
            let first = self.later(buffer.load(disk, start)?, KIND_CONTENTS);
            let end = match first {
                Some(_) => start + self.layout.segment_blocks,
                None => start,
            };
            if self.in_blocks(disk, buffer, start, end)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The record in a block, if it is one of this session behind the place where the log stops.
    fn later<'b>(&self, block: &'b Block, kind: u32) -> Option<Record<'b>> {
        let record = Record::from_block(block).ok()?;
        let header = &record.header;
        let later = header.store == self.superblock.store
            && header.session.get() == self.superblock.session.get()
            && header.sequence.get() > self.place.sequence
            && header.kind.get() == kind;
        later.then_some(record)
    }

    /// Whether a record could only be written when the one that is missing was durable.
    fn is_proof(&self, record: &Record<'_>) -> bool {
        record.header.durable.get() > self.place.sequence
    }
}
