// SPDX-License-Identifier: GPL-2.0

//! A device in memory that does with a timeline what the kernel module does: claims aside, and one
//! thing at a time. For the tests of the timeline and the worked examples.

#![forbid(unsafe_code)]

use dm_preserve_core::history::Change;
use dm_preserve_core::history::Epoch;
use dm_preserve_core::history::NewSnapshot;
use dm_preserve_core::history::Scope;
use dm_preserve_core::history::Snapshot;
use dm_preserve_core::history::Timeline;
use dm_preserve_core::history::Whereabouts;
use dm_preserve_core::maps::Bitmap;
use dm_preserve_core::maps::Chunks;
use dm_preserve_core::maps::Designation;
use kernel::prelude::*;
use kernel::sync::Arc;
use std::collections::BTreeMap;
use std::sync::Mutex;

/// Number of the first epoch: not zero, and unlike that of any snapshot.
pub(super) const FIRST_EPOCH: u64 = 7;

/// An epoch's copies.
pub(super) type Copies<T> = Mutex<BTreeMap<u64, T>>;

/// What a frozen read says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frozen<T> {
    /// The content.
    Data(T),
    /// Overwritten without a copy.
    Gone,
    /// Not protected.
    Hole,
}

pub(super) struct Device<T> {
    pub(super) origin: Vec<T>,
    pub(super) designation: Arc<Designation>,
    pub(super) timeline: Timeline<Copies<T>>,
    pub(super) keep_unprotected: bool,
    next_id: u64,
}

pub(super) fn one(chunk: u64) -> Chunks {
    Chunks {
        start: chunk,
        end: chunk + 1,
    }
}

pub(super) fn epoch<T>(id: u64, chunks: u64) -> Epoch<Copies<T>> {
    Epoch {
        id,
        marks: Arc::new(Bitmap::new(chunks).unwrap(), GFP_KERNEL).unwrap(),
        copies: Some(Arc::new(Mutex::default(), GFP_KERNEL).unwrap()),
    }
}

impl<T: Clone> Device<T> {
    pub(super) fn new(origin: Vec<T>, default: bool, keep_unprotected: bool) -> Self {
        let first = Epoch {
            copies: None,
            ..epoch(FIRST_EPOCH, origin.len() as u64)
        };
        Self {
            origin,
            designation: Arc::new(Designation::new(default), GFP_KERNEL).unwrap(),
            timeline: Timeline::new(first).unwrap(),
            keep_unprotected,
            next_id: 101,
        }
    }

    pub(super) fn chunks(&self) -> u64 {
        self.origin.len() as u64
    }

    fn present(&self) -> &Epoch<Copies<T>> {
        self.timeline.present().unwrap()
    }

    /// Rule 4. Says whether the old content was copied.
    pub(super) fn write(&mut self, chunk: u64, content: T, readable: bool) -> bool {
        let present = self.present();
        let mut copied = false;
        if !present.marks.get(chunk) {
            if self.timeline.needs(chunk) && readable {
                let mut copies = present.copies.as_ref().unwrap().lock().unwrap();
                let before = copies.insert(chunk, self.origin[chunk as usize].clone());
                assert!(before.is_none(), "copied twice in an epoch");
                copied = true;
            }
            present.marks.set_run_nowait(one(chunk)).unwrap();
        }
        self.origin[chunk as usize] = content;
        copied
    }

    /// A snapshot; `base` makes it incremental. All but the latest `keep` are dropped.
    pub(super) fn snapshot(&mut self, base: Option<u64>, keep: usize) -> Result<u64> {
        let id = self.next_id;
        let begin = self.present().id + 1;
        let scope = match base {
            None => Scope::Full,
            Some(base) => {
                let base = self.timeline.entry(base).ok_or(EINVAL)?;
                let mut marks = KVec::new();
                for closed in self.timeline.epochs(base.epoch, begin) {
                    marks.push(closed.marks.clone(), GFP_KERNEL)?;
                }
                Scope::Incremental {
                    base: base.id,
                    protected: base.designation.clone(),
                    chunks: base.released.len(),
                    marks,
                }
            }
        };
        let snapshot = Snapshot::new(NewSnapshot {
            id,
            time_ns: id * 1000,
            epoch: begin,
            designation: self.designation.clone(),
            scope,
            keep_unprotected: self.keep_unprotected,
            sectors: self.chunks() * 8,
            chunks: self.chunks(),
            narrowed: true,
        })?;
        let drop_up_to = self.timeline.drop_up_to(keep);
        let live = self.timeline.snapshots().iter();
        let dropped = live.filter(|snapshot| snapshot.id <= drop_up_to);
        dropped.for_each(|snapshot| snapshot.set_dropped());
        self.timeline = self.timeline.changed(Change {
            begin: Some(epoch(begin, self.chunks())),
            snapshot: Some(snapshot),
            drop_up_to,
            ..Change::NONE
        })?;
        self.next_id += 1;
        Ok(id)
    }

    pub(super) fn drop_snapshot(&mut self, id: u64) -> Result {
        self.timeline.snapshot(id).ok_or(EINVAL)?.set_dropped();
        self.timeline = self.timeline.changed(Change {
            drop: Some(id),
            ..Change::NONE
        })?;
        Ok(())
    }

    pub(super) fn forget(&mut self, id: u64) -> Result {
        self.timeline = self.timeline.changed(Change {
            forget: Some(id),
            ..Change::NONE
        })?;
        Ok(())
    }

    pub(super) fn release(&mut self, id: u64, run: Chunks) -> Result {
        let snapshot = self.timeline.snapshot(id).ok_or(EINVAL)?;
        snapshot.released.prepare(run)?;
        for chunk in run.start..run.end {
            snapshot.released.set(chunk).unwrap();
        }
        Ok(())
    }

    pub(super) fn edit(&mut self, run: Chunks, protect: bool) {
        let edited = self.designation.edited(&[run], protect).unwrap();
        self.designation = Arc::new(edited, GFP_KERNEL).unwrap();
    }

    /// Rule 5. With `keep_unprotected` the designation as it is now decides what can be read.
    pub(super) fn read(&self, id: u64, chunk: u64) -> Frozen<T> {
        let snapshot = self.timeline.snapshot(id).unwrap();
        let visible = match snapshot.keep_unprotected {
            true => &self.designation,
            false => &snapshot.designation,
        };
        if !visible.get(chunk) {
            return Frozen::Hole;
        }
        match self.timeline.look(snapshot, chunk) {
            Whereabouts::Origin => Frozen::Data(self.origin[chunk as usize].clone()),
            Whereabouts::Epoch(epoch) => {
                let copies = epoch.copies.as_ref();
                let copy = copies.and_then(|copies| copies.lock().unwrap().get(&chunk).cloned());
                copy.map_or(Frozen::Gone, Frozen::Data)
            }
        }
    }

    /// The chunks written between two snapshots or bookmarks, or since one.
    pub(super) fn written(&self, from: u64, to: Option<u64>) -> Vec<u64> {
        let epoch = |id| self.timeline.entry(id).unwrap().epoch;
        let to = to.map_or(u64::MAX, epoch);
        let marked = |chunk: &u64| self.timeline.marked(*chunk, epoch(from), to);
        (0..self.chunks()).filter(marked).collect()
    }

    /// Contents in the store.
    pub(super) fn copies(&self) -> Vec<(u64, u64, T)> {
        let all = self.timeline.epochs(0, u64::MAX).flat_map(|epoch| {
            let copies = epoch
                .copies
                .as_ref()
                .map(|copies| copies.lock().unwrap().clone());
            let copies = copies.unwrap_or_default().into_iter();
            copies.map(|(chunk, content)| (epoch.id, chunk, content))
        });
        all.collect()
    }
}
