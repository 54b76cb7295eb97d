// SPDX-License-Identifier: GPL-2.0

//! What a rollback to a snapshot has to write: rule 5 of the design, for each chunk.
//!
//! - not marked since the snapshot: the origin has the content;
//! - marked first in an epoch that has a copy: that is the content;
//! - marked first in an epoch without one: the content is *gone*;
//! - not protected at the snapshot: nobody knows.

#![forbid(unsafe_code)]

use kernel::error::Result;
use kernel::sync::Arc;

use crate::store::content;
use crate::store::Epoch;
use crate::store::Known;
use crate::store::Store;
use crate::store::Walk;
use dm_preserve_core::format::Layout;
use dm_preserve_core::format::RawContent;
use dm_preserve_core::format::Superblock;
use dm_preserve_core::history::Snapshot;
use dm_preserve_core::history::Timeline;
use dm_preserve_core::history::Whereabouts;
use dm_preserve_core::maps::Bitmap;
use dm_preserve_core::maps::Chunks;
use dm_preserve_core::maps::Designation;
use dm_preserve_core::maps::Geometry;
use dm_preserve_core::store::EpochCopies;

/// See the [module's documentation](self).
pub(super) struct Plan<'a> {
    known: &'a Known,
    superblock: &'a Superblock,
    layout: &'a Layout,
    snapshot: &'a Arc<Snapshot>,
    /// The device at the snapshot.
    pub(super) shape: Geometry,
    /// Chunks whose content is in the store.
    pub(super) wanted: Bitmap,
    /// Those of them whose content has been read, and is what was written.
    pub(super) good: Bitmap,
    /// Chunks whose content is on the origin.
    pub(super) unchanged: u64,
    /// Chunks that were not protected.
    pub(super) unprotected: u64,
    /// Chunks whose content is gone.
    pub(super) gone: Vec<Chunks>,
}

/// Sets a bit.
fn set(bitmap: &Bitmap, chunk: u64) -> Result {
    bitmap.prepare(Chunks {
        start: chunk,
        end: chunk + 1,
    })?;
    bitmap.set(chunk);
    Ok(())
}

/// Adds a chunk that comes behind all that are there.
fn push(runs: &mut Vec<Chunks>, chunk: u64) {
    match runs.last_mut() {
        Some(last) if last.end == chunk => last.end += 1,
        _ => runs.push(Chunks {
            start: chunk,
            end: chunk + 1,
        }),
    }
}

impl<'a> Plan<'a> {
    /// `shape` is that of the device at the snapshot.
    pub(super) fn new(
        known: &'a Known,
        superblock: &'a Superblock,
        layout: &'a Layout,
        snapshot: &'a Arc<Snapshot>,
        shape: Geometry,
    ) -> Result<Self> {
        let mut plan = Self {
            known,
            superblock,
            layout,
            snapshot,
            shape,
            wanted: Bitmap::new(shape.chunks())?,
            good: Bitmap::new(shape.chunks())?,
            unchanged: 0,
            unprotected: 0,
            gone: Vec::new(),
        };
        let all = Chunks {
            start: 0,
            end: shape.chunks(),
        };
        let mut rest = all;
        while !rest.is_empty() {
            rest.start = plan.look(rest)?;
        }
        Ok(plan)
    }

    /// The designation that decides what a reader of the snapshot sees: that of its instant, or if
    /// unprotected chunks are preserved too, that of now.
    fn visible(&self) -> &'a Designation {
        match self.snapshot.keep_unprotected {
            true => &self.known.designation,
            false => &self.snapshot.designation,
        }
    }

    /// Looks at the chunks that a run begins with; the one to go on with.
    fn look(&mut self, run: Chunks) -> Result<u64> {
        let (protected, end) = Timeline::<crate::store::Copies>::chunks_alike(self.visible(), run);
        let run = Chunks { end, ..run };
        if !protected {
            self.unprotected += run.len();
            return Ok(end);
        }
        let (place, end) = self.known.timeline.look_at_run(self.snapshot, run);
        match place {
            Whereabouts::Origin => self.unchanged += end - run.start,
            Whereabouts::Epoch(epoch) => {
                for chunk in run.start..end {
                    match epoch.copies.as_ref().and_then(|c| c.position(chunk)) {
                        Some(_) => set(&self.wanted, chunk)?,
                        None => push(&mut self.gone, chunk),
                    }
                }
            }
        }
        Ok(end)
    }

    /// Whether what an epoch's record has in a place is the content of its chunk at the snapshot.
    fn is_wanted(&self, epoch: &Epoch, chunk: u64, position: u64) -> bool {
        let copies = epoch.copies.as_ref();
        self.wanted.get(chunk)
            && copies.and_then(|copies| copies.position(chunk)) == Some(position)
            && matches!(self.known.timeline.look(self.snapshot, chunk),
                Whereabouts::Epoch(first) if first.id == epoch.id)
    }

    /// Reads every wanted content, and hands those that are what was written to `each`.
    pub(super) fn contents(
        &self,
        store: &mut Store<'_>,
        each: &mut dyn FnMut(u64, &[u8]) -> Result,
    ) -> Result {
        let mut buffer = content::buffer(self.layout);
        for epoch in self.known.timeline.epochs(self.snapshot.epoch, u64::MAX) {
            let walk = Walk {
                superblock: self.superblock,
                layout: self.layout,
                epoch: epoch.id,
            };
            let segments = epoch.copies.as_ref().map_or(Vec::new(), |c| c.list());
            for segment in segments {
                walk.segment(store, segment, &mut |store, content: RawContent, at| {
                    let chunk = content.chunk.get();
                    if !self.is_wanted(epoch, chunk, at) {
                        return Ok(());
                    }
                    match content::checksum(store, at, &mut buffer) {
                        Ok(found) if found == content.checksum.get() => each(chunk, &buffer),
                        // Damaged or unreadable: not one of the good ones.
                        _ => Ok(()),
                    }
                })?;
            }
        }
        Ok(())
    }

    /// Finds out which contents are good.
    pub(super) fn verify(&self, store: &mut Store<'_>) -> Result {
        self.contents(store, &mut |chunk, _| set(&self.good, chunk))
    }

    /// Chunks whose content should be in the store, but is damaged, or in no record.
    pub(super) fn damaged(&self) -> Vec<Chunks> {
        let mut runs = Vec::new();
        let mut rest = Chunks {
            start: 0,
            end: self.wanted.len(),
        };
        while let Some(chunk) = self.wanted.find(rest, true) {
            if !self.good.get(chunk) {
                push(&mut runs, chunk);
            }
            rest.start = chunk + 1;
        }
        runs
    }
}
