// SPDX-License-Identifier: GPL-2.0

//! Recovery of what a crash has left, and the checks of what comes out.

#![forbid(unsafe_code)]

use super::copies::SimCopies;
use super::model::content;
use super::model::Model;
use super::model::Snap;
use super::Trap;
use dm_preserve_core::format::Layout;
use dm_preserve_core::format::Superblock;
use dm_preserve_core::format::BLOCK_SECTORS;
use dm_preserve_core::history::Whereabouts;
use dm_preserve_core::maps::Geometry;
use dm_preserve_core::store::load;
use dm_preserve_core::store::recover::recover;
use dm_preserve_core::store::superblocks::choose;
use dm_preserve_core::store::Checkpoint;
use dm_preserve_core::store::EpochCopies;
use dm_preserve_core::store::ImageReader;
use dm_preserve_core::store::Replayed;
use dm_preserve_core::store::Segments;
use dm_preserve_core::store::StoreKind;
use kernel::prelude::*;
use kernel::sync::Arc;
use sim::SimDisk;
use std::cell::Cell;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc as StdArc;

/// What is known from outside of a device.
#[derive(Clone)]
pub(crate) struct Known {
    /// What has been acknowledged.
    pub(crate) model: Model,
    /// What it will be when the control record on its way is durable.
    pub(crate) after: Option<Model>,
    /// Chunks for which a gone record was made, and the epochs.
    pub(crate) gone: BTreeSet<(u64, u64)>,
    /// Marks of the epochs that a checkpoint has saved as closed.
    pub(crate) exact: BTreeMap<u64, Vec<bool>>,
    /// For a trap: the chunks that the present epoch had copies of at an image's cut.
    pub(crate) copied_at_cut: BTreeMap<u64, BTreeSet<u64>>,
    pub(crate) trap: Option<Trap>,
    /// Segments that the store has, as the superblocks say that are durable.
    pub(crate) segments: u64,
    pub(crate) chunk_blocks: u64,
}

/// What came out.
pub(crate) struct Recovered {
    pub(crate) superblock: Superblock,
    pub(crate) layout: Layout,
    pub(crate) state: Checkpoint<SimCopies>,
    pub(crate) replayed: Replayed,
    pub(crate) returned: StdArc<RefCell<Vec<u64>>>,
    /// What the device is now known to be.
    pub(crate) model: Model,
}

impl Known {
    /// Recovers, and checks.
    pub(crate) fn check(&self, origin: &SimDisk, store: &mut SimDisk) -> Result<Recovered, String> {
        let found = choose(store).map_err(|trouble| format!("superblock: {trouble:?}"))?;
        let StoreKind::Store(superblock) = found else {
            return Err("the store is blank".into());
        };
        let layout = Layout::from_superblock(&superblock).ok_or("unsound layout")?;
        if layout.segments < self.segments {
            return Err("superblock: the store is smaller again".into());
        }
        let refused = match self.trap {
            Some(Trap::AskPresentMarks) => self.marked_in_image(store, &superblock, &layout)?,
            _ => (u64::MAX, BTreeSet::new()),
        };
        let returned = StdArc::new(RefCell::new(Vec::new()));
        let calls = Cell::new(0);
        let new_copies = || {
            calls.set(calls.get() + 1);
            let copies = SimCopies::new(self.chunk_blocks, &returned);
            let copies = match calls.get() == refused.0 {
                true => copies.refusing(refused.1.clone()),
                false => copies,
            };
            Ok(Arc::new(copies, GFP_KERNEL)?)
        };
        let sectors = origin.blocks() * BLOCK_SECTORS;
        let (state, replayed) = recover(store, &superblock, &layout, sectors, &new_copies)
            .map_err(|trouble| format!("recovery: {trouble:?}"))?;
        let state = state.ok_or(format!("nothing recovered: {replayed:?}"))?;
        let model = self.which(&state)?.clone();
        for snap in &model.snaps {
            self.check_snapshot(snap, &model, &state, origin, store)
                .map_err(|what| format!("snapshot {}: {what}", snap.id))?;
        }
        self.check_marks(&state)?;
        check_segments(&state, &layout)?;
        Ok(Recovered {
            superblock,
            layout,
            state,
            replayed,
            returned,
            model,
        })
    }

    /// For a trap: the chunks that the image has marks for, but would have no copies of if its
    /// index were that of the cut; and the number of their epoch.
    fn marked_in_image(
        &self,
        store: &mut SimDisk,
        superblock: &Superblock,
        layout: &Layout,
    ) -> Result<(u64, BTreeSet<u64>), String> {
        let (area, number) = (superblock.image_area.get(), superblock.image_number.get());
        let used = superblock.image_used.get();
        let calls = Cell::new(0);
        let new_copies = || {
            calls.set(calls.get() + 1);
            let copies = SimCopies::new(self.chunk_blocks, &StdArc::default());
            Ok(Arc::new(copies, GFP_KERNEL)?)
        };
        let shape = Geometry::new(superblock.origin_sectors.get(), self.chunk_blocks * 8).unwrap();
        let mut reader = ImageReader::new(store, superblock.store, layout, area, number, used)
            .map_err(|error| format!("{error:?}"))?;
        let state = load::load(&mut reader, shape, layout, &new_copies)
            .map_err(|error| format!("{error:?}"))?;
        let present = state.timeline.present().ok_or("no epoch")?;
        if present.copies.is_none() {
            return Ok((u64::MAX, BTreeSet::new()));
        }
        let copied = self.copied_at_cut.get(&number).ok_or("unknown image")?;
        let marked = self.model.hot.iter().copied();
        let marked = marked.filter(|c| present.marks.get(*c) && !copied.contains(c));
        Ok((calls.get(), marked.collect()))
    }

    /// The device must be as it was acknowledged, or as it was about to become.
    fn which(&self, state: &Checkpoint<SimCopies>) -> Result<&Model, String> {
        let sectors = self.chunk_blocks * 8;
        let before = self.model.same_as(state, sectors);
        match (&before, &self.after) {
            (Ok(()), _) => Ok(&self.model),
            (Err(_), Some(after)) => match after.same_as(state, sectors) {
                Ok(()) => Ok(after),
                Err(other) => Err(format!("neither before ({before:?}) nor after ({other})")),
            },
            (Err(what), None) => Err(what.clone()),
        }
    }

    /// I1 and I3, for one snapshot or bookmark.
    fn check_snapshot(
        &self,
        snap: &Snap,
        model: &Model,
        state: &Checkpoint<SimCopies>,
        origin: &SimDisk,
        store: &SimDisk,
    ) -> Result<(), String> {
        let timeline = &state.timeline;
        for (hot, chunk) in model.hot.iter().copied().enumerate() {
            if chunk >= snap.at.chunks {
                continue;
            }
            let now = content(origin, chunk, self.chunk_blocks);
            if now != snap.at.content[hot] && !timeline.marked(chunk, snap.epoch, u64::MAX) {
                return Err(format!("I3: chunk {chunk} has changed since, but no mark"));
            }
            for later in model.snaps.iter().filter(|later| later.id > snap.id) {
                if later.at.content[hot] != snap.at.content[hot]
                    && !timeline.marked(chunk, snap.epoch, later.epoch)
                {
                    let to = later.id;
                    return Err(format!(
                        "I3: chunk {chunk} has changed up to {to}, but no mark"
                    ));
                }
            }
            if snap.live {
                self.check_frozen(snap, hot, chunk, state, origin, store)?;
            }
        }
        Ok(())
    }

    fn check_frozen(
        &self,
        snap: &Snap,
        hot: usize,
        chunk: u64,
        state: &Checkpoint<SimCopies>,
        origin: &SimDisk,
        store: &SimDisk,
    ) -> Result<(), String> {
        let timeline = &state.timeline;
        let snapshot = timeline.snapshot(snap.id).ok_or("is not there")?;
        if !snapshot.keep_unprotected && !snapshot.designation.get(chunk) {
            return Ok(());
        }
        let (found, whence) = match timeline.look(snapshot, chunk) {
            Whereabouts::Origin => (
                Some(content(origin, chunk, self.chunk_blocks)),
                "origin".into(),
            ),
            Whereabouts::Epoch(epoch) => {
                let position = epoch
                    .copies
                    .as_ref()
                    .and_then(|copies| copies.position(chunk));
                let blocks = position.map(|at| at..at + self.chunk_blocks);
                let read = |at| store.get(at).cloned().ok_or("beyond the store");
                let data = blocks.map(|blocks| blocks.map(read).collect());
                (data.transpose()?, format!("epoch {}", epoch.id))
            }
        };
        let may_be_gone = !snap.wants(hot, chunk)
            || self
                .gone
                .iter()
                .any(|(gone, epoch)| *gone == chunk && *epoch >= snap.epoch);
        match found {
            Some(data) if data != snap.at.content[hot] => {
                Err(format!("I1: wrong content of chunk {chunk} in {whence}"))
            }
            None if !may_be_gone => Err(format!("I1: content of chunk {chunk} is lost ({whence})")),
            _ => Ok(()),
        }
    }

    /// Rule 1: the marks of an epoch that was saved as closed do not change.
    fn check_marks(&self, state: &Checkpoint<SimCopies>) -> Result<(), String> {
        for epoch in state.timeline.epochs(0, u64::MAX) {
            let Some(exact) = self.exact.get(&epoch.id) else {
                continue;
            };
            for (chunk, marked) in self.model.hot.iter().zip(exact) {
                if epoch.marks.get(*chunk) != *marked {
                    return Err(format!(
                        "rule 1: chunk {chunk} of closed epoch {}",
                        epoch.id
                    ));
                }
            }
        }
        Ok(())
    }
}

/// No segment has two owners, and what is indexed is in a segment of the same epoch.
fn check_segments(state: &Checkpoint<SimCopies>, layout: &Layout) -> Result<(), String> {
    let mut all = Vec::new();
    for epoch in state.timeline.epochs(0, u64::MAX) {
        let Some(copies) = &epoch.copies else {
            continue;
        };
        let owned = copies.owned();
        for (run, position) in copies.runs() {
            let segment = layout.segment_of(position);
            if segment.is_none_or(|segment| !owned.contains(&segment)) {
                return Err(format!("chunk {} in a foreign segment", run.start));
            }
        }
        all.extend(owned);
    }
    match Segments::new(*layout, &all) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("segments with two owners: {all:?} ({error:?})")),
    }
}
