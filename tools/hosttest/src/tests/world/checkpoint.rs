// SPDX-License-Identifier: GPL-2.0

//! Checkpoints: cut, image, superblocks; while writes go on.

#![forbid(unsafe_code)]

use super::device::Step;
use super::device::Stop;
use super::device::What;
use super::device::World;
use super::Trap;
use dm_preserve_core::format::Block;
use dm_preserve_core::format::BLOCK_BYTES;
use dm_preserve_core::format::SUPERBLOCKS;
use dm_preserve_core::store::save;
use dm_preserve_core::store::Checkpoint;
use dm_preserve_core::store::Disk;
use dm_preserve_core::store::ImageWriter;
use dm_preserve_core::store::LogPosition;
use kernel::prelude::*;
use std::sync::Arc as StdArc;
use zerocopy::little_endian::U32;
use zerocopy::little_endian::U64;

/// The store, for writing an image: between its blocks the device goes on.
struct Between<'a> {
    world: &'a mut World,
    /// How many steps at most.
    steps: u64,
    stop: Option<Stop>,
}

impl Between<'_> {
    fn try_write(&mut self, at: u64, block: &Block) -> Step {
        for _ in 0..self.world.rng.below(self.steps + 1) {
            self.world.step(true)?;
        }
        self.world.write_block(at, block)
    }

    fn try_flush(&mut self) -> Step {
        if self.world.trapped(Trap::ImageNotFlushed) {
            return Ok(());
        }
        self.world.flush_store()
    }

    fn done(&mut self, result: Step) -> Result {
        result.map_err(|stop| {
            self.stop = Some(stop);
            EIO
        })
    }
}

impl Disk for Between<'_> {
    fn read(&mut self, _: u64, _: &mut [u8]) -> Result {
        Err(EINVAL)
    }

    fn write(&mut self, block: u64, data: &[u8]) -> Result {
        let result = self.try_write(block, data.try_into().unwrap());
        self.done(result)
    }

    fn flush(&mut self) -> Result {
        let result = self.try_flush();
        self.done(result)
    }
}

impl World {
    fn write_block(&mut self, at: u64, block: &Block) -> Step {
        self.disk_op()?;
        let id = self.store.submit(vec![(at, StdArc::new(*block))]);
        self.disk_op()?;
        self.store.complete(id, false);
        Ok(())
    }

    fn flush_store(&mut self) -> Step {
        self.disk_op()?;
        self.store.sync();
        Ok(())
    }

    /// Where replay will have to begin: at the oldest record that is not settled.
    fn cut(&self) -> LogPosition {
        let mut unsettled = self
            .records
            .values()
            .filter(|record| matches!(record.what, What::Copies { .. } | What::Gone { .. }));
        match unsettled.next() {
            Some(oldest) if !self.trapped(Trap::CutAtNext) => oldest.place,
            _ => self.logbook.place(),
        }
    }

    /// A checkpoint. `steps`: how many steps the device makes between two blocks.
    pub(crate) fn checkpoint(&mut self, state: u32, steps: u64) -> Step {
        if !self.trapped(Trap::NoDrain) {
            self.close_gate()?;
        }
        self.reclaim();
        self.period += 1;
        if !self.trapped(Trap::RegionsSurviveCheckpoint) {
            self.regions.clear();
        }
        let waiting = self.segments.waiting();
        let saved = Checkpoint {
            place: self.cut(),
            next: self.logbook.place().sequence,
            period: self.period,
            next_id: self.next_id,
            sectors: self.shape.sectors(),
            timeline: self.timeline.clone(),
            designation: self.designation.clone(),
        };
        let number = self.superblock.image_number.get() + 1;
        self.remember_copied(number);
        self.gate_open = true;
        // Small images take one write: what goes on meanwhile is also what comes before that.
        for _ in 0..self.rng.below(steps * 8 + 1) {
            self.step(true)?;
        }
        let area = 1 - self.superblock.image_area.get();
        let used = self.save(&saved, area, number, steps)?;
        self.superblock.state = U32::new(state);
        self.superblock.image_area = U32::new(area);
        self.superblock.image_number = U64::new(number);
        self.superblock.image_used = U64::new(used);
        self.superblock.origin_sectors = U64::new(saved.sectors);
        self.write_superblocks(0)?;
        self.remember_closed(&saved);
        self.logbook.trim(&saved.place);
        self.trail
            .retain(|record| record.sequence >= saved.place.sequence);
        self.segments.free_waiting(waiting);
        self.saved_before = self.present().id;
        self.totals.checkpoints += 1;
        Ok(())
    }

    fn remember_copied(&mut self, number: u64) {
        let runs = self.present().copies.as_ref().map(|copies| copies.runs());
        let chunks = runs.into_iter().flatten();
        let chunks = chunks.flat_map(|(run, _)| run.start..run.end).collect();
        self.known.copied_at_cut.insert(number, chunks);
    }

    fn save(
        &mut self,
        state: &Checkpoint<super::copies::SimCopies>,
        area: u32,
        number: u64,
        steps: u64,
    ) -> Step<u64> {
        let (store, layout) = (self.superblock.store, self.config.layout);
        let mut disk = Between {
            world: self,
            steps,
            stop: None,
        };
        let written = (|| {
            let mut out = ImageWriter::new(&mut disk, store, &layout, area, number)?;
            save::save(state, &mut out)?;
            out.finish()
        })();
        written.map_err(|error| {
            let failed = Stop::Failed(format!("writing the image: {error:?}"));
            disk.stop.take().unwrap_or(failed)
        })
    }

    /// `steps`: how many steps the device makes before each.
    pub(super) fn write_superblocks(&mut self, steps: u64) -> Step {
        self.superblock.sequence += U64::new(1);
        let mut block = [0; BLOCK_BYTES];
        self.superblock.to_block(&mut block);
        let places = match self.trapped(Trap::SuperblocksInFixedOrder) {
            true => SUPERBLOCKS,
            false => self.superblock.places(),
        };
        for at in places {
            if at != SUPERBLOCKS[0] && self.trapped(Trap::OneSuperblock) {
                continue;
            }
            if steps > 0 {
                for _ in 0..self.rng.below(steps + 1) {
                    self.step(true)?;
                }
            }
            self.write_block(at, &block)?;
            if at != places[0] || !self.trapped(Trap::SuperblocksTogether) {
                self.flush_store()?;
            }
        }
        self.known.segments = self.superblock.segments.get();
        Ok(())
    }

    /// From now on no crash may add marks to the epochs that were saved as closed.
    fn remember_closed(&mut self, saved: &Checkpoint<super::copies::SimCopies>) {
        let present = saved.timeline.present().unwrap().id;
        for epoch in saved.timeline.epochs(0, present) {
            let marks = self.config.hot.iter().map(|chunk| epoch.marks.get(*chunk));
            self.known.exact.insert(epoch.id, marks.collect());
        }
    }
}
