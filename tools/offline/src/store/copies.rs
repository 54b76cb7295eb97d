// SPDX-License-Identifier: GPL-2.0

//! An epoch's copies, as recovery fills them in: the module's index, and the segments.

#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::collections::BTreeSet;

use kernel::alloc::KVVec;
use kernel::alloc::KVec;
use kernel::error::Result;
use kernel::prelude::GFP_KERNEL;
use kernel::sync::Arc;

use dm_preserve_core::format::Layout;
use dm_preserve_core::history;
use dm_preserve_core::maps::Chunks;
use dm_preserve_core::maps::Index;
use dm_preserve_core::maps::Room;
use dm_preserve_core::store::Checkpoint;
use dm_preserve_core::store::EpochCopies;

/// The copies. See the [module's documentation](self).
pub struct Copies {
    index: RefCell<Index>,
    segments: RefCell<BTreeSet<u64>>,
}

/// What is known of a live device.
pub(crate) type Known = Checkpoint<Copies>;
pub(crate) type Epoch = history::Epoch<Copies>;

impl Copies {
    /// What recovery needs to make them for a store.
    pub fn maker(layout: &Layout) -> impl Fn() -> Result<Arc<Self>> {
        let step = layout.chunk_blocks;
        move || {
            let copies = Self {
                index: RefCell::new(Index::new(step)),
                segments: RefCell::default(),
            };
            Ok(Arc::new(copies, GFP_KERNEL)?)
        }
    }

    /// Number of chunks with a copy.
    pub(crate) fn len(&self) -> u64 {
        self.index.borrow().len()
    }

    /// The segments.
    pub(crate) fn list(&self) -> Vec<u64> {
        self.segments.borrow().iter().copied().collect()
    }
}

impl EpochCopies for Copies {
    fn position(&self, chunk: u64) -> Option<u64> {
        Some(self.index.borrow().find(chunk)?.0)
    }

    fn add(&self, run: Chunks, position: u64) -> Result {
        let mut index = self.index.borrow_mut();
        while let Some(missing) = index.missing(run, 1) {
            index.grow(Room::new(missing)?);
        }
        index.insert(run, position)
    }

    fn add_segment(&self, segment: u64) -> Result {
        self.segments.borrow_mut().insert(segment);
        Ok(())
    }

    fn has_segment(&self, segment: u64) -> bool {
        self.segments.borrow().contains(&segment)
    }

    fn entries(&self, from: u64, out: &mut KVec<(Chunks, u64)>) -> Option<u64> {
        self.index.borrow().export(from, out)
    }

    fn segments(&self, out: &mut KVVec<u64>) -> Result {
        for segment in self.segments.borrow().iter() {
            out.push(*segment, GFP_KERNEL)?;
        }
        Ok(())
    }
}
