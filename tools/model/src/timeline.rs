// SPDX-License-Identifier: GPL-2.0

//! The timeline: marks and copies (rule 1), need (rule 2), where a frozen read looks (rule 5), and
//! what snapshots and orders do. It is the same in both worlds, in memory and at replay.

#![forbid(unsafe_code)]

use crate::chunks::Chunks;
use crate::chunks::Content;
use crate::user::Order;
use crate::user::Taking;
use crate::user::FULL;

/// What the index says of one chunk in one epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Kept {
    /// No copy.
    #[default]
    Nothing,
    /// Where the copy is, that is to say what it holds.
    Copy(Content),
    /// The space was given back: whoever follows an old reference finds something else there.
    Reused,
}

/// The time from one snapshot to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Epoch<const CHUNKS: usize> {
    /// The chunks written during it.
    pub marks: Chunks,
    /// The index: what they held when it began.
    pub copies: [Kept; CHUNKS],
}

/// The snapshot that began the epoch of the same number. Dropped, it is a bookmark.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Snapshot {
    /// Not dropped.
    pub live: bool,
    /// The designation of its instant.
    pub protected: Chunks,
    /// What it keeps: protected and in its scope.
    pub keeps: Chunks,
    /// Released for this snapshot.
    pub released: Chunks,
    /// Its scope is no longer full.
    pub narrowed: bool,
}

/// The epochs, and what the next one will begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timeline<const CHUNKS: usize, const EPOCHS: usize> {
    /// Oldest first.
    pub epochs: [Epoch<CHUNKS>; EPOCHS],
    /// Snapshot or bookmark that began each epoch.
    pub snapshots: [Snapshot; EPOCHS],
    /// How many epochs exist; the last is the present one.
    pub count: u8,
    /// What the next snapshot will protect.
    pub designation: Chunks,
}

impl Kept {
    /// Returns true if there is a copy.
    pub fn is_copy(self) -> bool {
        matches!(self, Kept::Copy(_))
    }
}

impl<const CHUNKS: usize> Default for Epoch<CHUNKS> {
    fn default() -> Self {
        Epoch {
            marks: 0,
            copies: [Kept::Nothing; CHUNKS],
        }
    }
}

/// What it says.
impl<const CHUNKS: usize, const EPOCHS: usize> Timeline<CHUNKS, EPOCHS> {
    /// The number of the present epoch.
    pub fn present(&self) -> usize {
        self.count as usize - 1
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

    /// Rule 5: the oldest epoch of a list of `end` epochs, at or after `first`, that marks `chunk`.
    pub(crate) fn oldest_mark(&self, first: usize, end: usize, chunk: usize) -> Option<usize> {
        (first..end).find(|&number| self.epochs[number].marks & (1 << chunk) != 0)
    }

    /// The chunks that this snapshot wants, as far as the marks of the closed epochs tell.
    pub(crate) fn wanted_by(&self, number: usize) -> Chunks {
        let snapshot = &self.snapshots[number];
        if !snapshot.live {
            return 0;
        }
        snapshot.keeps & !snapshot.released & !self.marked(number, self.present())
    }

    /// The chunks that some live snapshot wants, as far as the marks of the closed epochs tell.
    pub(crate) fn wanted(&self) -> Chunks {
        (0..self.count as usize).fold(0, |wanted, number| wanted | self.wanted_by(number))
    }

    /// Rule 2: the chunks that some live snapshot needs from the origin.
    pub(crate) fn needed(&self) -> Chunks {
        self.wanted() & !self.marks()
    }

    /// The oldest live snapshot.
    pub(crate) fn oldest(&self) -> Option<usize> {
        (0..self.count as usize).find(|&number| self.snapshots[number].live)
    }

    /// Returns true if an order means anything now: nobody drops or releases what is dropped.
    pub(crate) fn allows(&self, order: Order) -> bool {
        match order {
            Order::Drop(number) | Order::Release(number, _) => self.snapshots[number as usize].live,
            Order::Protect(_) | Order::Unprotect(_) => true,
        }
    }
}

/// What changes it.
impl<const CHUNKS: usize, const EPOCHS: usize> Timeline<CHUNKS, EPOCHS> {
    /// Snapshot 0 has just been taken of all that `designation` protects.
    pub(crate) fn new(designation: Chunks) -> Self {
        let mut timeline = Timeline {
            epochs: [Epoch::default(); EPOCHS],
            snapshots: [Snapshot::default(); EPOCHS],
            count: 0,
            designation,
        };
        timeline.begin(FULL);
        timeline
    }

    /// The present epoch.
    pub(crate) fn last(&mut self) -> &mut Epoch<CHUNKS> {
        &mut self.epochs[self.count as usize - 1]
    }

    /// Begins a new epoch with a snapshot, whose scope is full.
    pub(crate) fn begin(&mut self, taking: Taking) {
        let number = self.count as usize;
        if taking.alone {
            for older in &mut self.snapshots[..number] {
                older.live = false;
            }
        }
        self.begin_alone();
        self.snapshots[number] = Snapshot {
            live: true,
            protected: self.designation,
            keeps: self.designation,
            ..Snapshot::default()
        };
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

    /// Gives a snapshot up.
    pub(crate) fn give_up(&mut self, number: usize) {
        self.snapshots[number].live = false;
    }

    /// Narrows the scope of a snapshot to what changed since its base, or was not protected there.
    pub(crate) fn narrow(&mut self, number: usize, base: usize) {
        self.narrow_to(number, base, self.marked(base, number));
    }

    /// The same, when somebody says what `changed`.
    pub(crate) fn narrow_to(&mut self, number: usize, base: usize, changed: Chunks) {
        let scope = changed | !self.snapshots[base].protected;
        let snapshot = &mut self.snapshots[number];
        snapshot.keeps &= scope;
        snapshot.narrowed = true;
    }
}
