// SPDX-License-Identifier: GPL-2.0

//! What must hold in both worlds, for every snapshot and chunk, whatever happened on the way.

#![forbid(unsafe_code)]

use crate::chunks::those;
use crate::chunks::Chunks;
use crate::chunks::Content;
use crate::timeline::Kept;
use crate::timeline::Timeline;
use crate::user::Taking;

/// What a state breaks.
pub type Broken = &'static str;

/// I1: a needed chunk is gone, or would be read wrongly.
pub const LOST: Broken = "I1: a needed chunk is gone, or would be read wrongly";
/// I1: a copy is not what the chunk held when its epoch began.
pub const GARBAGE: Broken = "I1: a copy is not what the chunk held when its epoch began";
/// I3: a chunk that differs from a snapshot or bookmark is not marked since.
pub const MISSED: Broken =
    "I3: a chunk that differs from a snapshot or bookmark is not marked since";
/// I3: a chunk that differs between two snapshots is not in their map.
pub const MISSED_BETWEEN: Broken =
    "I3: a chunk that differs between two snapshots is not in their map";
/// I4: a write, a read or a snapshot never ends.
pub const STUCK: Broken = "I4: a write, a read or a snapshot never ends";
/// I4: a run can go in circles for ever.
pub const CYCLE: Broken = "I4: a run can go in circles for ever";

/// What only the checker knows of an epoch and of the snapshot that began it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Truth<const CHUNKS: usize> {
    /// What each chunk held when the epoch began.
    pub start: [Content; CHUNKS],
    /// What a user of its snapshot may insist on, worked out from the contents and not from marks.
    pub owed: Chunks,
    /// Chunks that could not be read when they had to be copied.
    pub lost: Chunks,
    /// The marks with which it was closed, or recovered.
    pub sealed: Chunks,
}

impl<const CHUNKS: usize> Default for Truth<CHUNKS> {
    fn default() -> Self {
        Truth {
            start: [0; CHUNKS],
            owed: 0,
            lost: 0,
            sealed: 0,
        }
    }
}

/// A state as the checker sees it.
pub(crate) struct View<'a, const CHUNKS: usize, const EPOCHS: usize> {
    pub(crate) timeline: &'a Timeline<CHUNKS, EPOCHS>,
    pub(crate) truth: &'a [Truth<CHUNKS>; EPOCHS],
    /// What each chunk of the origin may hold after a power cut; what it holds now is the last.
    pub(crate) origin: [&'a [Content]; CHUNKS],
}

impl<const CHUNKS: usize, const EPOCHS: usize> View<'_, CHUNKS, EPOCHS> {
    /// The truth about an epoch that begins now. A user of an incremental snapshot may insist on
    /// what differs from the base, or was not protected there.
    pub(crate) fn beginning(&self, taking: Taking) -> Truth<CHUNKS> {
        let start = self.origin.map(last);
        let designation = self.timeline.designation;
        let owed = match taking.base.map(usize::from) {
            None => designation,
            Some(base) => {
                let before = self.truth[base].start;
                let changed = those(CHUNKS, |chunk| before[chunk] != start[chunk]);
                designation & (changed | !self.timeline.snapshots[base].protected)
            }
        };
        Truth {
            start,
            owed,
            ..Truth::default()
        }
    }

    /// Returns true if a snapshot owes the content of `chunk`, so that an error would be a broken
    /// promise.
    pub(crate) fn insists(&self, number: usize, chunk: usize) -> bool {
        let snapshot = &self.timeline.snapshots[number];
        let mark = self.oldest_mark(number, chunk);
        let lost = mark.is_some_and(|mark| self.truth[mark].lost & (1 << chunk) != 0);
        let owed = self.truth[number].owed & !snapshot.released;
        snapshot.live && !lost && owed & (1 << chunk) != 0
    }

    pub(crate) fn oldest_mark(&self, number: usize, chunk: usize) -> Option<usize> {
        let end = self.timeline.count as usize;
        self.timeline.oldest_mark(number, end, chunk)
    }

    /// What a frozen read would return now.
    fn read(&self, number: usize, chunk: usize) -> Kept {
        if self.timeline.snapshots[number].protected & (1 << chunk) == 0 {
            return Kept::Nothing;
        }
        match self.oldest_mark(number, chunk) {
            Some(mark) => self.timeline.epochs[mark].copies[chunk],
            None => Kept::Copy(last(self.origin[chunk])),
        }
    }

    /// I1, for every snapshot and chunk, whether or not anybody reads it.
    pub(crate) fn contents(&self) -> Option<Broken> {
        for chunk in 0..CHUNKS {
            for number in 0..self.timeline.count as usize {
                let right = Kept::Copy(self.truth[number].start[chunk]);
                let copy = self.timeline.epochs[number].copies[chunk];
                if copy.is_copy() && copy != right {
                    return Some(GARBAGE);
                }
                if self.insists(number, chunk) && self.read(number, chunk) != right {
                    return Some(LOST);
                }
            }
        }
        None
    }

    /// I3, since every snapshot and bookmark: up to now, whatever the origin's cache may lose, and
    /// up to every later one.
    pub(crate) fn changes(&self) -> Option<Broken> {
        let count = self.timeline.count as usize;
        for chunk in 0..CHUNKS {
            for from in 0..count {
                let start = self.truth[from].start[chunk];
                let marked = |to| self.timeline.marked(from, to) & (1 << chunk) != 0;
                let mut possible = self.origin[chunk].iter();
                if possible.any(|content| *content != start) && !marked(count) {
                    return Some(MISSED);
                }
                let missed = |to: &usize| start != self.truth[*to].start[chunk] && !marked(*to);
                if (from + 1..count).any(|to| missed(&to)) {
                    return Some(MISSED_BETWEEN);
                }
            }
        }
        None
    }
}

fn last(possible: &[Content]) -> Content {
    possible[possible.len() - 1]
}
