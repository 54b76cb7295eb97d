// SPDX-License-Identifier: GPL-2.0

//! An epoch's copies: the module's index, and the segments that it owns.

#![forbid(unsafe_code)]

use dm_preserve_core::maps::Chunks;
use dm_preserve_core::maps::Index;
use dm_preserve_core::maps::Room;
use dm_preserve_core::store::EpochCopies;
use kernel::prelude::*;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc as StdArc;

pub(crate) struct SimCopies {
    index: RefCell<Index>,
    owned: RefCell<Vec<u64>>,
    /// Where its segments go when nobody refers to it any longer.
    returned: StdArc<RefCell<Vec<u64>>>,
    /// For a trap: chunks that are not added.
    refused: BTreeSet<u64>,
}

impl SimCopies {
    pub(crate) fn new(chunk_blocks: u64, returned: &StdArc<RefCell<Vec<u64>>>) -> Self {
        Self {
            index: RefCell::new(Index::new(chunk_blocks)),
            owned: RefCell::default(),
            returned: returned.clone(),
            refused: BTreeSet::new(),
        }
    }

    pub(crate) fn refusing(mut self, refused: BTreeSet<u64>) -> Self {
        self.refused = refused;
        self
    }

    pub(crate) fn owned(&self) -> Vec<u64> {
        self.owned.borrow().clone()
    }

    /// All runs with their positions.
    pub(crate) fn runs(&self) -> Vec<(Chunks, u64)> {
        let mut all = Vec::new();
        let mut from = Some(0);
        while let Some(chunk) = from {
            let mut some = KVec::with_capacity(3, GFP_KERNEL).unwrap();
            from = self.entries(chunk, &mut some);
            all.extend(some.iter().copied());
        }
        all
    }
}

impl Drop for SimCopies {
    fn drop(&mut self) {
        self.returned
            .borrow_mut()
            .append(&mut self.owned.borrow_mut());
    }
}

impl EpochCopies for SimCopies {
    fn position(&self, chunk: u64) -> Option<u64> {
        self.index
            .borrow()
            .find(chunk)
            .map(|(position, _)| position)
    }

    fn add(&self, run: Chunks, position: u64) -> Result {
        if (run.start..run.end).any(|chunk| self.refused.contains(&chunk)) {
            return Ok(());
        }
        let mut index = self.index.borrow_mut();
        while let Some(missing) = index.missing(run, 1) {
            let room = Room::new(missing)?;
            drop(index.grow(room));
        }
        index.insert(run, position)
    }

    fn add_segment(&self, segment: u64) -> Result {
        self.owned.borrow_mut().push(segment);
        Ok(())
    }

    fn has_segment(&self, segment: u64) -> bool {
        self.owned.borrow().contains(&segment)
    }

    fn entries(&self, from: u64, out: &mut KVec<(Chunks, u64)>) -> Option<u64> {
        self.index.borrow().export(from, out)
    }

    fn segments(&self, out: &mut KVVec<u64>) -> Result {
        for segment in self.owned.borrow().iter() {
            out.push(*segment, GFP_KERNEL)?;
        }
        Ok(())
    }
}
