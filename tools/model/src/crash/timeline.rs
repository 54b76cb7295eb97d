// SPDX-License-Identifier: GPL-2.0

//! Marks, need, and what control records do: the same in memory and at replay.

#![forbid(unsafe_code)]

use crate::config::Order;
use crate::config::Taking;
use crate::crash::state::Epoch;
use crate::crash::state::Snapshot;
use crate::crash::state::Timeline;
use crate::state::Chunks;

impl Timeline {
    /// The number of the present epoch.
    pub fn present(&self) -> usize {
        self.count as usize - 1
    }

    pub(crate) fn last(&mut self) -> &mut Epoch {
        let present = self.present();
        &mut self.epochs[present]
    }

    /// The chunks marked in the present epoch.
    pub fn marks(&self) -> Chunks {
        self.epochs[self.present()].marks
    }

    /// The chunks marked in any epoch from `first` up to, but not including, `end`.
    pub(crate) fn marked(&self, first: usize, end: usize) -> Chunks {
        let list = self.epochs.get(first..end).unwrap_or(&[]);
        list.iter().fold(0, |marks, epoch| marks | epoch.marks)
    }

    /// The oldest epoch at or after `first` that marks `chunk` (rule 5).
    pub(crate) fn oldest_mark(&self, first: usize, chunk: usize) -> Option<usize> {
        (first..self.count as usize).find(|&number| self.epochs[number].marks & (1 << chunk) != 0)
    }

    /// The chunks that some live snapshot wants, as far as the marks of the closed epochs tell.
    pub(crate) fn wanted(&self) -> Chunks {
        let present = self.present();
        (0..=present)
            .filter(|&number| self.snapshots[number].live)
            .fold(0, |wanted, number| {
                let snapshot = &self.snapshots[number];
                wanted | (snapshot.keeps & !snapshot.released & !self.marked(number, present))
            })
    }

    /// Rule 2: the chunks that some live snapshot needs from the origin.
    pub(crate) fn needed(&self) -> Chunks {
        self.wanted() & !self.marks()
    }

    /// Begins a new epoch.
    pub(crate) fn begin(&mut self, taking: Taking) {
        let number = self.count as usize;
        if taking.alone {
            for older in &mut self.snapshots[..number] {
                older.live = false;
            }
        }
        self.epochs[number] = Epoch::default();
        self.snapshots[number] = Snapshot {
            live: true,
            protected: self.designation,
            keeps: self.designation,
            ..Snapshot::default()
        };
        self.count += 1;
    }

    /// Begins a new epoch that no snapshot begins.
    pub(crate) fn begin_alone(&mut self) {
        self.epochs[self.count as usize] = Epoch::default();
        self.snapshots[self.count as usize] = Snapshot::default();
        self.count += 1;
    }

    /// Carries out a user's order.
    pub(crate) fn obey(&mut self, order: Order) {
        match order {
            Order::Drop(number) => self.snapshots[number as usize].live = false,
            Order::Release(number, chunks) => {
                self.snapshots[number as usize].released |= chunks;
            }
            Order::Protect(chunks) => self.designation |= chunks,
            Order::Unprotect(chunks) => self.designation &= !chunks,
        }
    }

    /// The oldest live snapshot.
    pub(crate) fn oldest(&self) -> Option<usize> {
        (0..self.count as usize).find(|&number| self.snapshots[number].live)
    }

    /// Gives a snapshot up.
    pub(crate) fn give_up(&mut self, number: usize) {
        self.snapshots[number].live = false;
    }

    /// Narrows the scope of a snapshot to what changed since its base, or was not protected there.
    pub(crate) fn narrow(&mut self, number: usize, base: usize) {
        let scope = self.marked(base, number) | !self.snapshots[base].protected;
        let snapshot = &mut self.snapshots[number];
        snapshot.keeps &= scope;
        snapshot.narrowed = true;
    }
}
