// SPDX-License-Identifier: GPL-2.0

//! Records of the log: written at once, complete in any order, take effect in log order.

#![forbid(unsafe_code)]

use super::copies::SimCopies;
use super::device::Record;
use super::device::Step;
use super::device::Trail;
use super::device::What;
use super::device::World;
use super::Trap;
use dm_preserve_core::format::Block;
use dm_preserve_core::format::Entry;
use dm_preserve_core::format::BLOCK_BYTES;
use dm_preserve_core::maps::Chunks;
use dm_preserve_core::store::EpochCopies;
use dm_preserve_core::store::Formed;
use dm_preserve_core::store::LogPosition;
use sim::Data;
use std::sync::Arc as StdArc;

fn one(chunk: u64) -> Chunks {
    Chunks {
        start: chunk,
        end: chunk + 1,
    }
}

impl World {
    pub(super) fn mark(&self, chunk: u64) {
        let marks = &self.present().marks;
        marks.prepare(one(chunk)).unwrap();
        marks.set(chunk).unwrap();
    }

    /// Writes a record of entries, if there is room.
    pub(crate) fn log_entries(
        &mut self,
        entries: &[Entry],
        reserve: u64,
        what: What,
    ) -> Step<bool> {
        self.disk_op()?;
        let place = self.logbook.place();
        let mut block = [0; BLOCK_BYTES];
        let durable = self.durable();
        let formed = self.logbook.entries(entries, durable, reserve, &mut block);
        let Some(formed) = formed else {
            self.ring_full = true;
            return Ok(false);
        };
        self.write_record(place, formed, block, Vec::new(), what);
        Ok(true)
    }

    pub(super) fn write_record(
        &mut self,
        place: LogPosition,
        formed: Formed,
        head: Block,
        rest: Vec<Data>,
        what: What,
    ) {
        let mut blocks = vec![(formed.block, StdArc::new(head))];
        blocks.extend((formed.block + 1..).zip(rest));
        self.trail.push(Trail {
            sequence: formed.sequence,
            block: formed.block,
            blocks: blocks.len() as u64,
            durable: self.durable().min(formed.sequence),
        });
        let io = Some(self.store.submit(blocks));
        self.records
            .insert(formed.sequence, Record { place, io, what });
        self.totals.records += 1;
    }

    /// A record's write completes.
    pub(crate) fn complete_record(&mut self) -> Step {
        let under_way = self.records.iter().filter(|(_, r)| r.io.is_some());
        let under_way: Vec<u64> = under_way.map(|(sequence, _)| *sequence).collect();
        if let Some(sequence) = self.rng.pick(&under_way) {
            self.disk_op()?;
            let io = self.records.get_mut(&sequence).unwrap().io.take();
            let fua = !self.trapped(Trap::NoFua);
            self.store.complete(io.unwrap(), fua);
        }
        Ok(())
    }

    /// The first record that is durable takes effect.
    pub(crate) fn settle(&mut self) -> Step {
        let (durable, out_of_order) = (self.durable(), self.trapped(Trap::OutOfOrder));
        let ready = |(sequence, record): &(&u64, &Record)| {
            **sequence < durable || (out_of_order && record.io.is_none())
        };
        let mut ready = self.records.iter().filter(ready).map(|(n, _)| *n);
        let first = match self.config.trap {
            Some(Trap::SettleInAnyOrder) => self.rng.pick(&ready.collect::<Vec<u64>>()),
            _ => ready.next(),
        };
        let Some(sequence) = first.filter(|_| self.gate_open) else {
            return Ok(());
        };
        let record = self.records.remove(&sequence).unwrap();
        let (epoch, period) = (self.present().id, self.period);
        match record.what {
            What::Copies {
                epoch: decided,
                copies,
                items,
            } => {
                let stale = decided != epoch && !self.trapped(Trap::StaleCopy);
                for (chunk, position) in items {
                    self.settle_copy(stale, &copies, chunk, position);
                }
            }
            What::Gone { epoch: e, chunk } => {
                if e == epoch {
                    self.mark(chunk);
                }
                self.claims.remove(&chunk);
            }
            What::Region {
                region,
                epoch: e,
                period: g,
            } => {
                if e == epoch && g == period {
                    self.regions.insert(region);
                }
            }
            What::Other => (),
        }
        Ok(())
    }

    fn settle_copy(&mut self, stale: bool, copies: &SimCopies, chunk: u64, position: u64) {
        if stale {
            // It needs another record, if the content is valid still.
            if let Some(claim) = self.claims.get_mut(&chunk) {
                claim.logged = false;
            }
            return;
        }
        if !self.present().marks.get(chunk) {
            copies.add(one(chunk), position).unwrap();
            self.mark(chunk);
        }
        self.claims.remove(&chunk);
    }
}
