// SPDX-License-Identifier: GPL-2.0

//! The way of a write, and of the copies and records that it needs. Rules 3 and 4.

#![forbid(unsafe_code)]

use super::device::failed;
use super::device::Claim;
use super::device::Record;
use super::device::Stage;
use super::device::Step;
use super::device::UserWrite;
use super::device::What;
use super::device::World;
use super::model::content;
use super::Trap;
use dm_preserve_core::format::crc32c;
use dm_preserve_core::format::Entry;
use dm_preserve_core::format::BLOCK_BYTES;
use dm_preserve_core::maps::region;
use dm_preserve_core::store::EpochCopies;
use dm_preserve_core::store::RING_RESERVE;
use sim::Data;
use std::sync::Arc as StdArc;

const MAX_WRITES: usize = 6;

impl World {
    /// A new write of the user's: some blocks around a hot chunk.
    pub(crate) fn begin_write(&mut self) -> Step {
        let chunk = self.rng.pick(&self.config.hot).unwrap();
        let step = self.chunk_blocks();
        let mut blocks = match self.rng.below(3) {
            0 => chunk * step..chunk * step + 1,
            1 => chunk * step..(chunk + 1) * step,
            _ => (chunk + 1) * step - 1..(chunk + 2) * step,
        };
        blocks.end = blocks.end.min(self.shape.chunks() * step);
        let hot = |at: u64| self.config.hot.contains(&(at / step));
        if blocks.is_empty() || self.writes.len() >= MAX_WRITES || !blocks.clone().all(hot) {
            return Ok(());
        }
        self.version += 1;
        let mut block = [0; BLOCK_BYTES];
        for sector in block.chunks_exact_mut(512) {
            sector[..8].copy_from_slice(&self.version.to_le_bytes());
        }
        let data: Data = StdArc::new(block);
        self.writes.push(UserWrite {
            chunks: blocks.clone().map(|at| at / step).collect(),
            data: blocks.map(|at| (at, data.clone())).collect(),
            stage: Stage::Waiting,
        });
        Ok(())
    }

    /// A write goes on, if it can.
    pub(crate) fn advance_write(&mut self) -> Step {
        if self.writes.is_empty() {
            return Ok(());
        }
        let which = self.rng.below(self.writes.len() as u64) as usize;
        match self.writes[which].stage {
            Stage::Waiting if self.gate_open => self.enter(which),
            Stage::Entered => self.submit(which),
            _ => Ok(()),
        }
    }

    /// Inside the gate: decides about each chunk, and stays if all is settled.
    fn enter(&mut self, which: usize) -> Step {
        let mut ready = true;
        for chunk in self.writes[which].chunks.clone() {
            if self.present().marks.get(chunk) {
                continue;
            }
            if self.timeline.needs(chunk) {
                ready = false;
                self.claim(chunk)?;
            } else if !self.regions.contains(&region::of(chunk)) {
                ready = false;
                self.announce(region::of(chunk))?;
            }
        }
        if ready {
            self.writes[which].stage = Stage::Entered;
        }
        Ok(())
    }

    /// Still inside: marks, and sends the write to the origin.
    fn submit(&mut self, which: usize) -> Step {
        self.disk_op()?;
        for chunk in self.writes[which].chunks.clone() {
            self.mark(chunk);
        }
        let id = self.origin.submit(self.writes[which].data.clone());
        self.writes[which].stage = Stage::Submitted(id);
        Ok(())
    }

    /// A write to the origin completes, and leaves the gate.
    pub(crate) fn complete_write(&mut self) -> Step {
        let submitted = self.writes.iter().enumerate();
        let submitted = submitted.filter_map(|(which, write)| match write.stage {
            Stage::Submitted(id) => Some((which, id)),
            _ => None,
        });
        let submitted: Vec<_> = submitted.collect();
        if let Some((which, id)) = self.rng.pick(&submitted) {
            self.disk_op()?;
            self.origin.complete(id, false);
            self.writes.swap_remove(which);
            self.totals.writes += 1;
        }
        Ok(())
    }

    /// Reads a chunk that is needed, to copy it.
    fn claim(&mut self, chunk: u64) -> Step {
        if self.claims.contains_key(&chunk) {
            return Ok(());
        }
        let mut claim = Claim {
            content: content(&self.origin, chunk, self.chunk_blocks()),
            read_in: self.present().id,
            reserved: false,
            logged: false,
        };
        if self.rng.once_in(40) {
            let epoch = self.present().id;
            let what = What::Gone { epoch, chunk };
            if !self.log_entries(&[Entry::Gone { chunk, epoch }], RING_RESERVE, what)? {
                return Ok(());
            }
            self.known.gone.insert((chunk, epoch));
            claim.logged = true;
        } else {
            claim.reserved = self.segments.reserve(1) == 1;
            self.full |= !claim.reserved;
            if !claim.reserved {
                return Ok(());
            }
        }
        self.claims.insert(chunk, claim);
        Ok(())
    }

    /// Says in the log that a region is dirty.
    fn announce(&mut self, region: u64) -> Step {
        let (epoch, period) = (self.present().id, self.period);
        let wanted = |record: &Record| {
            matches!(record.what, What::Region { region: r, epoch: e, period: g }
                if (r, e, g) == (region, epoch, period))
        };
        if self.records.values().any(wanted) {
            return Ok(());
        }
        let entry = Entry::Region {
            region,
            epoch,
            period,
        };
        let what = What::Region {
            region,
            epoch,
            period,
        };
        self.log_entries(&[entry], RING_RESERVE, what).map(drop)
    }

    /// Chunks that wait for their record, decided anew: those that nobody needs any longer are
    /// given up.
    fn choose_copies(&mut self) -> Vec<u64> {
        let waiting = self.claims.iter().filter(|(_, claim)| !claim.logged);
        let waiting: Vec<u64> = waiting.map(|(chunk, _)| *chunk).collect();
        let mut chosen = Vec::new();
        for chunk in waiting {
            if !self.timeline.needs(chunk) || !self.is_valid(chunk) {
                let claim = self.claims.remove(&chunk).unwrap();
                if claim.reserved {
                    self.segments.unreserve(1);
                }
            } else if self.rng.below(3) > 0 {
                let reserved = self.claims[&chunk].reserved || self.segments.reserve(1) == 1;
                self.full |= !reserved;
                self.claims.get_mut(&chunk).unwrap().reserved = reserved;
                if reserved {
                    chosen.push(chunk);
                }
            }
        }
        chosen
    }

    /// Whether what was read for a claim is what the chunk has still: unless a drop has let a write
    /// pass, which then has marked the chunk.
    fn is_valid(&self, chunk: u64) -> bool {
        let (from, present) = (self.claims[&chunk].read_in, self.present().id);
        let all_there = self.timeline.epochs(from, u64::MAX).count() as u64 == present - from + 1;
        self.trapped(Trap::StaleContent)
            || all_there && !self.timeline.marked(chunk, from, u64::MAX)
    }

    /// Makes records of contents that were read.
    pub(crate) fn form_copies(&mut self) -> Step {
        let mut chosen = self.choose_copies();
        while !chosen.is_empty() {
            let epoch = self.present().id;
            if (self.current != Some(epoch) || self.logbook.room() == 0)
                && !self.open_segment(epoch)?
            {
                return Ok(());
            }
            let some = chosen.len().min(self.logbook.room() as usize);
            let now: Vec<u64> = chosen.drain(..some).collect();
            self.log_copies(epoch, &now)?;
        }
        Ok(())
    }

    /// The next contents go to a new segment.
    fn open_segment(&mut self, epoch: u64) -> Step<bool> {
        if self.logbook.ring_room() <= RING_RESERVE {
            self.ring_full = true;
            return Ok(false);
        }
        let Some(segment) = self.segments.take() else {
            return failed("a reservation is not honoured");
        };
        self.totals.beyond += u64::from(segment >= self.config.layout.segments);
        for owner in self.timeline.epochs(0, u64::MAX) {
            let owned = owner.copies.as_ref().map(|copies| copies.owned());
            if owned.is_some_and(|owned| owned.contains(&segment)) {
                return failed(format!("segment {segment} belongs to epoch {}", owner.id));
            }
        }
        let copies = self.present().copies.as_ref().unwrap();
        copies.add_segment(segment).unwrap();
        self.current = Some(epoch);
        self.log_entries(
            &[Entry::Segment { segment, epoch }],
            RING_RESERVE,
            What::Other,
        )
    }

    fn log_copies(&mut self, epoch: u64, chunks: &[u64]) -> Step {
        self.disk_op()?;
        let step = self.chunk_blocks();
        let mut rest = Vec::new();
        let mut contents = Vec::new();
        for chunk in chunks {
            let claim = self.claims.get_mut(chunk).unwrap();
            (claim.logged, claim.reserved) = (true, false);
            let checksum = claim
                .content
                .iter()
                .fold(0, |sum, data| crc32c(sum, &**data));
            contents.push((*chunk, checksum));
            rest.extend(claim.content.iter().cloned());
            self.segments.unreserve(1);
        }
        let (place, durable) = (self.logbook.place(), self.durable());
        let mut head = [0; BLOCK_BYTES];
        let formed = self.logbook.contents(epoch, &contents, durable, &mut head);
        let Some(formed) = formed else {
            return failed("no room where there was some");
        };
        self.segments.used_of_current(1 + rest.len() as u64);
        let positions = (formed.block + 1..).step_by(step as usize);
        let what = What::Copies {
            epoch,
            copies: self.present().copies.clone().unwrap(),
            items: chunks.iter().copied().zip(positions).collect(),
        };
        self.write_record(place, formed, head, rest, what);
        self.totals.copies += chunks.len() as u64;
        Ok(())
    }
}
