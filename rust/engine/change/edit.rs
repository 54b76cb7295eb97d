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
use crate::maps::Chunks;
use kernel::prelude::*;
use kernel::sync::Arc;

/// How many chunks are released before others may run.
const RELEASED_AT_ONCE: usize = 1 << 22;

impl Changes {
    /// Returns the chunks of ranges of sectors, rounded outwards or inwards. `EINVAL` for an empty
    /// range, `ERANGE` for one that does not end within the device.
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
        Ok(runs)
    }

    /// Protects or unprotects ranges of sectors, for the next snapshot. Protecting rounds outwards
    /// and unprotecting inwards, so that nothing that was to be protected is left out.
    ///
    /// With a persistent store many ranges are logged in batches, each of which takes effect on its
    /// own.
    ///
    /// Errors: `EINVAL` for an empty range, `ERANGE` for one that does not end within the device,
    /// `ENOMEM`, those of `Session::make_durable`.
    pub fn edit_designation(&self, ranges: &[(u64, u64)], protect: bool) -> Result {
        let _noio = NoIo::enter();
        let runs = self.runs(ranges, protect)?;
        // Not the control lock: the copier may need that, and many ranges take their time.
        let _editor = self.state.editor();
        if !self.device.is_persistent() {
            let edited = self.state.designation().edited(&runs, protect)?;
            self.state.set_designation(Arc::new(edited, GFP_KERNEL)?);
            return Ok(());
        }
        let mut entries = KVec::with_capacity(MAX_ENTRIES, GFP_KERNEL)?;
        for batch in runs.chunks(MAX_ENTRIES) {
            dm::let_others_run();
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

    /// Releases a range of a snapshot: its chunks need not be preserved any longer.
    ///
    /// Errors: `EINVAL` for an empty range, `ERANGE` for one that does not end within the device,
    /// `ENOENT` for an unknown snapshot, `ENOMEM`, those of `Session::make_durable`.
    pub fn release(&self, id: u64, start: u64, len: u64) -> Result {
        let _noio = NoIo::enter();
        let runs = self.runs(&[(start, len)], false)?;
        let timeline = self.state.timeline();
        let snapshot = timeline.snapshot(id).ok_or(ENOENT)?;
        let mut control = self.state.control();
        for run in runs {
            // The device may have grown since.
            let end = run.end.min(snapshot.released.len());
            let run = Chunks { end, ..run };
            if run.is_empty() {
                continue;
            }
            snapshot.released.prepare(run)?;
            self.session
                .make_durable(&mut control, &[Entry::Release(id, run)])?;
            for start in (run.start..run.end).step_by(RELEASED_AT_ONCE) {
                dm::let_others_run();
                // CAST: A constant.
                let end = run.end.min(start.saturating_add(RELEASED_AT_ONCE as u64));
                // The leaves exist.
                snapshot.released.set_run(Chunks { start, end })?;
            }
        }
        // Writes that wait for space may not need it any longer.
        self.waker.look_again();
        Ok(())
    }
}
