// SPDX-License-Identifier: GPL-2.0

//! Taking snapshots, and what else begins an epoch.
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
//! All here happens under the control lock, in a [`NoIo`] scope, since the copier may need that lock.

#![forbid(unsafe_code)]

use crate::args::ScopeWanted;
use crate::bitmap::Bitmap;
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
use crate::instant::NewSnapshot;
use crate::instant::Scope;
use crate::instant::Snapshot;
use crate::queue::Whose;
use crate::segments::Segments;
use crate::timeline::Change;
use kernel::prelude::*;
use kernel::sync::atomic::Relaxed;
use kernel::sync::atomic::Release;
use kernel::sync::Arc;

impl Engine {
    /// Takes a snapshot and drops the oldest ones, so that `keep` are left with it; the result is its id.
    ///
    /// Errors: `ENOENT` for an unknown base, `EUCLEAN` for an unproven one, `EOVERFLOW` when too
    /// many were taken since, `ENODEV` while a device with a persistent store is not active, `EIO`
    /// when that
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
        let scope = resolve(&now, scope, epoch)
            .and_then(|scope| now.has_room().map(|()| scope))
            .inspect_err(|error| {
                if *error == EOVERFLOW {
                    pr_err!(
                        "{}: too many snapshots were taken since the base, or since the oldest one that is kept: drop or forget that, or take a later base or a full one\n",
                        self.identity.live
                    );
                }
            })?;
        if let Scope::Incremental { base, .. } = &scope {
            self.ensure_proven(*base)?;
        }
        let snapshot = Snapshot::new(NewSnapshot {
            id: self.next_id.load(Relaxed),
            time_ns: dm::now_ns(),
            epoch,
            designation: self.designation(),
            scope,
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
