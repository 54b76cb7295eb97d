// SPDX-License-Identifier: GPL-2.0

//! Replay, for [recovery](crate::recover): what each kind of record does to what is known, and why.
//!
//! - Control entries (snapshots, drops, releases, the designation) of records below the image's `next` are in the image.
//! - A copy or gone record marks its chunks if its epoch is the present one at its place, whoever wants them still: the
//!   writes may have passed. A copy is indexed if a snapshot alive there wants it. Whether the image has
//!   a mark for it is not asked, since marks in the image may come from after its place.
//! - A region counts for its epoch, and for checkpoint generations from the image's on.

#![forbid(unsafe_code)]

use crate::bitmap::Bitmap;
use crate::chunk::Chunks;
use crate::chunk::Geometry;
use crate::designation::Designation;
use crate::entry::Entry;
use crate::errors::EUCLEAN;
use crate::instant::NewSnapshot;
use crate::instant::Scope;
use crate::instant::Snapshot;
use crate::layout::Layout;
use crate::logbook::Place;
use crate::ondisk::Record;
use crate::ondisk::Superblock;
use crate::ondisk::MAX_NUMBER;
use crate::recover::Replayed;
use crate::region;
use crate::saved::for_each_entry;
use crate::saved::State;
use crate::saved::Stored;
use crate::timeline::Change;
use crate::timeline::Epoch;
use kernel::prelude::*;
use kernel::sync::Arc;

/// A log being replayed.
pub(crate) struct Replay<'a, C> {
    pub(crate) superblock: &'a Superblock,
    pub(crate) layout: &'a Layout,
    pub(crate) shape: Geometry,
    pub(crate) state: State<C>,
    /// Behind the last whole record.
    pub(crate) place: Place,
    /// Records below this are known to have been durable.
    pub(crate) durable: u64,
    /// Dirty regions of the present epoch.
    pub(crate) regions: Bitmap,
    /// The device's length, which none in the log may exceed.
    pub(crate) sectors: u64,
    pub(crate) new_copies: &'a dyn Fn() -> Result<Arc<C>>,
}

impl<C: Stored> Replay<'_, C> {
    fn present(&self) -> Result<&Epoch<C>> {
        self.state.timeline.present().ok_or(EUCLEAN)
    }

    /// A record's contents are indexed, and their chunks marked.
    pub(crate) fn contents(&mut self, record: &Record<'_>, replayed: &mut Replayed) -> Result {
        let present = self.present()?;
        if record.header.epoch.get() != present.id {
            return Ok(());
        }
        let mut position = self.place.content + 1;
        for content in record.contents() {
            let chunk = content.chunk.get();
            if chunk >= self.shape.chunks() {
                return Err(EUCLEAN);
            }
            let copies = present.copies.as_ref();
            let copies = copies.filter(|copies| copies.position(chunk).is_none());
            if let Some(copies) = copies.filter(|_| self.state.timeline.owes(chunk)) {
                let end = chunk + 1;
                copies.add(Chunks { start: chunk, end }, position)?;
                replayed.contents += 1;
            }
            // Also if nobody wants the content any longer: the write that it made way for may have passed,
            // and bookmarks ask.
            self.mark(chunk)?;
            position += self.layout.chunk_blocks;
        }
        Ok(())
    }

    /// Marks a chunk in the present epoch. Says whether it was not marked before.
    fn mark(&self, chunk: u64) -> Result<bool> {
        if chunk >= self.shape.chunks() {
            return Err(EUCLEAN);
        }
        let marks = &self.present()?.marks;
        let end = chunk + 1;
        marks.prepare(Chunks { start: chunk, end })?;
        Ok(marks.set(chunk) == Some(false))
    }

    /// A record's entries take effect together.
    pub(crate) fn entries(&mut self, record: &Record<'_>, replayed: &mut Replayed) -> Result {
        let known = record.header.sequence.get() < self.state.next;
        let mut change = Change::NONE;
        let mut snapshot = None;
        for raw in record.raw_entries() {
            match Entry::from_raw(raw).ok_or(EUCLEAN)? {
                Entry::Segment { segment, epoch } => self.segment(segment, epoch)?,
                Entry::Region {
                    region,
                    epoch,
                    generation,
                } => {
                    if epoch == self.present()?.id && generation >= self.state.generation {
                        self.regions
                            .merge(region - region % 64, 1 << (region % 64))?;
                    }
                }
                Entry::Gone { chunk, epoch } => {
                    if epoch == self.present()?.id {
                        self.mark(chunk)?;
                    }
                }
                _ if known => (),
                Entry::Epoch { epoch, sectors } => {
                    self.settle(replayed)?;
                    change.begin = Some(self.begin(epoch, sectors)?);
                }
                entry @ Entry::Snapshot { .. } => snapshot = Some(entry),
                Entry::DropUpTo(id) => change.drop_up_to = id,
                Entry::Drop(id) => change.drop = Some(id),
                Entry::Forget(id) => change.forget = Some(id),
                Entry::Release(id, run) => self.release(id, run)?,
                Entry::Protect(run, protected) => self.protect(run, protected)?,
                Entry::Narrow(id) => {
                    if let Some(snapshot) = self.state.timeline.snapshot(id) {
                        snapshot.narrow();
                    }
                }
            }
        }
        if let Some(entry) = snapshot {
            let epoch = change.begin.as_ref().ok_or(EUCLEAN)?.id;
            change.snapshot = Some(self.snapshot(entry, epoch)?);
        }
        self.apply(change)
    }

    fn segment(&mut self, segment: u64, epoch: u64) -> Result {
        let start = self.layout.segment_start(segment).ok_or(EUCLEAN)?;
        self.place.content = start;
        self.place.content_end = start + self.layout.segment_blocks;
        let present = self.present()?;
        let Some(copies) = present.copies.as_ref().filter(|_| present.id == epoch) else {
            // The epoch has ended, or nobody needs its copies; nor does anybody read them.
            return Ok(());
        };
        // The image has it already if it was opened between the cut and the image.
        match copies.has_segment(segment) {
            true => Ok(()),
            false => copies.add_segment(segment),
        }
    }

    fn begin(&mut self, epoch: u64, sectors: u64) -> Result<Epoch<C>> {
        if sectors > self.sectors {
            return Err(EFBIG);
        }
        let shape = self.shape.with_sectors(sectors).ok_or(EUCLEAN)?;
        if epoch <= self.present()?.id
            || epoch >= MAX_NUMBER
            || shape.sectors() < self.shape.sectors()
        {
            return Err(EUCLEAN);
        }
        self.shape = shape;
        self.regions = Bitmap::new(region::count(shape.chunks()))?;
        Ok(Epoch {
            id: epoch,
            marks: Arc::new(Bitmap::new(shape.chunks())?, GFP_KERNEL)?,
            copies: Some((self.new_copies)()?),
        })
    }

    fn snapshot(&mut self, entry: Entry, epoch: u64) -> Result<Arc<Snapshot>> {
        let Entry::Snapshot {
            id,
            time_ns,
            base,
            keep_unprotected,
            reset,
        } = entry
        else {
            return Err(EUCLEAN);
        };
        let scope = match base {
            0 => Scope::Full,
            base => self
                .state
                .timeline
                .scope_since(base, epoch)
                .map_err(|error| match error {
                    ENOENT | EOVERFLOW => EUCLEAN,
                    error => error,
                })?,
        };
        let snapshot = Snapshot::new(NewSnapshot {
            id,
            time_ns,
            epoch,
            designation: self.state.designation.clone(),
            scope,
            keep_unprotected,
            sectors: self.shape.sectors(),
            chunks: self.shape.chunks(),
            narrowed: false,
        })?;
        if let Some(default) = reset {
            self.state.designation = Arc::new(Designation::new(default), GFP_KERNEL)?;
        }
        if id < self.state.next_id || id >= MAX_NUMBER {
            return Err(EUCLEAN);
        }
        self.state.next_id = id + 1;
        Ok(snapshot)
    }

    fn apply(&mut self, change: Change<C>) -> Result {
        if change.is_none() {
            return Ok(());
        }
        for snapshot in self.state.timeline.snapshots() {
            if snapshot.id <= change.drop_up_to || change.drop == Some(snapshot.id) {
                snapshot.set_dropped();
            }
        }
        let new = self.state.timeline.changed(change)?;
        self.state.timeline = Arc::new(new, GFP_KERNEL)?;
        Ok(())
    }

    fn release(&mut self, id: u64, run: Chunks) -> Result {
        let Some(snapshot) = self.state.timeline.snapshot(id) else {
            return Ok(());
        };
        if run.end > snapshot.released.len() {
            return Err(EUCLEAN);
        }
        snapshot.released.set_run(run)
    }

    fn protect(&mut self, run: Chunks, protected: bool) -> Result {
        if run.end > self.shape.chunks() {
            return Err(EUCLEAN);
        }
        let edited = self.state.designation.edited(&[run], protected)?;
        self.state.designation = Arc::new(edited, GFP_KERNEL)?;
        Ok(())
    }

    /// Marks what may have been written in the present epoch.
    pub(crate) fn settle(&mut self, replayed: &mut Replayed) -> Result {
        let timeline = &self.state.timeline;
        let present = self.present()?;
        if let Some(copies) = &present.copies {
            for_each_entry(&**copies, |run| {
                for chunk in run.start..run.end {
                    self.mark(chunk)?;
                }
                Ok(())
            })?;
        }
        let mut from = 0;
        while let Some(dirty) = self.regions.find(
            Chunks {
                start: from,
                end: self.regions.len(),
            },
            true,
        ) {
            let run = region::chunks(dirty, self.shape.chunks());
            for chunk in run.start..run.end {
                if !present.marks.get(chunk) && !timeline.needs(chunk) && self.mark(chunk)? {
                    replayed.guessed += 1;
                }
            }
            from = dirty + 1;
        }
        Ok(())
    }
}
