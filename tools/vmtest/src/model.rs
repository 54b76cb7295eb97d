// SPDX-License-Identifier: GPL-2.0

//! What a live device with its snapshots must do, in memory: contents by stamps, marks, need, and
//! what frozen reads return.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;

/// What a frozen read of a chunk must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frozen {
    /// The content at the snapshot.
    Data,
    /// Nothing: unprotected.
    Hole,
    /// An error: overwritten without a copy.
    Gone,
}

/// A snapshot or bookmark as a base.
#[derive(Clone, Debug)]
struct Point {
    /// The epoch that it began.
    epoch: usize,
    protected: Vec<bool>,
}

/// A live snapshot.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Its id.
    pub id: u64,
    /// The contents at its instant.
    pub frozen: Vec<u64>,
    /// The epoch that it began.
    epoch: usize,
    protected: Vec<bool>,
    in_scope: Vec<bool>,
    released: Vec<bool>,
}

/// The options that matter here.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// `keep_unprotected`
    pub keep_unprotected: bool,
    /// `default=unprotected`
    pub default_unprotected: bool,
    /// `reset_protection`
    pub reset: bool,
}

/// The model.
#[derive(Clone, Debug)]
pub struct Model {
    /// Sectors of the device.
    pub sectors: u64,
    /// Sectors per chunk.
    pub chunk: u64,
    /// The options.
    pub options: Options,
    /// The stamp of each sector as it is now.
    pub now: Vec<u64>,
    /// The chunks written since the latest snapshot.
    pub marks: Vec<bool>,
    /// The designation.
    pub designation: Vec<bool>,
    /// The live snapshots, oldest first.
    pub snapshots: Vec<Snapshot>,
    closed: Vec<Vec<bool>>,
    /// By epoch, the present one last: the chunks whose content at its beginning went to the store.
    kept: Vec<Vec<bool>>,
    points: BTreeMap<u64, Point>,
}

impl Model {
    /// A device with these contents.
    pub fn new(sectors: u64, chunk: u64, stamp: u64, options: Options) -> Self {
        let chunks = sectors.div_ceil(chunk) as usize;
        Model {
            sectors,
            chunk,
            options,
            now: vec![stamp; sectors as usize],
            marks: vec![false; chunks],
            designation: vec![!options.default_unprotected; chunks],
            snapshots: Vec::new(),
            closed: Vec::new(),
            kept: vec![vec![false; chunks]],
            points: BTreeMap::new(),
        }
    }

    /// Number of chunks.
    pub fn chunks(&self) -> usize {
        self.marks.len()
    }

    /// The chunks that a range of sectors touches.
    pub fn outward(&self, start: u64, len: u64) -> std::ops::Range<usize> {
        (start / self.chunk) as usize..(start + len).div_ceil(self.chunk) as usize
    }

    /// The chunks that lie wholly within a range of sectors.
    pub fn inward(&self, start: u64, len: u64) -> std::ops::Range<usize> {
        let first = start.div_ceil(self.chunk) as usize;
        let end = match start + len >= self.sectors {
            true => self.chunks(),
            false => ((start + len) / self.chunk) as usize,
        };
        first..end.max(first)
    }

    /// The sectors of a chunk.
    pub fn sectors_of(&self, chunk: usize) -> std::ops::Range<usize> {
        let start = chunk as u64 * self.chunk;
        start as usize..(start + self.chunk).min(self.sectors) as usize
    }

    /// Rule 2: whether any snapshot needs what the origin has for a chunk.
    pub fn needs(&self, chunk: usize) -> bool {
        self.snapshots.iter().any(|s| {
            self.overwritten(s, chunk).is_none()
                && (self.options.keep_unprotected || s.protected[chunk])
                && s.in_scope[chunk]
                && !s.released[chunk]
        })
    }

    /// Rule 5: the first epoch since a snapshot in which a chunk was overwritten.
    fn overwritten(&self, snapshot: &Snapshot, chunk: usize) -> Option<usize> {
        let closed = self.closed[snapshot.epoch..].iter();
        let mut marks = closed.chain([&self.marks]);
        marks
            .position(|marks| marks[chunk])
            .map(|n| snapshot.epoch + n)
    }

    /// A chunk is about to be overwritten.
    pub fn touch(&mut self, chunk: usize) {
        let needed = self.needs(chunk);
        let present = self.closed.len();
        self.kept[present][chunk] |= needed;
        self.marks[chunk] = true;
    }

    /// A range of sectors is overwritten.
    pub fn write(&mut self, start: u64, len: u64, stamp: u64) {
        for chunk in self.outward(start, len) {
            self.touch(chunk);
        }
        self.now[start as usize..(start + len) as usize].fill(stamp);
    }

    /// A range of sectors is protected or unprotected.
    pub fn edit(&mut self, protect: bool, start: u64, len: u64) {
        let chunks = match protect {
            true => self.outward(start, len),
            false => self.inward(start, len),
        };
        self.designation[chunks].fill(protect);
    }

    /// A snapshot is taken; the base makes it incremental. With it, so many are kept; the result is
    /// the ids of those that are dropped.
    pub fn take(&mut self, id: u64, base: Option<u64>, keep: usize) -> Vec<u64> {
        let chunks = self.chunks();
        let marks = std::mem::replace(&mut self.marks, vec![false; chunks]);
        self.closed.push(marks);
        self.kept.push(vec![false; chunks]);
        let point = Point {
            epoch: self.closed.len(),
            protected: self.designation.clone(),
        };
        self.points.insert(id, point);
        let in_scope = (0..chunks).map(|c| base.is_none_or(|base| self.in_scope(c, base, id)));
        self.snapshots.push(Snapshot {
            id,
            frozen: self.now.clone(),
            epoch: self.closed.len(),
            in_scope: in_scope.collect(),
            protected: self.designation.clone(),
            released: vec![false; chunks],
        });
        if self.options.reset {
            self.designation.fill(!self.options.default_unprotected);
        }
        let dropped = self.snapshots.len().saturating_sub(keep);
        self.snapshots.drain(..dropped).map(|s| s.id).collect()
    }

    /// A snapshot is dropped.
    pub fn drop_snapshot(&mut self, id: u64) {
        self.snapshots.retain(|s| s.id != id);
    }

    fn in_scope(&self, chunk: usize, base: u64, id: u64) -> bool {
        !self.points[&base].protected[chunk] || self.written(chunk, base, id)
    }

    /// Whether a chunk was written between two points; 0 as the second is the present.
    fn written(&self, chunk: usize, from: u64, to: u64) -> bool {
        let end = match to {
            0 => self.closed.len(),
            to => self.points[&to].epoch,
        };
        let closed = &self.closed[self.points[&from].epoch.min(end)..end];
        closed.iter().any(|marks| marks[chunk]) || to == 0 && self.marks[chunk]
    }

    /// The marks of the epoch that the latest snapshot closed.
    pub fn backup(&self) -> Vec<bool> {
        let none = || vec![false; self.chunks()];
        self.closed.last().cloned().unwrap_or_else(none)
    }

    /// Whether a backup from one point to another has to look at a chunk; 0 as `from` has it look
    /// at all.
    pub fn changed(&self, chunk: usize, from: u64, to: u64) -> bool {
        let protected = |point: u64| match point {
            0 => self.designation[chunk],
            point => self.points[&point].protected[chunk],
        };
        from == 0 || self.written(chunk, from, to) || !protected(from) && protected(to)
    }

    /// A range of sectors of a snapshot is released.
    pub fn release(&mut self, id: u64, start: u64, len: u64) {
        let chunks = self.inward(start, len);
        for snapshot in self.snapshots.iter_mut().filter(|s| s.id == id) {
            snapshot.released[chunks.clone()].fill(true);
        }
    }

    /// The ids of all snapshots and bookmarks.
    pub fn ids(&self) -> Vec<u64> {
        self.points.keys().copied().collect()
    }

    /// The ids of the bookmarks.
    pub fn bookmarks(&self) -> Vec<u64> {
        let live = |id: &u64| self.snapshots.iter().any(|s| s.id == *id);
        self.ids().into_iter().filter(|id| !live(id)).collect()
    }

    /// A bookmark is forgotten.
    pub fn forget(&mut self, id: u64) {
        self.points.remove(&id);
    }

    /// What a read of a snapshot must find in a chunk.
    pub fn frozen(&self, snapshot: &Snapshot, chunk: usize) -> Frozen {
        let protected = match self.options.keep_unprotected {
            true => self.designation[chunk],
            false => snapshot.protected[chunk],
        };
        match (protected, self.lost(snapshot, chunk)) {
            (false, _) => Frozen::Hole,
            (true, true) => Frozen::Gone,
            (true, false) => Frozen::Data,
        }
    }

    /// Whether a chunk was overwritten since a snapshot without a copy.
    fn lost(&self, snapshot: &Snapshot, chunk: usize) -> bool {
        let epoch = self.overwritten(snapshot, chunk);
        epoch.is_some_and(|epoch| !self.kept[epoch][chunk])
    }

    /// Whether a chunk of a snapshot is protected, and overwritten without a copy.
    pub fn gone(&self, snapshot: &Snapshot, chunk: usize) -> bool {
        snapshot.protected[chunk] && self.lost(snapshot, chunk)
    }

    /// Whether the content that a chunk had at a snapshot is in the store.
    pub fn preserved(&self, snapshot: &Snapshot, chunk: usize) -> bool {
        let epoch = self.overwritten(snapshot, chunk);
        epoch.is_some_and(|epoch| self.kept[epoch][chunk])
    }

    /// Rule 1: the contents in the store are those of the epochs since the oldest snapshot.
    pub fn stored(&self) -> u64 {
        let oldest = self.snapshots.first().map_or(self.kept.len(), |s| s.epoch);
        let kept = self.kept[oldest..].iter().flatten();
        kept.filter(|kept| **kept).count() as u64
    }
}
