// SPDX-License-Identifier: GPL-2.0

//! Epochs and snapshots, and the two questions asked about them: is a chunk needed, and where is
//! its frozen content?
//!
//! A timeline is an immutable list. Taking or dropping a snapshot makes a new one; whoever looks
//! keeps a reference to the one it began with. All epochs but the last are *closed*: their marks
//! never change.
//!
//! `C` is the kind of an epoch's copies; this file does not look into them.

#![forbid(unsafe_code)]

use crate::history::epoch::Epoch;
use crate::history::snapshot::Scope;
use crate::history::snapshot::Snapshot;
use crate::maps::mask;
use crate::maps::Chunks;
use crate::maps::Designation;
use crate::maps::Word;
use crate::maps::WORD_BITS;
use kernel::prelude::*;
use kernel::sync::Arc;

/// Where the content is that a chunk had at a snapshot.
pub enum Whereabouts<'a, C> {
    /// Never written since: on the origin, if that is so still when the data has arrived.
    Origin,
    /// In the copies of this epoch, or nowhere.
    Epoch(&'a Epoch<C>),
}

/// Which live snapshots and bookmarks there are, and the epochs that they need.
pub struct Timeline<C> {
    pub(super) epochs: KVec<Epoch<C>>,
    pub(super) snapshots: KVec<Arc<Snapshot>>,
    pub(super) bookmarks: KVec<Arc<Snapshot>>,
    /// The epoch that the latest snapshot began, whatever has become of it.
    pub(super) latest_epoch: u64,
    /// The one that the snapshot before it began.
    pub(super) previous_epoch: u64,
}

/// Most epochs between a base and a snapshot that is incremental since it: their maps are named in
/// one item of a checkpoint.
pub const MAX_SCOPE: usize = 500;
/// Most epochs with which another snapshot is taken: fewer than a checkpoint may have.
pub const MAX_EPOCHS: usize = 2048;

impl<C> Timeline<C> {
    /// Makes a timeline of one epoch, without a snapshot. May sleep.
    ///
    /// Errors: `ENOMEM`.
    pub fn new(first: Epoch<C>) -> Result<Self> {
        let mut epochs = KVec::with_capacity(1, GFP_KERNEL)?;
        epochs.push(first, GFP_KERNEL)?;
        Ok(Self {
            epochs,
            snapshots: KVec::new(),
            bookmarks: KVec::new(),
            latest_epoch: 0,
            previous_epoch: 0,
        })
    }

    /// Returns a timeline as it was saved. All three lists must be sorted by id.
    pub fn restored(
        epochs: KVec<Epoch<C>>,
        snapshots: KVec<Arc<Snapshot>>,
        bookmarks: KVec<Arc<Snapshot>>,
        latest_epoch: u64,
        previous_epoch: u64,
    ) -> Self {
        Self {
            epochs,
            snapshots,
            bookmarks,
            latest_epoch,
            previous_epoch,
        }
    }

    /// Returns the epochs that the latest snapshot, and the one before it, began.
    pub fn latest_epochs(&self) -> (u64, u64) {
        (self.latest_epoch, self.previous_epoch)
    }

    /// Returns the live snapshots, oldest first.
    pub fn snapshots(&self) -> &[Arc<Snapshot>] {
        &self.snapshots
    }

    /// Returns the bookmarks, oldest first.
    pub fn bookmarks(&self) -> &[Arc<Snapshot>] {
        &self.bookmarks
    }

    /// Returns the present epoch.
    pub fn present(&self) -> Option<&Epoch<C>> {
        self.epochs.last()
    }

    /// Returns a live snapshot by its id.
    pub fn snapshot(&self, id: u64) -> Option<&Arc<Snapshot>> {
        self.snapshots.iter().find(|snapshot| snapshot.id == id)
    }

    /// Returns a live snapshot or a bookmark by its id.
    pub fn entry(&self, id: u64) -> Option<&Arc<Snapshot>> {
        let mut all = self.all();
        all.find(|snapshot| snapshot.id == id)
    }

    /// Returns all live snapshots and bookmarks.
    fn all(&self) -> impl Iterator<Item = &Arc<Snapshot>> {
        // Spelt out, as the prelude brings another trait with a `chain`.
        Iterator::chain(self.snapshots.iter(), self.bookmarks.iter())
    }

    /// Returns the live snapshot or bookmark with the greatest id.
    pub fn latest(&self) -> Option<&Arc<Snapshot>> {
        self.all().max_by_key(|snapshot| snapshot.id)
    }

    /// Returns the epochs since the latest snapshot. They make up the snapshot map in sysfs.
    pub fn since_latest(&self) -> impl Iterator<Item = &Epoch<C>> + Clone {
        self.epochs(self.latest_epoch, u64::MAX)
    }

    /// Returns the epochs that the latest snapshot closed. They make up the backup map in sysfs.
    pub fn closed_by_latest(&self) -> impl Iterator<Item = &Epoch<C>> + Clone {
        self.epochs(self.previous_epoch, self.latest_epoch)
    }

    /// Returns the epochs whose number is in `from..to`, oldest first.
    pub fn epochs(&self, from: u64, to: u64) -> core::slice::Iter<'_, Epoch<C>> {
        let place = |id: u64| self.epochs.partition_point(|epoch| epoch.id < id);
        let epochs = self.epochs.get(place(from)..place(to));
        epochs.unwrap_or_default().iter()
    }

    /// Returns true if a chunk was written in one of the epochs whose number is in `from..to`.
    pub fn marked(&self, chunk: u64, from: u64, to: u64) -> bool {
        self.epochs(from, to).any(|epoch| epoch.marks.get(chunk))
    }

    /// Returns true if a live snapshot needs the content that the origin has for a chunk: rule 2.
    /// Valid only inside the gate, until it is left.
    pub fn needs(&self, chunk: u64) -> bool {
        self.needed(chunk, 1 << (chunk % WORD_BITS)).bits != 0
    }

    /// Returns the first chunk of a run that is needed, if `wanted`, or that is not: as
    /// [`Timeline::needs`] says, but a word at a time, and many words where they are alike.
    pub fn find_needed(&self, run: Chunks, wanted: bool) -> Option<u64> {
        let mut at = run.start;
        while at < run.end {
            let start = at - at % WORD_BITS;
            let asked = mask(start, at, run.end);
            let needed = self.needed(at, asked);
            let found = match wanted {
                true => needed.bits,
                false => asked & !needed.bits,
            };
            if found != 0 {
                return Some(start + u64::from(found.trailing_zeros()));
            }
            // What goes on behind this word is the same for all chunks, asked of here or not.
            at = needed.end;
        }
        None
    }

    /// Returns which chunks of `asked`, in the word around a chunk, are needed. If that goes on
    /// behind this word, it is the same for all chunks up to the end.
    ///
    /// Goes from the newest snapshot back, so that the number of snapshots does not matter. Usually
    /// the newest one wants the chunks, or an epoch since one of the newest has marks, which answer
    /// for all older ones. Older snapshots are asked only of chunks that none of the newer ones
    /// wants and that were not written since.
    fn needed(&self, chunk: u64, asked: u64) -> Word {
        // Those without an answer yet.
        let mut left = Word {
            bits: asked,
            end: u64::MAX,
        };
        let mut needed = 0;
        let mut looked_at = u64::MAX;
        for snapshot in self.snapshots.iter().rev() {
            for epoch in self.epochs(snapshot.epoch, looked_at) {
                left = left.without(epoch.marks.around(chunk));
                if left.bits == 0 {
                    return Word {
                        bits: needed,
                        ..left
                    };
                }
            }
            let wanted = snapshot.wanted(chunk, left.bits);
            needed |= left.bits & wanted.bits;
            left = left.without(wanted);
            if left.bits == 0 {
                break;
            }
            looked_at = snapshot.epoch;
        }
        Word {
            bits: needed,
            ..left
        }
    }

    /// Returns true if a live snapshot wants the content of a chunk that no closed epoch since has
    /// written. This is [`Timeline::needs`] for replay, where the present epoch may already have
    /// marks from behind the place that is replayed.
    pub fn needed_at_replay(&self, chunk: u64) -> bool {
        let present = self.present().map_or(0, |epoch| epoch.id);
        let mut snapshots = self.snapshots.iter();
        snapshots.any(|s| s.wants(chunk) && !self.marked(chunk, s.epoch, present))
    }

    /// Checks that one more epoch may begin. All epochs since the oldest snapshot or bookmark are
    /// kept.
    ///
    /// Errors: `EOVERFLOW` if there are [`MAX_EPOCHS`] already.
    pub fn has_room(&self) -> Result {
        match self.epochs.len() < MAX_EPOCHS {
            true => Ok(()),
            false => Err(EOVERFLOW),
        }
    }

    /// Returns the scope of a snapshot that begins `epoch`, incremental since the one with id
    /// `base`. May sleep.
    ///
    /// Errors: `ENOENT` if there is no such base, `EOVERFLOW` if more than [`MAX_SCOPE`] epochs lie
    /// between, `ENOMEM`.
    pub fn scope_since(&self, base: u64, epoch: u64) -> Result<Scope> {
        let base = self.entry(base).ok_or(ENOENT)?;
        let mut marks = KVec::new();
        for closed in self.epochs(base.epoch, epoch) {
            marks.push(closed.marks.clone(), GFP_KERNEL)?;
        }
        if marks.len() > MAX_SCOPE {
            return Err(EOVERFLOW);
        }
        Ok(Scope::Incremental {
            base: base.id,
            protected: base.designation.clone(),
            chunks: base.released.len(),
            marks,
        })
    }

    /// Returns where the content of a chunk at a snapshot is, as far as this timeline knows: rule
    /// 5.
    pub fn look(&self, snapshot: &Snapshot, chunk: u64) -> Whereabouts<'_, C> {
        let mut epochs = self.epochs(snapshot.epoch, u64::MAX);
        match epochs.find(|epoch| epoch.marks.get(chunk)) {
            Some(epoch) => Whereabouts::Epoch(epoch),
            None => Whereabouts::Origin,
        }
    }

    /// Returns where the content of the first chunk of a run is, as [`Timeline::look`], and the end
    /// of the chunks for which the answer is the same.
    pub fn look_at_run(&self, snapshot: &Snapshot, run: Chunks) -> (Whereabouts<'_, C>, u64) {
        let mut run = run;
        for epoch in self.epochs(snapshot.epoch, u64::MAX) {
            match epoch.marks.find(run, true) {
                Some(first) if first == run.start => {
                    let end = epoch.marks.find(run, false).unwrap_or(run.end);
                    return (Whereabouts::Epoch(epoch), end);
                }
                // From there on this epoch answers, unless an older one does.
                Some(first) => run.end = first,
                None => (),
            }
        }
        (Whereabouts::Origin, run.end)
    }

    /// Returns the first chunk of a run that was written since a snapshot.
    pub fn first_marked(&self, snapshot: &Snapshot, run: Chunks) -> Option<u64> {
        let mut before = run;
        for epoch in self.epochs(snapshot.epoch, u64::MAX) {
            // What comes after the first one found does not matter any longer.
            before.end = epoch.marks.find(before, true).unwrap_or(before.end);
        }
        (before.end < run.end).then_some(before.end)
    }

    /// Returns the id up to which snapshots have to be dropped, so that there are no more than
    /// `keep` with a new one; 0 if none has to be.
    pub fn drop_up_to(&self, keep: usize) -> u64 {
        let live = self
            .snapshots
            .iter()
            .filter(|snapshot| !snapshot.is_dropped());
        let last = live.rev().nth(keep.max(1) - 1);
        last.map_or(0, |snapshot| snapshot.id)
    }

    /// Returns whether the first chunk of a run is protected, and the end of the chunks for which
    /// that is the same.
    pub fn chunks_alike(designation: &Designation, run: Chunks) -> (bool, u64) {
        let protected = designation.get(run.start);
        let mut end = run.start + 1;
        while end < run.end && designation.get(end) == protected {
            end += 1;
        }
        (protected, end)
    }
}
