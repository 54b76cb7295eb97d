// SPDX-License-Identifier: GPL-2.0

//! What is known of a live device, less what has come to an end. Epochs stay as they are: none is
//! needed less for it by a snapshot that is left.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;

use kernel::alloc::KVec;
use kernel::error::Result;
use kernel::prelude::GFP_KERNEL;
use kernel::sync::Arc;

use super::copies::Copies;
use super::copies::Epoch;
use super::copies::Known;
use dm_preserve_core::format::Layout;
use dm_preserve_core::history::Snapshot;
use dm_preserve_core::history::Timeline;
use dm_preserve_core::maps::Chunks;
use dm_preserve_core::store::EpochCopies;

/// The same with another timeline.
fn with_timeline(known: &Known, timeline: Timeline<Copies>) -> Result<Known> {
    Ok(Known {
        place: known.place,
        next: known.next,
        period: known.period,
        next_id: known.next_id,
        sectors: known.sectors,
        timeline: Arc::new(timeline, GFP_KERNEL)?,
        designation: known.designation.clone(),
    })
}

fn list(all: &[Arc<Snapshot>], keep: impl Fn(&Snapshot) -> bool) -> Result<KVec<Arc<Snapshot>>> {
    let mut kept = KVec::new();
    for snapshot in all.iter().filter(|snapshot| keep(snapshot)) {
        kept.push(snapshot.clone(), GFP_KERNEL)?;
    }
    Ok(kept)
}

fn epochs(
    known: &Known,
    copies: impl Fn(&Epoch) -> Result<Option<Arc<Copies>>>,
) -> Result<KVec<Epoch>> {
    let mut epochs = KVec::new();
    for epoch in known.timeline.epochs(0, u64::MAX) {
        let (id, marks, copies) = (epoch.id, epoch.marks.clone(), copies(epoch)?);
        epochs.push(Epoch { id, marks, copies }, GFP_KERNEL)?;
    }
    Ok(epochs)
}

/// Without the snapshots and bookmarks that are newer than this one.
pub(crate) fn up_to(known: &Known, last: &Snapshot) -> Result<Known> {
    let old = &known.timeline;
    let snapshots = list(old.snapshots(), |snapshot| snapshot.id <= last.id)?;
    let bookmarks = list(old.bookmarks(), |snapshot| snapshot.id <= last.id)?;
    // The epochs that sysfs's two maps are about.
    let (began, before) = match old.latest() {
        Some(latest) if latest.id > last.id => {
            let all = Iterator::chain(snapshots.iter(), bookmarks.iter());
            let older = all.filter(|other| other.id < last.id);
            let before = older.map(|other| other.epoch).max();
            (last.epoch, before.unwrap_or(last.epoch))
        }
        _ => old.latest_epochs(),
    };
    let epochs = epochs(known, |epoch| Ok(epoch.copies.clone()))?;
    let timeline = Timeline::restored(epochs, snapshots, bookmarks, began, before);
    with_timeline(known, timeline)
}

/// Without some contents, each an epoch and a chunk. What was marked stays so: without its copy it
/// is gone.
pub(crate) fn without(
    known: &Known,
    layout: &Layout,
    contents: &BTreeSet<(u64, u64)>,
) -> Result<Known> {
    let old = &known.timeline;
    let epochs = epochs(known, |epoch| {
        let lost = |chunk| contents.contains(&(epoch.id, chunk));
        match epoch.copies.as_deref() {
            None => Ok(None),
            Some(copies) => rest(copies, layout, lost).map(Some),
        }
    })?;
    let (began, before) = old.latest_epochs();
    let snapshots = list(old.snapshots(), |_| true)?;
    let bookmarks = list(old.bookmarks(), |_| true)?;
    let timeline = Timeline::restored(epochs, snapshots, bookmarks, began, before);
    with_timeline(known, timeline)
}

/// An epoch's copies but for those that are lost.
fn rest(copies: &Copies, layout: &Layout, lost: impl Fn(u64) -> bool) -> Result<Arc<Copies>> {
    let rest = Copies::maker(layout)()?;
    for segment in copies.list() {
        rest.add_segment(segment)?;
    }
    let mut entries = KVec::with_capacity(64, GFP_KERNEL)?;
    let mut from = Some(0);
    while let Some(start) = from {
        entries.clear();
        from = copies.entries(start, &mut entries);
        for (run, position) in entries.iter() {
            for (n, chunk) in (run.start..run.end).enumerate() {
                if !lost(chunk) {
                    let end = chunk + 1;
                    // CAST: A run's length.
                    let position = position + n as u64 * layout.chunk_blocks;
                    rest.add(Chunks { start: chunk, end }, position)?;
                }
            }
        }
    }
    Ok(rest)
}
