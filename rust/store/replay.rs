// SPDX-License-Identifier: GPL-2.0

//! Replay, for [recovery](crate::store::recover): how each kind of record changes the state, and
//! why.
//!
//! - Control entries (snapshots, drops, releases, the designation) of records below the image's
//!   `next` are in the image.
//! - A record of copies or of a gone chunk marks its chunks if its epoch is the present one at its
//!   place, whether or not a snapshot still wants them: the writes may have passed. A copy is
//!   indexed if a snapshot that is alive at that place wants it. A mark in the image does not
//!   prevent that, since it may come from behind that place.
//! - A region counts for its epoch, and for periods from the image's on.

#![forbid(unsafe_code)]

use crate::base::EUCLEAN;
use crate::format::Entry;
use crate::format::Layout;
use crate::format::Record;
use crate::format::KIND_CONTENTS;
use crate::format::MAX_NUMBER;
use crate::history::Change;
use crate::history::Epoch;
use crate::history::NewSnapshot;
use crate::history::Scope;
use crate::history::Snapshot;
use crate::maps::region;
use crate::maps::Bitmap;
use crate::maps::Chunks;
use crate::maps::Designation;
use crate::maps::Geometry;
use crate::store::log_end::LogPosition;
use crate::store::save::for_each_entry;
use crate::store::save::Checkpoint;
use crate::store::save::EpochCopies;
use kernel::prelude::*;
use kernel::sync::Arc;

/// What recovery found out along the way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Records replayed.
    pub records: u64,
    /// Contents indexed.
    pub contents: u64,
    /// Chunks marked because their region was dirty.
    pub guessed: u64,
    /// The log goes on behind a place that cannot be read: snapshots and tracking are lost.
    pub damaged: bool,
}

/// A log being replayed.
pub(super) struct Replay<'a, C> {
    layout: &'a Layout,
    shape: Geometry,
    state: Checkpoint<C>,
    /// Dirty regions of the present epoch.
    regions: Bitmap,
    /// The device's length, which none in the log may exceed.
    sectors: u64,
    new_copies: &'a dyn Fn() -> Result<Arc<C>>,
    replayed: Replayed,
}

impl<'a, C: EpochCopies> Replay<'a, C> {
    /// Begins with the state of a checkpoint, for a device of `sectors` sectors. May sleep.
    ///
    /// Errors: `ENOMEM`.
    pub(super) fn new(
        state: Checkpoint<C>,
        layout: &'a Layout,
        shape: Geometry,
        sectors: u64,
        new_copies: &'a dyn Fn() -> Result<Arc<C>>,
    ) -> Result<Self> {
        Ok(Self {
            layout,
            shape,
            regions: Bitmap::new(region::count(shape.chunks()))?,
            sectors,
            new_copies,
            state,
            replayed: Replayed::default(),
        })
    }

    /// Replays the record that begins at `block`.
    ///
    /// Errors: `EUCLEAN` for a record that is not valid, `EFBIG` for a device larger than this one,
    /// `ENOMEM`.
    pub(super) fn record(&mut self, block: u64, record: &Record<'_>) -> Result {
        match record.header.kind.get() {
            KIND_CONTENTS => self.contents(block, record)?,
            _ => self.entries(record)?,
        }
        self.replayed.records += 1;
        Ok(())
    }

    /// Ends the replay at `place`, behind the last record. Returns the state and the statistics.
    ///
    /// Errors: `EUCLEAN` if there is no epoch, `ENOMEM`.
    pub(super) fn finish(mut self, place: LogPosition) -> Result<(Checkpoint<C>, Replayed)> {
        self.settle()?;
        self.state.place = place;
        self.state.next = self.state.next.max(place.sequence);
        self.state.sectors = self.shape.sectors();
        Ok((self.state, self.replayed))
    }

    fn present(&self) -> Result<&Epoch<C>> {
        self.state.timeline.present().ok_or(EUCLEAN)
    }

    /// Indexes the contents of a record, and marks their chunks.
    fn contents(&mut self, block: u64, record: &Record<'_>) -> Result {
        let present = self.present()?;
        if record.header.epoch.get() != present.id {
            return Ok(());
        }
        let mut indexed = 0;
        let mut position = block + 1;
        for content in record.contents() {
            let chunk = content.chunk.get();
            if chunk >= self.shape.chunks() {
                return Err(EUCLEAN);
            }
            let copies = present.copies.as_ref();
            let copies = copies.filter(|copies| copies.position(chunk).is_none());
            if let Some(copies) = copies.filter(|_| self.state.timeline.needed_at_replay(chunk)) {
                let end = chunk + 1;
                copies.add(Chunks { start: chunk, end }, position)?;
                indexed += 1;
            }
            // Also if nobody wants the content any longer: the write that it made way for may have
            // passed, and bookmarks ask.
            self.mark(chunk)?;
            position += self.layout.chunk_blocks;
        }
        self.replayed.contents += indexed;
        Ok(())
    }

    /// Marks a chunk in the present epoch. Returns true if it was not marked before.
    fn mark(&self, chunk: u64) -> Result<bool> {
        if chunk >= self.shape.chunks() {
            return Err(EUCLEAN);
        }
        let marks = &self.present()?.marks;
        let end = chunk + 1;
        marks.prepare(Chunks { start: chunk, end })?;
        Ok(marks.set(chunk) == Some(false))
    }

    /// Applies the entries of a record, together.
    fn entries(&mut self, record: &Record<'_>) -> Result {
        let known = record.header.sequence.get() < self.state.next;
        let mut change = Change::NONE;
        let mut snapshot = None;
        for raw in record.raw_entries() {
            match Entry::from_raw(raw).ok_or(EUCLEAN)? {
                Entry::Segment { segment, epoch } => self.segment(segment, epoch)?,
                Entry::Region {
                    region,
                    epoch,
                    period,
                } => {
                    if epoch == self.present()?.id && period >= self.state.period {
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
                    self.settle()?;
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
        self.layout.segment_start(segment).ok_or(EUCLEAN)?;
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
    fn settle(&mut self) -> Result {
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
        let mut guessed = 0;
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
                    guessed += 1;
                }
            }
            from = dirty + 1;
        }
        self.replayed.guessed += guessed;
        Ok(())
    }
}
