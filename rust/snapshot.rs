// SPDX-License-Identifier: GPL-2.0

//! Taking, dropping and releasing snapshots, editing the designation, and giving up.
//!
//! # The instant
//!
//! 1. Everything is allocated; the new timeline is complete.
//! 2. The gate closes: new writes queue, those under way to the origin end.
//! 3. The timeline and the present epoch are swapped; snapshots that the new one replaces are dropped.
//! 4. The gate opens, and the copier sees to the writes that queued.
//!
//! The time that writes are held is that of step 2 and 3, whatever the device's size. With a persistent store
//! the origin is flushed before step 2 and, shortly, after it, so that what the snapshot shows cannot vanish with
//! a volatile cache; and step 3 waits until the log has the new epoch. A transient store makes nothing durable.
//!
//! What shrinks need from outside (a drop, a release, a narrower scope) is durable before it takes effect.
//!
//! All here happens under the control lock, in a [`NoIo`] scope, since the copier may need that lock.

#![forbid(unsafe_code)]

use crate::args::ScopeWanted;
use crate::bitmap::Bitmap;
use crate::chunk::Chunks;
use crate::chunk::Geometry;
use crate::copies::Copies;
use crate::designation::Designation;
use crate::dm;
use crate::dm::NoIo;
use crate::engine::no_regions;
use crate::engine::Control;
use crate::engine::Engine;
use crate::engine::Epoch;
use crate::engine::Present;
use crate::engine::Timeline;
use crate::entry::Entry;
use crate::events::Event;
use crate::journal::Whose;
use crate::ondisk::MAX_ENTRIES;
use crate::segments::Segments;
use crate::timeline::Change;
use crate::timeline::NewSnapshot;
use crate::timeline::Scope;
use crate::timeline::Snapshot;
use kernel::prelude::*;
use kernel::sync::atomic::Relaxed;
use kernel::sync::atomic::Release;
use kernel::sync::Arc;

/// How many chunks are released before others may run.
const RELEASED_AT_ONCE: u64 = 1 << 16;

impl Engine {
    /// Takes a snapshot and drops the oldest ones, so that `keep` are left with it; the result is its id.
    ///
    /// Errors: `ENOENT` for an unknown base, `ENODEV` while a device with a persistent store is not active, `EIO` when that
    /// store has failed.
    pub(crate) fn take_snapshot(self: &Arc<Self>, scope: ScopeWanted, keep: u32) -> Result<u64> {
        let _noio = NoIo::enter();
        let _editor = self.editor.lock();
        let mut control = self.control.lock();
        let now = self.timeline();
        // CAST: At most `MAX_SNAPSHOTS`.
        let drop_up_to = now.beyond(keep as usize);
        let epoch = now.present().map_or(0, |epoch| epoch.id) + 1;
        if self.journal.has_failed() {
            pr_err!(
                "{}: the store has failed: remove the device and give it another one\n",
                self.identity.live
            );
            return Err(EIO);
        }
        self.is_logging()?;
        self.ensure_ring_room(&mut control)?;
        let snapshot = Snapshot::new(NewSnapshot {
            id: self.next_id.load(Relaxed),
            time_ns: dm::now_ns(),
            epoch,
            designation: self.designation(),
            scope: resolve(&now, scope, epoch)?,
            keep_unprotected: self.options().keep_unprotected,
            sectors: self.geometry().sectors(),
            chunks: self.geometry().chunks(),
            // With a persistent store the base's epochs must have been saved as closed first.
            narrowed: !self.is_persistent(),
        })?;
        let designation = self.next_designation()?;
        let id = snapshot.id;
        // With `now` the old epochs go, and their space comes back, before the copier looks for some.
        self.begin_epoch(
            now,
            Change {
                snapshot: Some(snapshot),
                drop_up_to,
                ..Change::NONE
            },
            self.geometry(),
        )?;
        self.next_id.add(1, Relaxed);
        self.set_designation(designation);
        drop(control);
        if self.journal.has_failed() {
            // Since it was asked; whoever ended all snapshots may not have seen this one.
            self.give_up_all(c"the store failed");
            return Err(EIO);
        }
        self.kick_checkpoint();
        if drop_up_to > 0 {
            self.event(Event::Dropped);
        }
        self.event(Event::Snapshot);
        Ok(id)
    }

    /// What the designation is after a snapshot: the same, or the default.
    fn next_designation(&self) -> Result<Arc<Designation>> {
        let options = self.options();
        match options.reset_protection {
            true => Ok(Arc::new(
                Designation::new(options.default_protected),
                GFP_KERNEL,
            )?),
            false => Ok(self.designation()),
        }
    }

    /// Begins an epoch, with the rest of the change. The caller holds the control lock.
    fn begin_epoch(
        self: &Arc<Self>,
        now: Arc<Timeline>,
        change: Change<Copies>,
        geometry: Geometry,
    ) -> Result {
        let begun = self.pass_to_epoch(now, change, geometry);
        // Whatever came of it, writes may have come to the closed gate.
        self.kick();
        begun
    }

    fn pass_to_epoch(
        self: &Arc<Self>,
        now: Arc<Timeline>,
        change: Change<Copies>,
        geometry: Geometry,
    ) -> Result {
        let must_log = self.is_persistent() && !self.journal.has_failed();
        if must_log && !self.is_logging()? {
            return Err(ENODEV);
        }
        let chunks = geometry.chunks();
        let marks = Arc::new(Bitmap::new(chunks)?, GFP_KERNEL)?;
        let regions = match self.is_persistent() {
            true => Some(no_regions(chunks)?),
            false => None,
        };
        let id = now.present().map_or(0, |epoch| epoch.id) + 1;
        let drop_up_to = change.drop_up_to;
        let entries = self.epoch_entries(id, geometry.sectors(), &change)?;
        let new = now.changed(Change {
            begin: Some(Epoch {
                id,
                marks: marks.clone(),
                copies: Some(Copies::new(self.store.clone())?),
            }),
            ..change
        })?;
        let new = Arc::new(new, GFP_KERNEL)?;
        if self.is_persistent() {
            self.origin.flush()?;
        }
        let mut closed = self.gate.close();
        if self.is_persistent() && !self.journal.has_failed() {
            self.origin.flush()?;
            let ticket = self.log(Whose::Control, &entries).ok_or(EIO)?;
            self.journal.wait(Whose::Control, ticket)?;
        }
        let dropped = now.snapshots().iter().filter(|s| s.id <= drop_up_to);
        dropped.for_each(|snapshot| snapshot.set_dropped());
        *closed = Present {
            epoch: id,
            marks,
            generation: closed.generation,
            regions,
        };
        self.publish(new);
        self.journal.begin_epoch(id);
        self.store.with_segments(Segments::close_current);
        Ok(())
    }

    /// What the log says of a new epoch and the change that comes with it.
    fn epoch_entries(
        &self,
        epoch: u64,
        sectors: u64,
        change: &Change<Copies>,
    ) -> Result<KVec<Entry>> {
        let mut entries = KVec::with_capacity(3, GFP_KERNEL)?;
        entries.push(Entry::Epoch { epoch, sectors }, GFP_KERNEL)?;
        if change.drop_up_to > 0 {
            entries.push(Entry::DropUpTo(change.drop_up_to), GFP_KERNEL)?;
        }
        if let Some(snapshot) = &change.snapshot {
            let options = self.options();
            let base = match &snapshot.scope {
                Scope::Full => 0,
                Scope::Incremental { base, .. } => *base,
            };
            let entry = Entry::Snapshot {
                id: snapshot.id,
                time_ns: snapshot.time_ns,
                base,
                keep_unprotected: snapshot.keep_unprotected,
                reset: options
                    .reset_protection
                    .then_some(options.default_protected),
            };
            entries.push(entry, GFP_KERNEL)?;
        }
        Ok(entries)
    }

    /// Makes entries durable that belong together, before what they say takes effect. Nothing to do with a
    /// transient store, or one that has failed, which says so itself. The caller holds the control lock. `ENODEV` while the
    /// device is not active.
    pub(crate) fn make_durable(
        self: &Arc<Self>,
        control: &mut Control,
        entries: &[Entry],
    ) -> Result {
        if !self.is_logging()? {
            return Ok(());
        }
        self.ensure_ring_room(control)?;
        match self.log(Whose::Control, entries) {
            Some(ticket) => self.journal.wait(Whose::Control, ticket),
            None => Err(EIO),
        }
    }

    /// The device has grown: the larger bitmap begins an epoch of its own.
    pub(crate) fn grow(self: &Arc<Self>, sectors: u64) -> Result {
        let _noio = NoIo::enter();
        let mut control = self.control.lock();
        let grown = self.shape.with_sectors(sectors).ok_or(EFBIG)?;
        self.ensure_ring_room(&mut control)?;
        self.begin_epoch(self.timeline(), Change::NONE, grown)?;
        self.sectors.store(sectors, Release);
        Ok(())
    }

    /// Drops a snapshot; its bookmark stays. `ENOENT` when there is none with this id.
    pub(crate) fn drop_snapshot(self: &Arc<Self>, id: u64) -> Result {
        self.end_snapshot(id)?;
        self.kick();
        self.event(Event::Dropped);
        Ok(())
    }

    fn end_snapshot(self: &Arc<Self>, id: u64) -> Result {
        let _noio = NoIo::enter();
        let mut control = self.control.lock();
        let now = self.timeline();
        let snapshot = now.snapshot(id).ok_or(ENOENT)?;
        let new = now.changed(Change {
            drop: Some(id),
            ..Change::NONE
        })?;
        let new = Arc::new(new, GFP_KERNEL)?;
        self.make_durable(&mut control, &[Entry::Drop(id)])?;
        snapshot.set_dropped();
        self.publish(new);
        Ok(())
    }

    /// Forgets a bookmark. `ENOENT` when there is none with this id.
    pub(crate) fn forget_bookmark(self: &Arc<Self>, id: u64) -> Result {
        let _noio = NoIo::enter();
        let mut control = self.control.lock();
        let now = self.timeline();
        if !now.bookmarks().iter().any(|bookmark| bookmark.id == id) {
            return Err(ENOENT);
        }
        let new = now.changed(Change {
            forget: Some(id),
            ..Change::NONE
        })?;
        let new = Arc::new(new, GFP_KERNEL)?;
        self.make_durable(&mut control, &[Entry::Forget(id)])?;
        self.publish(new);
        Ok(())
    }

    /// Gives up the oldest snapshot, so that writes can go on.
    pub(crate) fn give_up_oldest(self: &Arc<Self>, why: &CStr) {
        let timeline = self.timeline();
        let mut live = timeline
            .snapshots()
            .iter()
            .filter(|snapshot| !snapshot.is_dropped());
        let Some(oldest) = live.next() else {
            return;
        };
        let id = oldest.id;
        if let Err(error) = self.end_snapshot(id) {
            if error == ENOENT {
                // Somebody else was quicker.
                return;
            }
            if self.is_persistent() && !self.journal.has_failed() {
                // It cannot be logged, and must not take effect before it is: the store is given up, and with it all snapshots.
                return self.store_failed(error);
            }
            // The flag needs no memory. Freeing its copies has to wait for the next change. That a failed store does not know of
            // it does no harm: what it has announced is gone then, and nothing else passes that it does not know of.
            oldest.set_dropped();
        }
        self.counters.invalidated.add(1, Relaxed);
        pr_warn!(
            "{}: snapshot {id} is given up: {}\n",
            self.identity.live,
            why.to_str().unwrap_or("")
        );
        self.event(Event::Invalid);
    }

    /// Gives up all snapshots.
    pub(crate) fn give_up_all(self: &Arc<Self>, why: &CStr) {
        let live = self.timeline();
        for _ in live
            .snapshots()
            .iter()
            .filter(|snapshot| !snapshot.is_dropped())
        {
            self.give_up_oldest(why);
        }
    }

    /// The chunks of valid ranges of sectors. `EINVAL` for an empty range, `ERANGE` for one that does not
    /// end within the device.
    fn runs(&self, ranges: &[(u64, u64)], outward: bool) -> Result<KVVec<Chunks>> {
        let geometry = self.geometry();
        let mut runs = KVVec::with_capacity(ranges.len(), GFP_KERNEL)?;
        for (start, len) in ranges {
            if *len == 0 {
                return Err(EINVAL);
            }
            let end = geometry.range_end(*start, *len).ok_or(ERANGE)?;
            let run = match outward {
                true => geometry.outward(*start, end),
                false => geometry.inward(*start, end),
            };
            runs.push(run, GFP_KERNEL)?;
        }
        Ok(runs)
    }

    /// Protects or unprotects ranges of sectors, for the next snapshot: protecting rounds outwards,
    /// unprotecting inwards, so that nothing that was to be protected is left out.
    ///
    /// With a persistent store many ranges are logged in batches, each of which takes effect on its own.
    pub(crate) fn edit_designation(
        self: &Arc<Self>,
        ranges: &[(u64, u64)],
        protect: bool,
    ) -> Result {
        let _noio = NoIo::enter();
        let runs = self.runs(ranges, protect)?;
        // Not the control lock: the copier may need that, and many ranges take their time.
        let _editor = self.editor.lock();
        if !self.is_persistent() {
            let edited = self.designation().edited(&runs, protect)?;
            self.set_designation(Arc::new(edited, GFP_KERNEL)?);
            return Ok(());
        }
        let mut entries = KVec::with_capacity(MAX_ENTRIES, GFP_KERNEL)?;
        for batch in runs.chunks(MAX_ENTRIES) {
            entries.clear();
            for run in batch {
                entries.push(Entry::Protect(*run, protect), GFP_KERNEL)?;
            }
            let edited = self.designation().edited(batch, protect)?;
            let edited = Arc::new(edited, GFP_KERNEL)?;
            let mut control = self.control.lock();
            self.make_durable(&mut control, &entries)?;
            self.set_designation(edited);
        }
        Ok(())
    }

    /// A range of a snapshot need not be preserved any longer.
    pub(crate) fn release(self: &Arc<Self>, id: u64, start: u64, len: u64) -> Result {
        let _noio = NoIo::enter();
        let runs = self.runs(&[(start, len)], false)?;
        let timeline = self.timeline();
        let snapshot = timeline.snapshot(id).ok_or(ENOENT)?;
        let mut control = self.control.lock();
        for run in runs {
            // The device may have grown since.
            let end = run.end.min(snapshot.released.len());
            let run = Chunks { end, ..run };
            if run.is_empty() {
                continue;
            }
            snapshot.released.prepare(run)?;
            self.make_durable(&mut control, &[Entry::Release(id, run)])?;
            for chunk in run.start..run.end {
                if chunk % RELEASED_AT_ONCE == 0 {
                    dm::let_others_run();
                }
                snapshot.released.set(chunk);
            }
        }
        // Writes that wait for space may not need it any longer.
        self.kick();
        Ok(())
    }

    /// Sends an event when the store has filled beyond the mark, once until it has emptied below it.
    pub(crate) fn watch_space(self: &Arc<Self>) {
        let (capacity, used) = self.store_space();
        let low = used.saturating_mul(100) >= capacity.saturating_mul(self.options().low_space);
        if self.low_space.xchg(low, kernel::sync::atomic::Full) != low && low {
            self.event(Event::LowSpace);
        }
    }
}

/// The scope that is asked for, for a snapshot that begins `epoch`.
fn resolve(now: &Timeline, scope: ScopeWanted, epoch: u64) -> Result<Scope> {
    let base = match scope {
        ScopeWanted::Full => return Ok(Scope::Full),
        ScopeWanted::Incremental(Some(id)) => now.entry(id),
        ScopeWanted::Incremental(None) => now.latest(),
    };
    now.scope_since(base.ok_or(ENOENT)?.id, epoch)
}
