// SPDX-License-Identifier: GPL-2.0

//! The store grows while everything goes on: superblocks with the larger layout first, then the
//! segments beyond the old end are used. A crash in between leaves segments that nothing refers to,
//! which the next session finds.

#![forbid(unsafe_code)]

use super::device::Doing;
use super::device::Step;
use super::device::World;
use super::Trap;
use dm_preserve_core::format::Layout;

impl World {
    /// Grows the store by some blocks, if it may grow still: by no segment, by one or by two.
    pub(crate) fn grow_store_some(&mut self) -> Step {
        let (segment, had) = (self.config.layout.segment_blocks, self.store.blocks());
        let most = self.config.layout.blocks() + self.config.growth * segment;
        let blocks = had + 1 + self.rng.below(2 * segment);
        match had < most {
            true => self.grow_store(blocks.min(most)),
            false => Ok(()),
        }
    }

    fn grow_store(&mut self, blocks: u64) -> Step {
        self.store.grow(blocks);
        let grown = self.segments.layout().grown(blocks);
        if grown == self.segments.layout() {
            return Ok(());
        }
        grown.store(&mut self.superblock);
        if self.trapped(Trap::EarlySegments) {
            self.use_layout(grown);
        }
        self.doing = Some(Doing::StoreGrowth);
        self.write_superblocks(20)?;
        self.doing = None;
        if !self.trapped(Trap::EarlySegments) {
            self.use_layout(grown);
        }
        Ok(())
    }

    fn use_layout(&mut self, grown: Layout) {
        self.segments.grow(grown).unwrap();
        self.logbook.layout = grown;
    }

    /// The device of the store may have become larger than the layout that was recovered says. The
    /// superblocks that begin the session have the new one, and nothing is logged before they are
    /// durable.
    pub(crate) fn grow_at_start(&mut self) {
        let grown = self.segments.layout().grown(self.store.blocks());
        if self.config.growth > 0 && grown != self.segments.layout() {
            grown.store(&mut self.superblock);
            self.use_layout(grown);
        }
    }
}
