// SPDX-License-Identifier: GPL-2.0

//! What a live device with one snapshot must do, in memory: contents by stamps, marks, need, and what a
//! frozen read returns.

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

/// The live snapshot. It always begins the present epoch, as there is only one.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Its id.
    pub id: u64,
    /// The contents at its instant.
    pub frozen: Vec<u64>,
    /// The chunks whose content is in the store.
    pub preserved: Vec<bool>,
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
    /// The live snapshot.
    pub snapshot: Option<Snapshot>,
    closed: Vec<Vec<bool>>,
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
            snapshot: None,
            closed: Vec::new(),
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

    /// Rule 2: whether the snapshot needs what the origin has for a chunk.
    pub fn needs(&self, chunk: usize) -> bool {
        self.snapshot.as_ref().is_some_and(|s| {
            !self.marks[chunk]
                && (self.options.keep_unprotected || s.protected[chunk])
                && s.in_scope[chunk]
                && !s.released[chunk]
        })
    }

    /// A chunk is about to be overwritten.
    pub fn touch(&mut self, chunk: usize) {
        let needed = self.needs(chunk);
        if let Some(snapshot) = &mut self.snapshot {
            snapshot.preserved[chunk] |= needed;
        }
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

    /// A snapshot is taken; the base makes it incremental.
    pub fn take(&mut self, id: u64, base: Option<u64>) {
        let chunks = self.chunks();
        let marks = std::mem::replace(&mut self.marks, vec![false; chunks]);
        self.closed.push(marks);
        let point = Point {
            epoch: self.closed.len(),
            protected: self.designation.clone(),
        };
        self.points.insert(id, point);
        let in_scope = (0..chunks).map(|c| base.is_none_or(|base| self.in_scope(c, base, id)));
        self.snapshot = Some(Snapshot {
            id,
            frozen: self.now.clone(),
            preserved: vec![false; chunks],
            in_scope: in_scope.collect(),
            protected: self.designation.clone(),
            released: vec![false; chunks],
        });
        if self.options.reset {
            self.designation.fill(!self.options.default_unprotected);
        }
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

    /// Whether a backup from one point to another has to look at a chunk; 0 as `from` has it look at all.
    pub fn changed(&self, chunk: usize, from: u64, to: u64) -> bool {
        let protected = |point: u64| match point {
            0 => self.designation[chunk],
            point => self.points[&point].protected[chunk],
        };
        from == 0 || self.written(chunk, from, to) || !protected(from) && protected(to)
    }

    /// A range of sectors of the snapshot is released.
    pub fn release(&mut self, start: u64, len: u64) {
        let chunks = self.inward(start, len);
        if let Some(snapshot) = &mut self.snapshot {
            snapshot.released[chunks].fill(true);
        }
    }

    /// The ids of the snapshot and all bookmarks.
    pub fn ids(&self) -> Vec<u64> {
        self.points.keys().copied().collect()
    }

    /// A bookmark is forgotten.
    pub fn forget(&mut self, id: u64) {
        self.points.remove(&id);
    }

    /// What a read of the snapshot must find in a chunk.
    pub fn frozen(&self, snapshot: &Snapshot, chunk: usize) -> Frozen {
        let protected = match self.options.keep_unprotected {
            true => self.designation[chunk],
            false => snapshot.protected[chunk],
        };
        match (protected, self.marks[chunk], snapshot.preserved[chunk]) {
            (false, _, _) => Frozen::Hole,
            (true, true, false) => Frozen::Gone,
            (true, _, _) => Frozen::Data,
        }
    }

    /// Whether a chunk of the snapshot is protected, and overwritten without a copy.
    pub fn gone(&self, snapshot: &Snapshot, chunk: usize) -> bool {
        snapshot.protected[chunk] && self.marks[chunk] && !snapshot.preserved[chunk]
    }
}
