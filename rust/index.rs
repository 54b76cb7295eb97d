// SPDX-License-Identifier: GPL-2.0

//! The index of an epoch's copies: where in the store the content of a chunk lies.
//!
//! Entries of 8 bytes, each a run of chunks whose contents follow one another in the store, sorted within
//! groups of 4096 chunks. So a scattered chunk takes 8 bytes and its share of spare room (a quarter) and of
//! its group, and a run costs no more than a single chunk.
//!
//! Inserting never allocates: [`Index::missing`] says what room is missing, the caller allocates that
//! without a lock and installs it by [`Index::grow`].

#![forbid(unsafe_code)]

use crate::chunk::Chunks;
use kernel::prelude::*;
use kernel::rbtree::RBTree;
use kernel::rbtree::RBTreeNodeReservation;

/// Chunks of a group.
const GROUP: u64 = 1 << GROUP_BITS;
const GROUP_BITS: u32 = 12;
const POSITION_BITS: u32 = 40;
/// Least room that a group gets when it grows.
const SPARE: usize = 4;
/// Positions in the store, in chunks, are below this.
pub(crate) const MAX_POSITION: u64 = 1 << POSITION_BITS;

/// A run: offset in the group, length - 1, position in the store; from the high to the low bits.
#[derive(Clone, Copy)]
struct Entry(u64);

impl Entry {
    fn new(offset: u64, len: u64, position: u64) -> Self {
        let high = offset << GROUP_BITS | (len - 1);
        Self(high << POSITION_BITS | position)
    }

    fn offset(self) -> u64 {
        self.0 >> (POSITION_BITS + GROUP_BITS)
    }

    fn len(self) -> u64 {
        (self.0 >> POSITION_BITS & (GROUP - 1)) + 1
    }

    fn end(self) -> u64 {
        self.offset() + self.len()
    }

    fn position(self) -> u64 {
        self.0 & (MAX_POSITION - 1)
    }

    /// The part from `offset` on, if there is one. A content takes `step` positions.
    fn from(self, offset: u64, step: u64) -> Option<(u64, u64)> {
        let skip = offset.checked_sub(self.offset())?;
        (skip < self.len()).then(|| (self.position() + skip * step, self.len() - skip))
    }
}

type Entries = KVVec<u64>;

/// Room for entries of a group, allocated by [`Room::new`] and installed by [`Index::grow`].
pub(crate) struct Room {
    group: u64,
    entries: Entries,
    node: Option<RBTreeNodeReservation<u64, Entries>>,
}

/// What is missing for an insertion: room for so many entries in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Missing {
    group: u64,
    capacity: usize,
}

impl Room {
    /// Allocates. May sleep.
    pub(crate) fn new(missing: Missing) -> Result<Self> {
        Ok(Self {
            group: missing.group,
            entries: Entries::with_capacity(missing.capacity, GFP_KERNEL)?,
            node: Some(RBTreeNodeReservation::new(GFP_KERNEL)?),
        })
    }
}

/// The index. See the [module's documentation](self).
pub(crate) struct Index {
    groups: RBTree<u64, Entries>,
    chunks: u64,
    /// Positions that a content takes.
    step: u64,
}

/// Where the entry that begins at or before `offset` is, if there is one.
fn at_or_before(entries: &[u64], offset: u64) -> Option<usize> {
    entries
        .partition_point(|entry| Entry(*entry).offset() <= offset)
        .checked_sub(1)
}

impl Index {
    /// An empty index of contents that take `step` positions each.
    pub(crate) fn new(step: u64) -> Self {
        Self {
            groups: RBTree::new(),
            chunks: 0,
            step,
        }
    }

    /// Number of chunks that are in the index.
    pub(crate) fn len(&self) -> u64 {
        self.chunks
    }

    /// The position of a chunk's content, and how many chunks from it on have theirs right behind.
    pub(crate) fn find(&self, chunk: u64) -> Option<(u64, u64)> {
        let entries = self.groups.get(&(chunk >> GROUP_BITS))?;
        let offset = chunk & (GROUP - 1);
        let entry = entries.get(at_or_before(entries, offset)?)?;
        Entry(*entry).from(offset, self.step)
    }

    /// Appends the entries of chunks from `from` on to `out`, in order, as far as there is room in it: each a run and
    /// the position of its first content. The result is the chunk to go on with, if there may be more.
    pub(crate) fn export(&self, from: u64, out: &mut KVec<(Chunks, u64)>) -> Option<u64> {
        let mut cursor = self.groups.cursor_lower_bound(&(from >> GROUP_BITS));
        while let Some(at) = cursor {
            let (group, entries) = at.current();
            let first = group << GROUP_BITS;
            for entry in entries.iter().map(|entry| Entry(*entry)) {
                let start = first + entry.offset();
                let end = first + entry.end();
                let item = (Chunks { start, end }, entry.position());
                if start >= from && out.push_within_capacity(item).is_err() {
                    return Some(start);
                }
            }
            let next = *group + 1;
            cursor = self.groups.cursor_lower_bound(&next);
        }
        None
    }

    /// What is missing for adding `entries` entries for chunks of `run`, if anything is.
    pub(crate) fn missing(&self, run: Chunks, entries: u64) -> Option<Missing> {
        // CAST: No run is so long.
        let wanted = entries as usize;
        let mut groups = run.start >> GROUP_BITS..run.end.div_ceil(GROUP);
        groups.find_map(|group| {
            let (len, capacity) = match self.groups.get(&group) {
                Some(entries) => (entries.len(), entries.capacity()),
                None => (0, 0),
            };
            (capacity < len + wanted).then(|| Missing {
                group,
                capacity: len + wanted.max(len / 4).max(SPARE),
            })
        })
    }

    /// Adds `run`, none of which may be in the index, with contents from `position` on. Fails, possibly
    /// with a part added, unless [`Index::missing`] has said that there is room for it.
    pub(crate) fn insert(&mut self, mut run: Chunks, mut position: u64) -> Result<(), Missing> {
        while !run.is_empty() {
            let group = run.start >> GROUP_BITS;
            let offset = run.start & (GROUP - 1);
            let len = run.len().min(GROUP - offset);
            self.insert_within(group, Entry::new(offset, len, position))?;
            self.chunks += len;
            run.start += len;
            position += len * self.step;
        }
        Ok(())
    }

    fn insert_within(&mut self, group: u64, new: Entry) -> Result<(), Missing> {
        let missing = |len: usize| Missing {
            group,
            capacity: len + SPARE,
        };
        let step = self.step;
        let entries = self.groups.get_mut(&group).ok_or(missing(0))?;
        let before = at_or_before(entries, new.offset());
        if let Some(entry) = before.and_then(|at| entries.get_mut(at)) {
            let old = Entry(*entry);
            if old.end() == new.offset() && old.position() + old.len() * step == new.position() {
                *entry = Entry::new(old.offset(), old.len() + new.len(), old.position()).0;
                return Ok(());
            }
        }
        let len = entries.len();
        entries
            .insert_within_capacity(before.map_or(0, |at| at + 1), new.0)
            .map_err(|_| missing(len))
    }

    /// Installs room for a group; the entries that are there move into it. The result is what is left
    /// over, to be freed outside any lock.
    pub(crate) fn grow(&mut self, mut room: Room) -> Room {
        match self.groups.get_mut(&room.group) {
            Some(entries) if room.entries.capacity() > entries.len() => {
                for entry in entries.iter() {
                    // The capacity was checked.
                    let _ = room.entries.push_within_capacity(*entry);
                }
                core::mem::swap(entries, &mut room.entries);
            }
            Some(_) => (),
            None => {
                let entries = core::mem::take(&mut room.entries);
                if let Some(node) = room.node.take() {
                    self.groups.insert(node.into_node(room.group, entries));
                }
            }
        }
        room
    }

    /// Bytes that the index occupies, without the allocator's rounding.
    pub(crate) fn memory(&self) -> u64 {
        // A node: the tree's links, the key and the value.
        let group = 3 * core::mem::size_of::<usize>() + core::mem::size_of::<(u64, Entries)>();
        let entry = core::mem::size_of::<u64>();
        // CAST: Sizes of memory.
        self.groups
            .values()
            .map(|entries| (group + entries.capacity() * entry) as u64)
            .sum()
    }
}
