// SPDX-License-Identifier: GPL-2.0

//! Entries that wait for a record of the [log](crate::engine::log), and the tickets that tell when
//! they are durable.

#![forbid(unsafe_code)]

use crate::format::Entry;
use crate::format::MAX_ENTRIES;
use crate::store::RING_RESERVE;
use kernel::prelude::*;

/// Most entries that wait.
const MAX_WAITING: usize = 4 * MAX_ENTRIES;
/// Of these, how many are kept free for those that nothing bounds but their own number: regions
/// that are announced at once.
pub(in crate::engine) const KEPT_FREE: usize = 64;

/// The two lists of entries that wait for a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::engine) enum Lane {
    /// Entries of those who hold the control lock. They go first, and may use the ring's reserve.
    Control,
    /// Entries of the copier.
    Copier,
}

impl Lane {
    /// Both lanes, in the order in which they go.
    pub const ALL: [Self; 2] = [Self::Control, Self::Copier];

    /// Returns the number of ring blocks that records of the lane must leave free.
    pub(in crate::engine) fn reserve(self) -> u64 {
        match self {
            Self::Control => 0,
            Self::Copier => RING_RESERVE,
        }
    }
}

/// Entries that wait for a record. A group is never divided.
pub(in crate::engine) struct Queue {
    pub entries: KVec<Entry>,
    /// Number of entries of each group.
    groups: KVec<usize>,
    /// Ticket of the last group added, and of the last one in a record.
    added: u64,
    pub(super) formed: u64,
}

impl Queue {
    /// Makes an empty queue. May sleep.
    ///
    /// Errors: `ENOMEM`.
    pub fn new() -> Result<Self> {
        Ok(Self {
            entries: KVec::with_capacity(MAX_WAITING, GFP_KERNEL)?,
            groups: KVec::with_capacity(MAX_WAITING, GFP_KERNEL)?,
            added: 0,
            formed: 0,
        })
    }

    /// Adds a group of entries. Returns its ticket, or `None` if too many entries wait.
    pub(in crate::engine) fn add(&mut self, entries: &[Entry]) -> Option<u64> {
        if self.entries.len() + entries.len() > MAX_WAITING || entries.is_empty() {
            return None;
        }
        for entry in entries {
            // There is room.
            self.entries.push_within_capacity(*entry).ok()?;
        }
        self.groups.push_within_capacity(entries.len()).ok()?;
        self.added += 1;
        Some(self.added)
    }

    /// Returns true if entries that can come later should: others have to find room in any case.
    pub(super) fn is_crowded(&self) -> bool {
        self.entries.len() + KEPT_FREE >= MAX_WAITING
    }

    /// Returns the number of groups that fit into one record, and of the entries in them.
    pub(in crate::engine) fn fitting(&self) -> (usize, usize) {
        let mut fitting = (0, 0);
        for group in self.groups.iter() {
            if fitting.1 + group > MAX_ENTRIES {
                break;
            }
            fitting = (fitting.0 + 1, fitting.1 + group);
        }
        fitting
    }

    /// Takes groups off the front, with their entries, which are in a record now.
    pub fn remove(&mut self, (groups, entries): (usize, usize)) {
        let mut left = entries;
        self.entries.retain(|_| {
            let keep = left == 0;
            left = left.saturating_sub(1);
            keep
        });
        let mut left = groups;
        self.groups.retain(|_| {
            let keep = left == 0;
            left = left.saturating_sub(1);
            keep
        });
        // CAST: A count in memory.
        self.formed += groups as u64;
    }
}
