// SPDX-License-Identifier: GPL-2.0

//! Takes snapshots, and begins an epoch when the device has grown.
//!
//! # The instant
//!
//! 1. Everything is allocated; the new timeline is complete.
//! 2. The gate closes: new writes queue, those under way to the origin end.
//! 3. The timeline and the present epoch are swapped; snapshots that the new one replaces are
//!    dropped.
//! 4. The gate opens, and the copier sees to the writes that queued.
//!
//! The time that writes are held is that of step 2 and 3, whatever the device's size. With a
//! persistent store the origin is flushed before step 2 and, shortly, after it, so that what the
//! snapshot shows cannot vanish with a volatile cache; and step 3 waits until the log has the new
//! epoch. A transient store makes nothing durable.
//!
//! All here happens under the control lock, in a [`NoIo`] scope, since the copier may need that
//! lock.

#![forbid(unsafe_code)]

use crate::dm;
use crate::dm::NoIo;
use crate::engine::change::Changes;
use crate::engine::log::pending::Lane;
use crate::engine::space::Copies;
use crate::engine::state::no_regions;
use crate::engine::state::Control;
use crate::engine::state::ControlGuard;
use crate::engine::state::Epoch;
use crate::engine::state::Present;
use crate::engine::state::Timeline;
use crate::format::Entry;
use crate::history::Change;
use crate::history::NewSnapshot;
use crate::history::Scope;
use crate::history::Snapshot;
use crate::maps::Bitmap;
use crate::maps::Designation;
use crate::maps::Geometry;
use crate::store::Segments;
use crate::uapi::args::ScopeWanted;
use kernel::prelude::*;
use kernel::sync::Arc;

/// What is as large as the device, in an epoch that is to begin. Allocated before the control lock
/// is taken, under which nobody waits for memory.
struct EpochMaps {
    /// Chunks of the device.
    chunks: u64,
    marks: Arc<Bitmap>,
    /// With a persistent store.
    regions: Option<Arc<Bitmap>>,
    /// Those of a snapshot that is taken with it.
    released: Arc<Bitmap>,
}

impl Changes {
    /// Takes a snapshot and drops the oldest ones, so that `keep` are left with it. Returns its id,
    /// and true if one was dropped.
    ///
    /// Errors: `ENOENT` for an unknown base, `EUCLEAN` for an unproven one, `EOVERFLOW` when too
    /// many were taken since, `ENODEV` while a device with a persistent store is not active, `EIO`
    /// when that store has failed.
    pub(in crate::engine) fn take_snapshot(
        &self,
        scope: ScopeWanted,
        keep: u32,
    ) -> Result<(u64, bool)> {
        let _editor = self.state.editor();
        let (mut control, maps) = self.control_with_maps()?;
        let now = self.state.timeline();
        // CAST: At most `MAX_SNAPSHOTS`.
        let drop_up_to = now.drop_up_to(keep as usize);
        self.ensure_can_take(&mut control)?;
        let snapshot = self.new_snapshot(&now, scope, &maps)?;
        let designation = self.next_designation()?;
        let id = snapshot.id;
        // With `now` the old epochs go, and their space comes back, before the copier looks for
        // some.
        let is_taken = self.begin_epoch(
            now,
            Change {
                snapshot: Some(snapshot),
                drop_up_to,
                ..Change::NONE
            },
            self.device.geometry(),
            maps,
        )?;
        if !is_taken {
            return Err(EIO);
        }
        self.state.use_next_id();
        self.state.set_designation(designation);
        Ok((id, drop_up_to > 0))
    }

    /// Allocates the maps of an epoch of a device of so many chunks. May sleep.
    ///
    /// Errors: `EFBIG` for too many chunks, `ENOMEM`.
    fn new_maps(&self, chunks: u64) -> Result<EpochMaps> {
        Ok(EpochMaps {
            chunks,
            marks: Arc::new(Bitmap::new(chunks)?, GFP_KERNEL)?,
            regions: match self.device.is_persistent() {
                true => Some(no_regions(chunks)?),
                false => None,
            },
            released: Arc::new(Bitmap::new(chunks)?, GFP_KERNEL)?,
        })
    }

    /// Takes the control lock, with maps for an epoch of the device as it is then.
    ///
    /// Errors: `ENOMEM`.
    fn control_with_maps(&self) -> Result<(ControlGuard<'_>, EpochMaps)> {
        loop {
            let maps = self.new_maps(self.device.geometry().chunks())?;
            let control = self.state.control();
            if maps.chunks == self.device.geometry().chunks() {
                return Ok((control, maps));
            }
            // It has just grown.
        }
    }

    /// Returns the designation after a snapshot: the same as now, or the default.
    fn next_designation(&self) -> Result<Arc<Designation>> {
        let options = self.device.options();
        match options.reset_protection {
            true => Ok(Arc::new(
                Designation::new(options.default_protected),
                GFP_KERNEL,
            )?),
            false => Ok(self.state.designation()),
        }
    }

    /// Makes sure that a snapshot can be logged. The caller holds the control lock.
    ///
    /// Errors: `EIO` when the store has failed, `ENODEV` while the device is not active, those of a
    /// checkpoint.
    fn ensure_can_take(&self, control: &mut Control) -> Result {
        if self.log.has_failed() {
            pr_err!(
                "{}: the store has failed: remove the device, and mend the store or give it \
                 another one\n",
                self.device.live()
            );
            return Err(EIO);
        }
        self.session.is_logging()?;
        self.session.ensure_ring_room(control)
    }

    /// Makes a snapshot that begins the next epoch. The caller holds the control lock.
    ///
    /// Errors: `ENOENT`, `EUCLEAN` and `EOVERFLOW` for a base that cannot be one, `ENOMEM`.
    fn new_snapshot(
        &self,
        now: &Timeline,
        scope: ScopeWanted,
        maps: &EpochMaps,
    ) -> Result<Arc<Snapshot>> {
        let epoch = now.present().map_or(0, |epoch| epoch.id) + 1;
        let scope = resolve(now, scope, epoch)
            .and_then(|scope| now.has_room().map(|()| scope))
            .inspect_err(|error| {
                if *error == EOVERFLOW {
                    pr_err!(
                        "{}: too many snapshots were taken since the base, or since the oldest \
                         one that is kept: drop or forget that, or take a later base or a full \
                         one\n",
                        self.device.live()
                    );
                }
            })?;
        if let Scope::Incremental { base, .. } = &scope {
            self.state.ensure_proven(*base)?;
        }
        let new = NewSnapshot {
            id: self.state.next_id(),
            time_ns: dm::now_ns(),
            epoch,
            designation: self.state.designation(),
            scope,
            keep_unprotected: self.device.options().keep_unprotected,
            sectors: self.device.geometry().sectors(),
            chunks: maps.chunks,
            // With a persistent store the base's epochs must have been saved as closed first.
            narrowed: !self.device.is_persistent(),
        };
        Snapshot::restored(new, maps.released.clone(), false)
    }

    /// Begins an epoch, with the rest of the change. Returns false if that rest was not made, as
    /// the store has failed. The caller holds the control lock.
    ///
    /// Errors: `ENOMEM`, `ENODEV` while the device is not active, `EIO` if the epoch cannot be
    /// logged, and those of the origin's flush. Then no epoch has begun.
    fn begin_epoch(
        &self,
        now: Arc<Timeline>,
        change: Change<Copies>,
        geometry: Geometry,
        maps: EpochMaps,
    ) -> Result<bool> {
        let begun = self.pass_to_epoch(now, change, geometry, maps);
        // Whatever came of it, writes may have come to the closed gate.
        self.waker.look_again();
        begun
    }

    fn pass_to_epoch(
        &self,
        now: Arc<Timeline>,
        change: Change<Copies>,
        geometry: Geometry,
        maps: EpochMaps,
    ) -> Result<bool> {
        let must_log = self.device.is_persistent() && !self.log.has_failed();
        if must_log && !self.session.is_logging()? {
            return Err(ENODEV);
        }
        let EpochMaps { marks, regions, .. } = maps;
        let id = now.present().map_or(0, |epoch| epoch.id) + 1;
        let drop_up_to = change.drop_up_to;
        let entries = self.epoch_entries(id, geometry.sectors(), &change)?;
        let copies = Copies::new(self.space.clone())?;
        let with = |change| -> Result<Arc<Timeline>> {
            let begin = Some(Epoch {
                id,
                marks: marks.clone(),
                copies: Some(copies.clone()),
            });
            let changed = now.changed(Change { begin, ..change })?;
            Ok(Arc::new(changed, GFP_KERNEL)?)
        };
        let alone = with(Change::NONE)?;
        let new = with(change)?;
        if self.device.is_persistent() {
            self.device.origin().flush()?;
        }
        let mut closed = self.state.close_gate();
        let is_durable = self.log_epoch(&entries)?;
        if is_durable {
            let dropped = now.snapshots().iter().filter(|s| s.id <= drop_up_to);
            dropped.for_each(|snapshot| snapshot.set_dropped());
        }
        *closed = Present {
            epoch: id,
            marks,
            period: closed.period,
            regions,
        };
        // Of a record that has failed nobody knows whether it will be found. The epoch begins in
        // either case: see `upkeep`.
        let replaced = self.state.publish(match is_durable {
            true => new,
            false => alone,
        });
        self.log.begin_epoch(id);
        self.space.with_segments(Segments::close_current);
        drop(closed);
        // Writes go on already.
        drop(replaced);
        Ok(is_durable)
    }

    /// Makes durable that an epoch begins, with the rest of a change. Returns false if that is not
    /// possible any longer, or not known. Does nothing for a transient store, or one that is given
    /// up.
    ///
    /// Errors: those of the origin's flush, `EIO` if too many entries wait. Nothing has been logged
    /// then.
    fn log_epoch(&self, entries: &[Entry]) -> Result<bool> {
        if !self.device.is_persistent() || self.log.is_given_up() {
            return Ok(true);
        }
        if self.log.has_failed() {
            return Ok(false);
        }
        self.device.origin().flush()?;
        match self.log.append(Lane::Control, entries) {
            Some(ticket) => Ok(self.log.wait(Lane::Control, ticket).is_ok()),
            None if self.log.has_failed() => Ok(false),
            None => Err(EIO),
        }
    }

    /// Returns the entries of the log for a new epoch and the change that comes with it.
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
            let options = self.device.options();
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

    /// Lets the device grow to `sectors` sectors: an epoch with larger bitmaps begins. A store that
    /// is failing does not learn of it, and need not: no write passes in that epoch, and the next
    /// activation lets the device grow again.
    ///
    /// Errors: `EFBIG` for an absurd size, those of a checkpoint and of [`Changes::begin_epoch`].
    pub(in crate::engine) fn grow(&self, sectors: u64) -> Result {
        let _noio = NoIo::enter();
        let grown = self.device.shape().with_sectors(sectors).ok_or(EFBIG)?;
        let maps = self.new_maps(grown.chunks())?;
        let mut control = self.state.control();
        self.session.ensure_ring_room(&mut control)?;
        // Whether the store knows of it makes no difference here.
        let _ = self.begin_epoch(self.state.timeline(), Change::NONE, grown, maps)?;
        self.device.set_sectors(sectors);
        Ok(())
    }
}

/// Returns the scope that is asked for, for a snapshot that begins `epoch`.
fn resolve(now: &Timeline, scope: ScopeWanted, epoch: u64) -> Result<Scope> {
    let base = match scope {
        ScopeWanted::Full => return Ok(Scope::Full),
        ScopeWanted::Incremental(Some(id)) => now.entry(id),
        ScopeWanted::Incremental(None) => now.latest(),
    };
    now.scope_since(base.ok_or(ENOENT)?.id, epoch)
}
