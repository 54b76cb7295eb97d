// SPDX-License-Identifier: GPL-2.0

//! Following the log from a place on, and what stands behind its end.
//!
//! [`recover`](crate::recover) replays a log and says what comes out; it does not show the records. This does, by
//! the same rules. That both come to the same end is checked wherever both are used.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;

use kernel::error::Result;

use crate::checksum::crc32c;
use crate::disk::Buffer;
use crate::disk::Disk;
use crate::entry::Entry;
use crate::layout::Layout;
use crate::logbook::Place;
use crate::ondisk::Block;
use crate::ondisk::Record;
use crate::ondisk::Superblock;
use crate::ondisk::BLOCK_BYTES;
use crate::ondisk::KIND_CONTENTS;
use crate::ondisk::KIND_ENTRIES;
use crate::store::Store;

/// A log that is being followed.
pub(crate) struct Follower<'a> {
    superblock: &'a Superblock,
    layout: &'a Layout,
    /// Behind the last record.
    pub(crate) place: Place,
    /// Records so far.
    pub(crate) records: u64,
    /// So many records are known to be whole; their contents need not be read.
    trusted: u64,
    buffer: Buffer,
}

/// A record behind the end.
pub(crate) struct Behind {
    pub(crate) block: u64,
    pub(crate) sequence: u64,
    /// It could only be written when the record at the end was durable.
    pub(crate) proves: bool,
}

impl<'a> Follower<'a> {
    pub(crate) fn new(
        superblock: &'a Superblock,
        layout: &'a Layout,
        place: Place,
        trusted: u64,
    ) -> Result<Self> {
        Ok(Self {
            superblock,
            layout,
            place,
            records: 0,
            trusted,
            buffer: Buffer::new()?,
        })
    }

    /// The two blocks in which the next record may be.
    pub(crate) fn places(&self) -> (u64, Option<u64>) {
        let ring = self.layout.ring_block(self.place.ring);
        let content = self.place.content;
        (ring, (content < self.place.content_end).then_some(content))
    }

    /// The next record and its block; `None` at the end of what is whole.
    pub(crate) fn next(&mut self, store: &mut Store<'_>) -> Result<Option<(u64, Record<'_>)>> {
        let (ring, content) = self.places();
        let in_ring = self.load(store, ring, KIND_ENTRIES)?;
        let block = match (in_ring, content) {
            (true, _) => ring,
            (false, Some(block)) if self.load(store, block, KIND_CONTENTS)? => block,
            _ => return Ok(None),
        };
        let Ok(record) = Record::from_block(self.buffer.block()?) else {
            return Ok(None);
        };
        if in_ring {
            self.place = self.place.after_entries(record.checksum);
            let segments = record.raw_entries().filter_map(Entry::from_raw);
            for entry in segments {
                let Entry::Segment { segment, .. } = entry else {
                    continue;
                };
                // One that does not exist takes no contents; recovery refuses it.
                let start = self.layout.segment_start(segment);
                self.place.content = start.unwrap_or(0);
                self.place.content_end = start.map_or(0, |at| at + self.layout.segment_blocks);
            }
        } else {
            if self.records >= self.trusted && !is_whole(store, self.layout, block, &record)? {
                return Ok(None);
            }
            let count = u64::from(record.header.count.get());
            let step = self.layout.chunk_blocks;
            self.place = self.place.after_contents(count, step, record.checksum);
        }
        self.records += 1;
        Ok(Some((block, record)))
    }

    /// Whether a block has the next record's header.
    fn load(&mut self, store: &mut Store<'_>, block: u64, kind: u32) -> Result<bool> {
        let fits = |block: &Block| {
            let Ok(record) = Record::from_block(block) else {
                return false;
            };
            let header = &record.header;
            let room = self.place.room(self.layout.chunk_blocks);
            header.store == self.superblock.store
                && header.session == self.superblock.session
                && header.sequence.get() == self.place.sequence
                && header.previous.get() == self.place.previous
                && header.kind.get() == kind
                && (kind == KIND_ENTRIES || u64::from(header.count.get()) <= room)
        };
        Ok(fits(self.buffer.load(store, block)?))
    }

    /// The records of this session from the end's number on: in the ring, in the segment where the log stops, and
    /// in those that later records of the ring name.
    pub(crate) fn behind(&self, store: &mut Store<'_>) -> Result<Vec<Behind>> {
        let mut buffer = Buffer::new()?;
        let mut found = Vec::new();
        let mut segments = BTreeSet::new();
        for at in self.layout.ring_start..self.layout.ring_start + self.layout.ring_blocks {
            let Some(record) = self.later(buffer.load(store, at)?) else {
                continue;
            };
            found.push(self.behind_at(at, &record));
            for entry in record.raw_entries().filter_map(Entry::from_raw) {
                if let Entry::Segment { segment, .. } = entry {
                    segments.insert(segment);
                }
            }
        }
        let starts = segments.into_iter();
        let named = starts.filter_map(|segment| self.layout.segment_start(segment));
        let named = named.flat_map(|start| start..start + self.layout.segment_blocks);
        for at in (self.place.content..self.place.content_end).chain(named) {
            if let Some(record) = self.later(buffer.load(store, at)?) {
                found.push(self.behind_at(at, &record));
            }
        }
        Ok(found)
    }

    /// The record in a block, if it is of this session and has the end's number or a later one.
    fn later<'b>(&self, block: &'b Block) -> Option<Record<'b>> {
        let record = Record::from_block(block).ok()?;
        let header = &record.header;
        let later = header.store == self.superblock.store
            && header.session == self.superblock.session
            && header.sequence.get() >= self.place.sequence;
        later.then_some(record)
    }

    fn behind_at(&self, block: u64, record: &Record<'_>) -> Behind {
        Behind {
            block,
            sequence: record.header.sequence.get(),
            proves: record.header.durable.get() > self.place.sequence,
        }
    }
}

/// Whether the contents behind a header are those that it names.
fn is_whole(
    store: &mut Store<'_>,
    layout: &Layout,
    block: u64,
    record: &Record<'_>,
) -> Result<bool> {
    let mut buffer = content_buffer(layout);
    // CAST: At most 256, as the layout is sound.
    let positions = (block + 1..).step_by(layout.chunk_blocks as usize);
    for (content, at) in record.contents().zip(positions) {
        if checksum(store, at, &mut buffer)? != content.checksum.get() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Room for a content.
pub(crate) fn content_buffer(layout: &Layout) -> Vec<u8> {
    // CAST: At most 256, as the layout is sound.
    vec![0; layout.chunk_blocks as usize * BLOCK_BYTES]
}

/// The checksum of the content at a position.
pub(crate) fn checksum(store: &mut Store<'_>, position: u64, buffer: &mut [u8]) -> Result<u32> {
    store.read(position, buffer)?;
    Ok(crc32c(0, buffer))
}
