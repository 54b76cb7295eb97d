// SPDX-License-Identifier: GPL-2.0

//! Every preserved content against its record.
//!
//! A segment begins with a record's header; contents follow, then the next header, and so on. What does not go on like
//! that (another epoch's, an earlier session's, torn) ends the walk; it is only a damage if the index has a
//! content behind that place.

#![forbid(unsafe_code)]

use kernel::error::code::EIO;
use kernel::error::Result;

use crate::bitmap::Bitmap;
use crate::chunk::Chunks;
use crate::copies::Copies;
use crate::copies::Epoch;
use crate::copies::Known;
use crate::disk::Buffer;
use crate::follow;
use crate::layout::Layout;
use crate::ondisk::Content;
use crate::ondisk::Record;
use crate::ondisk::Superblock;
use crate::ondisk::BLOCK_BYTES;
use crate::ondisk::KIND_CONTENTS;
use crate::recover::for_each_entry;
use crate::report::ContentsReport;
use crate::report::Report;
use crate::saved::Stored;
use crate::store::Store;

/// Checks the contents of all epochs.
pub(crate) fn check(
    store: &mut Store<'_>,
    superblock: &Superblock,
    layout: &Layout,
    known: &Known,
    report: &mut Report,
) -> Result {
    let epochs = || known.timeline.epochs(0, u64::MAX);
    let wanted = epochs().filter_map(|epoch| Some(epoch.copies.as_ref()?.len()));
    let bytes = wanted.sum::<u64>() * layout.chunk_blocks * BLOCK_BYTES as u64;
    store.progress.part("contents", Some(bytes));
    let mut counts = ContentsReport::default();
    for epoch in epochs() {
        let Some(copies) = epoch.copies.as_deref() else {
            continue;
        };
        let mut walk = Walk {
            superblock,
            layout,
            epoch,
            copies,
            seen: Bitmap::new(epoch.marks.len())?,
            counts: &mut counts,
            ends: Vec::new(),
        };
        for segment in copies.list() {
            walk.segment(store, segment, report)?;
        }
        walk.report_lost(report)?;
    }
    report.contents = Some(counts);
    Ok(())
}

struct Walk<'a> {
    superblock: &'a Superblock,
    layout: &'a Layout,
    epoch: &'a Epoch,
    copies: &'a Copies,
    /// Chunks whose content a record accounts for.
    seen: Bitmap,
    counts: &'a mut ContentsReport,
    /// Segments, sorted, and up to which block each could be followed.
    ends: Vec<(u64, u64)>,
}

impl Walk<'_> {
    fn segment(&mut self, store: &mut Store<'_>, segment: u64, report: &mut Report) -> Result {
        let Some(start) = self.layout.segment_start(segment) else {
            return Ok(());
        };
        let end = start + self.layout.segment_blocks;
        let mut buffer = Buffer::new()?;
        let mut at = start;
        // Session and number of the record before: both only rise.
        let mut before = (0, None);
        while at < end {
            let block = match buffer.load(store, at) {
                Ok(block) => block,
                Err(EIO) => {
                    let why = store.why();
                    report.damage("contents", format!("block {at} cannot be read: {why}"));
                    break;
                }
                Err(error) => return Err(error),
            };
            let Some(record) = self.record(block, end - at) else {
                break;
            };
            let header = record.header;
            let now = (header.session.get(), Some(header.sequence.get()));
            if now.0 < before.0 || now.1 <= before.1 {
                break;
            }
            before = now;
            at += 1;
            for content in record.contents() {
                self.content(store, content, at, report)?;
                at += self.layout.chunk_blocks;
            }
        }
        self.ends.push((segment, at));
        Ok(())
    }

    /// A record of this epoch that fits into so many blocks.
    fn record<'b>(&self, block: &'b crate::ondisk::Block, room: u64) -> Option<Record<'b>> {
        let record = Record::from_block(block).ok()?;
        let header = &record.header;
        let count = u64::from(header.count.get());
        let ours = header.store == self.superblock.store
            && header.kind.get() == KIND_CONTENTS
            && header.epoch.get() == self.epoch.id
            && header.session <= self.superblock.session
            && count * self.layout.chunk_blocks < room;
        ours.then_some(record)
    }

    fn content(
        &mut self,
        store: &mut Store<'_>,
        content: Content,
        at: u64,
        report: &mut Report,
    ) -> Result {
        let chunk = content.chunk.get();
        if self.copies.position(chunk) != Some(at) {
            self.counts.unused += 1;
            return Ok(());
        }
        let run = Chunks {
            start: chunk,
            end: chunk + 1,
        };
        self.seen.prepare(run)?;
        self.seen.set(chunk);
        let mut buffer = follow::content_buffer(self.layout);
        let what = match follow::checksum(store, at, &mut buffer) {
            Ok(checksum) if checksum == content.checksum.get() => {
                self.counts.good += 1;
                return Ok(());
            }
            Ok(_) => "is not what its checksum says".to_string(),
            Err(EIO) => format!("cannot be read: {}", store.why()),
            Err(error) => return Err(error),
        };
        self.counts.bad += 1;
        let epoch = self.epoch.id;
        let text = format!("the content of chunk {chunk} in epoch {epoch} (block {at}) {what}");
        report.damage("contents", text);
        Ok(())
    }

    /// Reports what the index has and no record does, as runs.
    fn report_lost(&mut self, report: &mut Report) -> Result {
        let mut lost = Vec::new();
        for_each_entry(self.copies, |run| {
            let mut from = run.start;
            while let Some(start) = self.seen.find(Chunks { start: from, ..run }, false) {
                let rest = Chunks { start, ..run };
                let end = self.seen.find(rest, true).unwrap_or(run.end);
                lost.push(Chunks { start, end });
                from = end;
            }
            Ok(())
        })?;
        for run in lost {
            self.counts.lost += run.len();
            let at = self.copies.position(run.start).unwrap_or(0);
            let (chunk, len, epoch) = (run.start, run.len(), self.epoch.id);
            let why = match self.end_of(at) {
                None => "in no segment of that epoch".to_string(),
                Some(end) if end <= at => format!("behind block {end}, which should have a record"),
                Some(_) => "in no record with these chunks".to_string(),
            };
            report.damage(
                "contents",
                format!("chunks {chunk}+{len} in epoch {epoch} (block {at}) are {why}"),
            );
        }
        Ok(())
    }

    /// Up to where the segment of a block could be followed, if the epoch owns it.
    fn end_of(&self, block: u64) -> Option<u64> {
        let segment = self.layout.segment_of(block)?;
        let found = self
            .ends
            .binary_search_by_key(&segment, |(known, _)| *known);
        found
            .ok()
            .and_then(|i| self.ends.get(i))
            .map(|(_, end)| *end)
    }
}
