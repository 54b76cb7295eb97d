// SPDX-License-Identifier: GPL-2.0

//! What a store has: epochs with their segments, snapshots and bookmarks.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::time::Duration;
use std::time::UNIX_EPOCH;

use kernel::alloc::KVVec;
use kernel::error::code::EUCLEAN;
use kernel::prelude::GFP_KERNEL;

use super::report::EpochReport;
use super::report::SnapshotReport;
use super::whole::Check;
use crate::store::Known;
use crate::store::Result;
use dm_preserve_core::history::Scope;
use dm_preserve_core::history::Snapshot;
use dm_preserve_core::history::Whereabouts;
use dm_preserve_core::store::save;
use dm_preserve_core::store::Segments;

impl Check<'_, '_> {
    /// The epochs, and that no segment belongs to two.
    pub(super) fn epochs(&mut self, known: &Known) -> Result<()> {
        let mut owners: BTreeMap<u64, u64> = BTreeMap::new();
        let mut owned = KVVec::new();
        let mut twice = false;
        for epoch in known.timeline.epochs(0, u64::MAX) {
            let segments = epoch.copies.as_ref().map_or(Vec::new(), |c| c.list());
            for segment in &segments {
                owned
                    .push(*segment, GFP_KERNEL)
                    .map_err(|e| self.store.explain(e.into()))?;
                if let Some(other) = owners.insert(*segment, epoch.id) {
                    twice = true;
                    let text = format!(
                        "segment {segment} belongs to epochs {other} and {}",
                        epoch.id
                    );
                    self.report.damage("segments", text);
                }
            }
            self.report.epochs.push(EpochReport {
                id: epoch.id,
                marks: epoch.marks.count(),
                copies: epoch.copies.as_ref().map(|copies| copies.len()),
                segments: segments.len() as u64,
            });
        }
        if let Some(layout) = &mut self.report.layout {
            layout.used_segments = Some(owners.len() as u64);
        }
        match Segments::new(self.layout, &owned) {
            Ok(_) => Ok(()),
            Err(EUCLEAN) if twice => Ok(()),
            Err(EUCLEAN) => {
                let text = "the module would not take them: one does not exist";
                self.report.damage("segments", text.into());
                Ok(())
            }
            Err(error) => Err(self.store.explain(error)),
        }
    }

    pub(super) fn snapshots(&mut self, known: &Known) -> Result<()> {
        let timeline = &known.timeline;
        for (kind, list) in [
            ("snapshot", timeline.snapshots()),
            ("bookmark", timeline.bookmarks()),
        ] {
            for snapshot in list {
                let preserved = match kind {
                    "snapshot" => preserved(known, snapshot),
                    _ => Ok(0),
                };
                let preserved = preserved.map_err(|e| self.store.explain(e))?;
                let (scope, base) = match snapshot.scope {
                    Scope::Full => ("full", 0),
                    Scope::Incremental { base, .. } => ("incremental", base),
                };
                self.report.snapshots.push(SnapshotReport {
                    id: snapshot.id,
                    kind,
                    time_ns: snapshot.time_ns,
                    time: time(snapshot.time_ns),
                    scope,
                    base,
                    epoch: snapshot.epoch,
                    preserved_chunks: preserved,
                });
            }
        }
        self.report.snapshots.sort_by_key(|snapshot| snapshot.id);
        Ok(())
    }
}

/// A time in nanoseconds since 1970, for people.
pub(crate) fn time(ns: u64) -> String {
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_nanos(ns)).to_string()
}

/// How many chunks of a snapshot a read takes from the store.
fn preserved(known: &Known, snapshot: &Snapshot) -> kernel::error::Result<u64> {
    let mut count = 0;
    let visible = |chunk| {
        chunk < snapshot.released.len()
            && (snapshot.keep_unprotected || snapshot.designation.get(chunk))
    };
    for epoch in known.timeline.epochs(snapshot.epoch, u64::MAX) {
        let Some(copies) = &epoch.copies else {
            continue;
        };
        save::for_each_entry(&**copies, |run| {
            for chunk in (run.start..run.end).filter(|chunk| visible(*chunk)) {
                match known.timeline.look(snapshot, chunk) {
                    Whereabouts::Epoch(first) if first.id == epoch.id => count += 1,
                    _ => (),
                }
            }
            Ok(())
        })?;
    }
    Ok(count)
}
