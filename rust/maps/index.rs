// SPDX-License-Identifier: GPL-2.0

//! The index of an epoch's copies: where in the store the content of a chunk lies.
//!
//! A tree of [lists of runs](Runs), each of chunks whose contents follow one another in the store.
//! A list that is full is divided, wherever its chunks are, so what a scattered chunk costs does
//! not depend on how far apart they are: 10 bytes, and its share of the list's node and of the
//! list's last page; with the allocator's rounding 11 to 12 bytes. A run costs no more than a
//! single chunk.
//!
//! Inserting never allocates: [`Index::missing`] says what room is missing, the caller allocates
//! that without a lock and installs it by [`Index::grow`].

#![forbid(unsafe_code)]

use crate::maps::chunk::Chunks;
use crate::maps::reserve::Allocated;
use crate::maps::reserve::Node;
use crate::maps::reserve::Supply;
use crate::maps::runs::Page;
use crate::maps::runs::Run;
use crate::maps::runs::Runs;
use crate::maps::runs::LIST_CHUNKS;
use crate::maps::runs::MAX_POSITION;
use crate::maps::runs::MAX_RUN;
use crate::maps::runs::MAX_RUNS;
use crate::maps::runs::PAGE_BYTES;
use kernel::prelude::*;
use kernel::rbtree::RBTree;

/// Bytes that a node occupies: the tree's links, the key and the list.
const NODE_BYTES: usize = 3 * core::mem::size_of::<usize>() + core::mem::size_of::<(u64, Runs)>();

// CAST: A small constant.
/// Most entries that room can be asked for at once: fewer than half a list has. So a run has at
/// most 921600 chunks, many times those of a segment.
const MOST: u64 = MAX_RUNS as u64 / 3;

/// What is missing for an insertion: room for so many entries in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    run: Chunks,
    entries: u64,
    /// A chunk of the run that belongs to the list.
    chunk: u64,
    /// There is no list, or it has to be divided.
    node: bool,
}

/// Room for entries, allocated by [`Room::new`] and installed by [`Index::grow`].
pub struct Room {
    missing: Missing,
    page: Option<KBox<Page>>,
    node: Option<Node>,
}

impl Room {
    /// Allocates the room that [`Index::missing`] has reported. May sleep.
    ///
    /// Errors: `ENOMEM`.
    pub fn new(missing: Missing) -> Result<Self> {
        Self::from_supply(missing, &Allocated)
    }

    /// Takes the room that [`Index::missing`] has reported from a supply.
    ///
    /// Errors: `ENOMEM`.
    pub fn from_supply(missing: Missing, supply: &impl Supply) -> Result<Self> {
        let node = match missing.node {
            true => Some(supply.node()?),
            false => None,
        };
        let page = Some(supply.page()?);
        Ok(Self {
            missing,
            page,
            node,
        })
    }
}

/// The index. See the [module's documentation](self).
pub struct Index {
    /// By the last chunk that belongs to each. No list reaches over a multiple of [`LIST_CHUNKS`];
    /// of those between two multiples, if there are any, the last one reaches to its end.
    nodes: RBTree<u64, Runs>,
    chunks: u64,
    /// Bytes that it occupies.
    memory: u64,
    /// Positions that a content takes.
    step: u64,
}

impl Index {
    /// Returns an empty index of contents that take `step` positions each.
    pub fn new(step: u64) -> Self {
        Self {
            nodes: RBTree::new(),
            chunks: 0,
            memory: 0,
            step,
        }
    }

    /// Returns the number of chunks that are in the index.
    pub fn len(&self) -> u64 {
        self.chunks
    }

    /// Returns the bytes that the index occupies.
    pub fn memory(&self) -> u64 {
        self.memory
    }

    /// Returns the key of the list that a chunk belongs to, if there is one.
    fn key(&self, chunk: u64) -> Option<u64> {
        let cursor = self.nodes.cursor_lower_bound(&chunk)?;
        let (key, _) = cursor.current();
        (key / LIST_CHUNKS == chunk / LIST_CHUNKS).then_some(*key)
    }

    /// Returns the position of a chunk's content, and the number of chunks from it on whose
    /// contents follow one another there.
    pub fn find(&self, chunk: u64) -> Option<(u64, u64)> {
        let runs = self.nodes.get(&self.key(chunk)?)?;
        let offset = chunk % LIST_CHUNKS;
        let run = runs.get(runs.at_or_before(offset)?)?;
        let skip = offset - run.offset;
        (skip < run.len).then(|| (run.position + skip * self.step, run.len - skip))
    }

    /// Appends the entries of chunks from `from` on to `out`, in order, until `out` is full. An
    /// entry is a run and the position of its first content. Returns the chunk to go on with, or
    /// `None` at the end.
    pub fn export(&self, from: u64, out: &mut KVec<(Chunks, u64)>) -> Option<u64> {
        let mut cursor = self.nodes.cursor_lower_bound(&from);
        while let Some(at) = cursor {
            let (key, runs) = at.current();
            let base = key - key % LIST_CHUNKS;
            for run in runs.iter() {
                let start = base + run.offset;
                let end = base + run.end();
                let item = (Chunks { start, end }, run.position);
                if start >= from && out.push_within_capacity(item).is_err() {
                    return Some(start);
                }
            }
            cursor = self.nodes.cursor_lower_bound(&key.checked_add(1)?);
        }
        None
    }

    /// Returns what is missing for adding `entries` entries for chunks of `run`, or `None` if there
    /// is room.
    pub fn missing(&self, run: Chunks, entries: u64) -> Option<Missing> {
        // CAST: Small. A run that is longer than an entry can be takes several.
        let wanted = (entries + run.len() / MAX_RUN).min(MOST) as usize;
        let mut chunk = run.start;
        while chunk < run.end {
            let key = self.key(chunk);
            let runs = key.and_then(|key| self.nodes.get(&key));
            if runs.is_none_or(|runs| runs.room() < wanted) {
                return Some(Missing {
                    run,
                    entries,
                    chunk,
                    node: runs.is_none_or(|runs| runs.spare() < wanted),
                });
            }
            chunk = key?.checked_add(1)?;
        }
        None
    }

    /// Adds `run`, none of which may be in the index, with contents from `position` on. Never fails
    /// for want of room after [`Index::missing`] has returned `None`; otherwise a part may have
    /// been added.
    ///
    /// Errors: `ENOMEM` when there is no room, `EFBIG` when the contents end beyond
    /// [`MAX_POSITION`].
    pub fn insert(&mut self, mut run: Chunks, mut position: u64) -> Result {
        let contents = run.len().checked_mul(self.step);
        let end = contents.and_then(|len| len.checked_add(position));
        if end.is_none_or(|end| end > MAX_POSITION) {
            return Err(EFBIG);
        }
        while !run.is_empty() {
            let key = self.key(run.start).ok_or(ENOMEM)?;
            let last = (run.end - 1)
                .min(key)
                .min(run.start.saturating_add(MAX_RUN - 1));
            let len = last - run.start + 1;
            let new = Run {
                offset: run.start % LIST_CHUNKS,
                len,
                position,
            };
            self.insert_into(key, new)?;
            self.chunks += len;
            run.start += len;
            position += len * self.step;
        }
        Ok(())
    }

    /// Adds a run to a list: extends the run before it if the new one continues it, otherwise adds
    /// an entry.
    fn insert_into(&mut self, key: u64, new: Run) -> Result {
        let step = self.step;
        let runs = self.nodes.get_mut(&key).ok_or(ENOMEM)?;
        let before = runs.at_or_before(new.offset);
        if let Some((at, old)) = before.and_then(|at| Some((at, runs.get(at)?))) {
            let follows = old.end() == new.offset && old.position + old.len * step == new.position;
            let len = old.len + new.len;
            if follows && len <= MAX_RUN {
                runs.set(at, Run { len, ..old });
                return Ok(());
            }
        }
        match runs.insert(before.map_or(0, |at| at + 1), new) {
            true => Ok(()),
            false => Err(ENOMEM),
        }
    }

    /// Installs room. Returns what was not needed, to be freed outside any lock.
    pub fn grow(&mut self, mut room: Room) -> Room {
        // Others may have come first.
        let Some(missing) = self.missing(room.missing.run, room.missing.entries) else {
            return room;
        };
        if missing.node {
            let Some(node) = room.node.take() else {
                return room;
            };
            self.add_node(missing.chunk, node);
        }
        let key = self.key(missing.chunk);
        let runs = key.and_then(|key| self.nodes.get_mut(&key));
        if let (Some(runs), Some(page)) = (runs, room.page.take()) {
            room.page = runs.add_page(page);
            if room.page.is_none() {
                // CAST: A size in memory.
                self.memory += PAGE_BYTES as u64;
            }
        }
        room
    }

    /// Splits the list that a chunk belongs to, or adds the first list between two multiples.
    fn add_node(&mut self, chunk: u64, node: Node) {
        let base = chunk - chunk % LIST_CHUNKS;
        let key = self.key(chunk);
        let (lower, last) = match key.and_then(|key| self.nodes.get_mut(&key)) {
            Some(runs) => runs.split(chunk % LIST_CHUNKS),
            None => (Runs::new(), LIST_CHUNKS - 1),
        };
        self.nodes.insert(node.into_node(base + last, lower));
        // CAST: A size in memory.
        self.memory += NODE_BYTES as u64;
    }
}
