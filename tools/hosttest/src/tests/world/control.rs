// SPDX-License-Identifier: GPL-2.0

//! Snapshots, drops and all else that changes what the device must remember: one at a time, each
//! durable before it takes effect.

#![forbid(unsafe_code)]

use super::copies::SimCopies;
use super::device::failed;
use super::device::Doing;
use super::device::Step;
use super::device::What;
use super::device::World;
use super::model::content;
use super::model::Model;
use super::Trap;
use dm_preserve_core::format::Entry;
use dm_preserve_core::history::Change;
use dm_preserve_core::history::Epoch;
use dm_preserve_core::history::NewSnapshot;
use dm_preserve_core::history::Scope;
use dm_preserve_core::history::Snapshot;
use dm_preserve_core::maps::Bitmap;
use dm_preserve_core::maps::Chunks;
use dm_preserve_core::maps::Designation;
use kernel::prelude::*;
use kernel::sync::Arc;

impl World {
    /// Writes a control record, and waits until it is durable.
    pub(super) fn control(&mut self, entries: &[Entry], after: Model) -> Step {
        let sequence = self.logbook.place().sequence;
        self.known.after = Some(after);
        if !self.log_entries(entries, 0, What::Other)? {
            return failed("no room for a control record");
        }
        self.doing = Some(match entries {
            [Entry::Drop(_)] => Doing::Drop,
            [Entry::Epoch { .. }] => Doing::Growth,
            _ => Doing::OtherControl,
        });
        while self.durable() <= sequence {
            self.step(true)?;
        }
        self.doing = None;
        self.known.model = self.known.after.take().unwrap();
        self.totals.controls += 1;
        Ok(())
    }

    pub(super) fn change(&mut self, change: Change<SimCopies>) {
        for snapshot in self.timeline.snapshots() {
            if snapshot.id <= change.drop_up_to || change.drop == Some(snapshot.id) {
                snapshot.set_dropped();
            }
        }
        let new = self.timeline.changed(change).unwrap();
        self.timeline = Arc::new(new, GFP_KERNEL).unwrap();
        self.reclaim();
    }

    /// A snapshot; only the latest `keep` stay.
    pub(crate) fn snapshot(&mut self, base: Option<u64>, keep: usize, reset: Option<bool>) -> Step {
        self.close_gate()?;
        self.flush_origin()?;
        let live = self.timeline.snapshots();
        let dropped = (live.len() + 1).saturating_sub(keep.max(1));
        let drop_up_to = live[..dropped].last().map_or(0, |snapshot| snapshot.id);
        let keep_unprotected = self.config.keep_unprotected;
        let epoch = self.present().id + 1;
        let (id, sectors) = (self.next_id, self.shape.sectors());
        let scope = match base {
            Some(base) => self.timeline.scope_since(base, epoch).unwrap(),
            None => Scope::Full,
        };
        let snapshot = Snapshot::new(NewSnapshot {
            id,
            time_ns: id * 1000,
            epoch,
            designation: self.designation.clone(),
            scope,
            keep_unprotected,
            sectors,
            chunks: self.shape.chunks(),
            narrowed: false,
        });
        let mut after = self.known.model.clone();
        let hot = self.config.hot.iter();
        let contents = hot.map(|chunk| content(&self.origin, *chunk, self.chunk_blocks()));
        after.snapshot(
            contents.collect(),
            base,
            keep_unprotected,
            drop_up_to,
            reset,
        );
        let entry = Entry::Snapshot {
            id,
            time_ns: id * 1000,
            base: base.unwrap_or(0),
            keep_unprotected,
            reset,
        };
        let mut entries = vec![Entry::Epoch { epoch, sectors }, entry];
        if drop_up_to > 0 {
            entries.push(Entry::DropUpTo(drop_up_to));
        }
        self.control(&entries, after)?;
        self.begin_epoch(Some(snapshot.unwrap()), drop_up_to);
        self.next_id += 1;
        if let Some(default) = reset {
            self.designation = Arc::new(Designation::new(default), GFP_KERNEL).unwrap();
        }
        Ok(())
    }

    fn flush_origin(&mut self) -> Step {
        self.disk_op()?;
        if !self.trapped(Trap::NoOriginFlush) {
            self.origin.sync();
        }
        Ok(())
    }

    /// Swaps the epoch, and opens the gate.
    fn begin_epoch(&mut self, snapshot: Option<Arc<Snapshot>>, drop_up_to: u64) {
        let copies = SimCopies::new(self.chunk_blocks(), &self.returned);
        let begin = Epoch {
            id: self.present().id + 1,
            marks: Arc::new(Bitmap::new(self.shape.chunks()).unwrap(), GFP_KERNEL).unwrap(),
            copies: Some(Arc::new(copies, GFP_KERNEL).unwrap()),
        };
        self.change(Change {
            begin: Some(begin),
            snapshot,
            drop_up_to,
            ..Change::NONE
        });
        // What is reserved was so in the segment that is closed now.
        self.current = None;
        self.segments.close_current();
        for claim in self.claims.values_mut().filter(|claim| claim.reserved) {
            claim.reserved = false;
            self.segments.unreserve(1);
        }
        if !self.trapped(Trap::RegionsSurviveSnapshot) {
            self.regions.clear();
        }
        self.gate_open = true;
    }

    /// The device becomes longer: an epoch without a snapshot.
    pub(crate) fn grow(&mut self, chunks: u64) -> Step {
        self.close_gate()?;
        let shape = self.shape.with_sectors(chunks * self.shape.chunk_sectors());
        let mut after = self.known.model.clone();
        after.epoch += 1;
        after.chunks = chunks;
        let entry = Entry::Epoch {
            epoch: self.present().id + 1,
            sectors: shape.unwrap().sectors(),
        };
        self.control(&[entry], after)?;
        self.shape = shape.unwrap();
        self.begin_epoch(None, 0);
        Ok(())
    }

    pub(crate) fn drop_snapshot(&mut self, id: u64) -> Step {
        let mut after = self.known.model.clone();
        after.drop(id);
        if self.trapped(Trap::EarlyDrop) {
            self.timeline.snapshot(id).unwrap().set_dropped();
        }
        self.control(&[Entry::Drop(id)], after)?;
        self.change(Change {
            drop: Some(id),
            ..Change::NONE
        });
        Ok(())
    }

    pub(crate) fn forget(&mut self, id: u64) -> Step {
        let mut after = self.known.model.clone();
        after.forget(id);
        self.control(&[Entry::Forget(id)], after)?;
        self.change(Change {
            forget: Some(id),
            ..Change::NONE
        });
        Ok(())
    }

    pub(crate) fn release(&mut self, id: u64, run: Chunks) -> Step {
        let snapshot = self.timeline.snapshot(id).unwrap().clone();
        let end = run.end.min(snapshot.released.len());
        let run = Chunks { end, ..run };
        let mut after = self.known.model.clone();
        after.release(id, run);
        let release = || {
            snapshot.released.prepare(run).unwrap();
            for chunk in run.start..run.end {
                snapshot.released.set(chunk).unwrap();
            }
        };
        if self.trapped(Trap::EarlyRelease) {
            release();
        }
        self.control(&[Entry::Release(id, run)], after)?;
        release();
        Ok(())
    }

    pub(crate) fn protect(&mut self, run: Chunks, protected: bool) -> Step {
        let mut after = self.known.model.clone();
        after.protect(run, protected);
        self.control(&[Entry::Protect(run, protected)], after)?;
        let edited = self.designation.edited(&[run], protected).unwrap();
        self.designation = Arc::new(edited, GFP_KERNEL).unwrap();
        Ok(())
    }

    /// Narrows the scopes that may be: those of snapshots before which all epochs were saved as
    /// closed.
    pub(crate) fn narrow(&mut self) -> Step {
        let early = self.trapped(Trap::EarlyNarrow);
        let timeline = self.timeline.clone();
        for snapshot in timeline.snapshots() {
            let ready = early || snapshot.epoch <= self.saved_before;
            if ready && !snapshot.is_narrowed() && !snapshot.is_dropped() {
                let mut after = self.known.model.clone();
                after.narrow(snapshot.id);
                self.control(&[Entry::Narrow(snapshot.id)], after)?;
                snapshot.narrow();
            }
        }
        Ok(())
    }
}
