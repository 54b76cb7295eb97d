// SPDX-License-Identifier: GPL-2.0

//! The timeline: marks, need (rule 2) and the space that dropped snapshots give back (rule 1).

#![forbid(unsafe_code)]

use crate::state::each;
use crate::state::Chunks;
use crate::state::Epoch;
use crate::state::Frozen;
use crate::state::Kept;
use crate::state::State;
use crate::trap::Trap;

impl State {
    /// The number of the present epoch.
    pub fn present(&self) -> usize {
        self.count as usize - 1
    }

    pub(crate) fn now(&mut self) -> &mut Epoch {
        let present = self.present();
        &mut self.epochs[present]
    }

    /// The chunks marked in any epoch from `first` up to, but not including, `end`.
    pub(crate) fn marked(&self, first: usize, end: usize) -> Chunks {
        let list = self.epochs.get(first..end).unwrap_or(&[]);
        list.iter().fold(0, |marks, epoch| marks | epoch.marks)
    }

    /// The chunks marked in the present epoch.
    pub fn marks(&self) -> Chunks {
        self.epochs[self.present()].marks
    }

    /// Rule 2: the chunks that some live snapshot needs from the origin.
    pub(crate) fn needed(&self, trap: Option<Trap>) -> Chunks {
        let count = self.count as usize;
        let first = match trap {
            Some(Trap::NeedOfLatestOnly) => count - 1,
            _ => 0,
        };
        (first..count)
            .filter(|&number| self.snapshots[number].live)
            .fold(0, |needed, number| {
                let snapshot = &self.snapshots[number];
                needed | (snapshot.keeps & !snapshot.released & !self.marked(number, count))
            })
    }

    /// The oldest epoch of a list of `end` epochs, at or after `first`, that marks `chunk` (rule
    /// 5).
    pub(crate) fn oldest_mark(&self, first: usize, end: usize, chunk: usize) -> Option<usize> {
        (first..end).find(|&number| self.epochs[number].marks & (1 << chunk) != 0)
    }

    pub(crate) fn drop_snapshot(&mut self, number: usize, trap: Option<Trap>) {
        self.snapshots[number].live = false;
        if trap == Some(Trap::DropFreesEpoch) {
            self.reuse(number);
        }
        self.give_back(trap);
    }

    /// Lets the copies of every epoch go that no live snapshot and no frozen read can refer to.
    pub(crate) fn give_back(&mut self, trap: Option<Trap>) {
        let readers = self.readers;
        for number in 0..self.count as usize {
            let wanted = self.snapshots[..=number]
                .iter()
                .any(|snapshot| snapshot.live);
            let referred = trap != Some(Trap::FreeUnderReader)
                && readers.iter().any(|reader| {
                    reader.snapshot as usize <= number
                        && !matches!(reader.step, Frozen::Start | Frozen::Done)
                });
            if !wanted && !referred {
                self.reuse(number);
            }
        }
    }

    fn reuse(&mut self, number: usize) {
        for chunk in each(!0) {
            if let Kept::Copy(_) = self.epochs[number].copies[chunk] {
                self.epochs[number].copies[chunk] = Kept::Reused;
            }
        }
    }
}
