// SPDX-License-Identifier: GPL-2.0

//! A change of a timeline, and the timeline that it leaves: rule 1 of the design.

#![forbid(unsafe_code)]

use crate::base::bug;
use crate::history::epoch::Epoch;
use crate::history::snapshot::Snapshot;
use crate::history::timeline::Timeline;
use kernel::prelude::*;
use kernel::sync::Arc;

/// Most bookmarks kept; the oldest are forgotten.
pub const MAX_BOOKMARKS: usize = 64;

/// A change of the timeline, for [`Timeline::changed`].
pub struct Change<C> {
    /// A new present epoch.
    pub begin: Option<Epoch<C>>,
    /// A new snapshot.
    pub snapshot: Option<Arc<Snapshot>>,
    /// Snapshots up to this id become bookmarks.
    pub drop_up_to: u64,
    /// This snapshot becomes a bookmark.
    pub drop: Option<u64>,
    /// This bookmark goes.
    pub forget: Option<u64>,
}

impl<C> Change<C> {
    /// No change.
    pub const NONE: Self = Self {
        begin: None,
        snapshot: None,
        drop_up_to: 0,
        drop: None,
        forget: None,
    };
}

impl<C> Change<C> {
    /// Returns true if the change changes nothing.
    pub fn is_none(&self) -> bool {
        self.begin.is_none()
            && self.snapshot.is_none()
            && self.drop_up_to == 0
            && self.drop.is_none()
            && self.forget.is_none()
    }
}

impl<C> Timeline<C> {
    /// Returns the timeline after a change. `begin` becomes the present epoch and `snapshot` the
    /// latest snapshot, the dropped ones become bookmarks, and the forgotten one is gone. Epochs
    /// and copies that nobody needs any longer are left out. May sleep.
    ///
    /// Errors: `ENOMEM`.
    pub fn changed(&self, change: Change<C>) -> Result<Self> {
        let mut snapshots = KVec::with_capacity(self.snapshots.len() + 1, GFP_KERNEL)?;
        let mut bookmarks =
            KVec::with_capacity(self.bookmarks.len() + self.snapshots.len(), GFP_KERNEL)?;
        let kept = |snapshot: &&Arc<Snapshot>| change.forget != Some(snapshot.id);
        for bookmark in self.bookmarks.iter().filter(kept) {
            bookmarks.push(bookmark.clone(), GFP_KERNEL)?;
        }
        for snapshot in self.snapshots.iter() {
            // A drop may have got no further than the flag, for want of memory.
            if snapshot.id <= change.drop_up_to
                || change.drop == Some(snapshot.id)
                || snapshot.is_dropped()
            {
                let place =
                    bookmarks.partition_point(|bookmark: &Arc<Snapshot>| bookmark.id < snapshot.id);
                // The capacity is that of both lists.
                if bookmarks
                    .insert_within_capacity(place, snapshot.clone())
                    .is_err()
                {
                    bug("there is no room for a bookmark: it is forgotten");
                }
            } else {
                snapshots.push(snapshot.clone(), GFP_KERNEL)?;
            }
        }
        let (latest_epoch, previous_epoch) = match &change.snapshot {
            Some(snapshot) => (snapshot.epoch, self.latest_epoch),
            None => (self.latest_epoch, self.previous_epoch),
        };
        snapshots.extend_with_option(change.snapshot)?;
        while bookmarks.len() > MAX_BOOKMARKS {
            bookmarks.remove(0).map_err(|_| EINVAL)?;
        }
        let copies_from = oldest(&snapshots);
        let marks_from = copies_from.min(oldest(&bookmarks)).min(previous_epoch);
        let epochs = self.needed_epochs(copies_from, marks_from, change.begin)?;
        Ok(Self {
            epochs,
            snapshots,
            bookmarks,
            latest_epoch,
            previous_epoch,
        })
    }

    /// Returns the epochs that are still needed, and `begin`.
    ///
    /// Rule 1: an epoch's marks are needed while a snapshot or bookmark is as old or older, and for
    /// the backup map; its copies while a live snapshot is as old or older. The present epoch's
    /// marks are always needed.
    fn needed_epochs(
        &self,
        copies_from: u64,
        marks_from: u64,
        begin: Option<Epoch<C>>,
    ) -> Result<KVec<Epoch<C>>> {
        let mut epochs = KVec::with_capacity(self.epochs.len() + 1, GFP_KERNEL)?;
        let present = self.present().map_or(0, |epoch| epoch.id);
        for epoch in self.epochs.iter() {
            let is_present = begin.is_none() && epoch.id == present;
            if is_present || epoch.id >= marks_from {
                epochs.push(epoch.share(epoch.id >= copies_from), GFP_KERNEL)?;
            }
        }
        let begin = begin.map(|epoch| epoch.share(epoch.id >= copies_from));
        epochs.extend_with_option(begin)?;
        Ok(epochs)
    }
}

/// Returns the oldest epoch that any of `snapshots` needs; `u64::MAX` without a snapshot.
fn oldest(snapshots: &[Arc<Snapshot>]) -> u64 {
    let epochs = snapshots.iter().map(|snapshot| snapshot.epoch);
    epochs.min().unwrap_or(u64::MAX)
}

/// Appends an element that is optional.
trait ExtendWithOption<T> {
    fn extend_with_option(&mut self, value: Option<T>) -> Result;
}

impl<T> ExtendWithOption<T> for KVec<T> {
    fn extend_with_option(&mut self, value: Option<T>) -> Result {
        match value {
            Some(value) => Ok(self.push(value, GFP_KERNEL)?),
            None => Ok(()),
        }
    }
}
