// SPDX-License-Identifier: GPL-2.0

//! Every preserved content against its record. That a walk through a segment ends is only a damage
//! if the index has a content behind that place.

#![forbid(unsafe_code)]

use kernel::error::code::EIO;
use kernel::error::Result;

use super::report::ContentsReport;
use super::report::Report;
use super::report::Rotten;
use crate::store::content;
use crate::store::Copies;
use crate::store::Epoch;
use crate::store::Known;
use crate::store::Store;
use crate::store::Walk;
use dm_preserve_core::format::Layout;
use dm_preserve_core::format::RawContent;
use dm_preserve_core::format::Superblock;
use dm_preserve_core::format::BLOCK_BYTES;
use dm_preserve_core::maps::Bitmap;
use dm_preserve_core::maps::Chunks;
use dm_preserve_core::store::save::for_each_entry;
use dm_preserve_core::store::EpochCopies;

/// What is said of a content without its checksum.
pub(super) const ROTTEN: &str = "is not what its checksum says";

/// Checks the contents of all epochs.
pub(super) fn check(
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
        let walk = Walk {
            superblock,
            layout,
            epoch: epoch.id,
        };
        let mut contents = Contents {
            layout,
            epoch,
            copies,
            seen: Bitmap::new(epoch.marks.len())?,
            counts: &mut counts,
            ends: Vec::new(),
        };
        for segment in copies.list() {
            contents.segment(store, &walk, segment, report)?;
        }
        contents.report_lost(report)?;
    }
    report.contents = Some(counts);
    Ok(())
}

struct Contents<'a> {
    layout: &'a Layout,
    epoch: &'a Epoch,
    copies: &'a Copies,
    /// Chunks whose content a record accounts for.
    seen: Bitmap,
    counts: &'a mut ContentsReport,
    /// Segments, sorted, and up to which block each could be followed.
    ends: Vec<(u64, u64)>,
}

impl Contents<'_> {
    fn segment(
        &mut self,
        store: &mut Store<'_>,
        walk: &Walk<'_>,
        segment: u64,
        report: &mut Report,
    ) -> Result {
        let walked = walk.segment(store, segment, &mut |store, content, at| {
            self.content(store, content, at, report)
        })?;
        let Some(walked) = walked else {
            return Ok(());
        };
        if let Some(why) = walked.unreadable {
            let text = format!("block {} cannot be read: {why}", walked.end);
            report.damage("contents", text);
        }
        self.ends.push((segment, walked.end));
        Ok(())
    }

    fn content(
        &mut self,
        store: &mut Store<'_>,
        content: RawContent,
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
        let mut buffer = content::buffer(self.layout);
        let what = match content::checksum(store, at, &mut buffer) {
            Ok(checksum) if checksum == content.checksum.get() => {
                self.counts.good += 1;
                return Ok(());
            }
            Ok(_) => {
                report.rotten.push(Rotten {
                    epoch: self.epoch.id,
                    chunk,
                    block: at,
                    checksum: content.checksum.get(),
                });
                ROTTEN.to_string()
            }
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
