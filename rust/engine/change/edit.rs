// SPDX-License-Identifier: GPL-2.0

//! Edits the designation, and releases ranges of a snapshot.
//!
//! What shrinks need from outside (a drop, a release, a narrower scope) is durable before it takes
//! effect.

#![forbid(unsafe_code)]

use crate::dm;
use crate::dm::NoIo;
use crate::engine::change::Changes;
use crate::format::Entry;
use crate::format::MAX_ENTRIES;
use crate::history::Snapshot;
use crate::maps::merged;
use crate::maps::Chunks;
use kernel::prelude::*;
use kernel::sync::Arc;

/// Most chunks released at once: two thousand leaves, 256 GiB with chunks of 4 KiB.
const RELEASED_AT_ONCE: u64 = 1 << 26;
/// Most runs of chunks edited before others may run.
const EDITED_AT_ONCE: usize = 1024;

/// Lets others run, in a long edit.
///
/// Errors: `EINTR` if whoever asked for it has been killed.
fn pause() -> Result {
    dm::let_others_run();
    match dm::is_killed() {
        true => Err(EINTR),
        false => Ok(()),
    }
}

impl Changes {
    /// Returns the chunks of ranges of sectors, rounded outwards or inwards, sorted and merged, so
    /// that nothing is done twice however often it is named. `EINVAL` for an empty range, `ERANGE`
    /// for one that does not end within the device.
    fn runs(&self, ranges: &[(u64, u64)], outward: bool) -> Result<KVVec<Chunks>> {
        let geometry = self.device.geometry();
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
        merged(runs)
    }

    /// Protects or unprotects ranges of sectors, for the next snapshot. Protecting rounds outwards
    /// and unprotecting inwards, so that nothing that was to be protected is left out.
    ///
    /// With a persistent store many ranges are logged in batches, each of which takes effect on its
    /// own.
    ///
    /// Errors: `EINVAL` for an empty range, `ERANGE` for one that does not end within the device,
    /// `EINTR` when the caller is killed, `ENOMEM`, those of `Session::make_durable`.
    pub fn edit_designation(&self, ranges: &[(u64, u64)], protect: bool) -> Result {
        let _noio = NoIo::enter();
        let runs = self.runs(ranges, protect)?;
        // Not the control lock: the copier may need that, and many ranges take their time.
        let _editor = self.state.editor();
        match self.device.is_persistent() {
            true => self.edit_logged(&runs, protect),
            false => self.edit_unlogged(&runs, protect),
        }
    }

    /// Edits the designation of a device with a transient store. The caller holds the editor lock.
    fn edit_unlogged(&self, runs: &[Chunks], protect: bool) -> Result {
        let mut edited = self.state.designation().share()?;
        for batch in runs.chunks(EDITED_AT_ONCE) {
            pause()?;
            edited.edit(batch, protect)?;
        }
        self.state.set_designation(Arc::new(edited, GFP_KERNEL)?);
        Ok(())
    }

    /// Edits the designation of a device with a persistent store. The caller holds the editor lock.
    fn edit_logged(&self, runs: &[Chunks], protect: bool) -> Result {
        let mut entries = KVec::with_capacity(MAX_ENTRIES, GFP_KERNEL)?;
        for batch in runs.chunks(MAX_ENTRIES) {
            pause()?;
            entries.clear();
            for run in batch {
                entries.push(Entry::Protect(*run, protect), GFP_KERNEL)?;
            }
            let edited = self.state.designation().edited(batch, protect)?;
            let edited = Arc::new(edited, GFP_KERNEL)?;
            let mut control = self.state.control();
            self.session.make_durable(&mut control, &entries)?;
            self.state.set_designation(edited);
        }
        Ok(())
    }

    /// Releases a range of a snapshot: its chunks need not be preserved any longer. A long one is
    /// released in pieces, each of which takes effect on its own.
    ///
    /// Errors: `EINVAL` for an empty range, `ERANGE` for one that does not end within the device,
    /// `ENOENT` for an unknown snapshot, `EINTR` when the caller is killed, `ENOMEM`, those of
    /// `Session::make_durable`.
    pub fn release(&self, id: u64, start: u64, len: u64) -> Result {
        let _noio = NoIo::enter();
        let runs = self.runs(&[(start, len)], false)?;
        let timeline = self.state.timeline();
        let snapshot = timeline.snapshot(id).ok_or(ENOENT)?;
        for run in runs {
            // The device may have grown since.
            let end = run.end.min(snapshot.released.len());
            let mut start = run.start;
            while start < end {
                pause()?;
                // Whole leaves, but for the first and the last one.
                let piece_end = end.min((start / RELEASED_AT_ONCE + 1) * RELEASED_AT_ONCE);
                let piece = Chunks {
                    start,
                    end: piece_end,
                };
                self.release_piece(snapshot, piece)?;
                start = piece_end;
            }
        }
        Ok(())
    }

    /// Releases chunks of a snapshot.
    ///
    /// With a persistent store the control lock is held from the record to the last bit: a
    /// checkpoint in between would have the one behind it and lack the others, and the next
    /// activation would take what nobody needs for needed. A transient store has neither.
    fn release_piece(&self, snapshot: &Snapshot, run: Chunks) -> Result {
        snapshot.released.prepare_run(run)?;
        let mut control = None;
        if self.device.is_persistent() {
            let control = control.insert(self.state.control());
            self.session
                .make_durable(control, &[Entry::Release(snapshot.id, run)])?;
        }
        // What it needs is there.
        snapshot.released.set_run(run)?;
        drop(control);
        // Writes that wait for space may not need it any longer.
        self.waker.look_again();
        Ok(())
    }
}
