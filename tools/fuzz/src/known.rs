// SPDX-License-Identifier: GPL-2.0

//! What is done with the state of a live device that came out of a decoder.

#![forbid(unsafe_code)]

use kernel::prelude::*;

use dm_preserve_core::format::Layout;
use dm_preserve_core::format::MAX_NUMBER;
use dm_preserve_core::history::Scope;
use dm_preserve_core::maps::Chunks;
use dm_preserve_core::store::Checkpoint;
use dm_preserve_core::store::EpochCopies;
use dm_preserve_core::store::Segments;
use offline::Copies;

/// The module's answer to what it has recovered.
pub(crate) type Known = Checkpoint<Copies>;

/// Asks everything that a device would. Says whether its segments are those of a sound store.
pub(crate) fn exercise(known: &Known, layout: &Layout) -> bool {
    let timeline = &known.timeline;
    let chunks = known.sectors / (layout.chunk_blocks * 8);
    for chunk in [0, 1, 63, 64, 1023, chunks / 2, chunks, chunks + 1, u64::MAX] {
        let _ = (timeline.needs(chunk), timeline.needed_at_replay(chunk));
        let _ = known.designation.get(chunk);
        for snapshot in timeline.snapshots().iter().chain(timeline.bookmarks()) {
            let _ = timeline.look(snapshot, chunk);
            if chunk < chunks {
                let run = Chunks {
                    start: chunk,
                    end: chunks,
                };
                let (_, end) = timeline.look_at_run(snapshot, run);
                assert!(chunk < end && end <= chunks);
                let _ = timeline.first_marked(snapshot, run);
            }
        }
    }
    let _ = (timeline.since_latest(), timeline.closed_by_latest());
    let mut owned = KVVec::new();
    for copies in timeline.epochs(0, u64::MAX).flat_map(|e| &e.copies) {
        let _ = copies.segments(&mut owned);
    }
    Segments::new(*layout, &owned).is_ok()
}

/// Whether going on with its numbers leaves them in the format's range. Only a forged store gets
/// near the limit.
pub(crate) fn can_go_on(known: &Known) -> bool {
    let present = known.timeline.present().map_or(0, |epoch| epoch.id);
    let rising = [
        known.place.sequence,
        known.place.ring,
        known.next,
        known.period,
        known.next_id,
        present,
    ];
    rising.iter().all(|number| *number < MAX_NUMBER - 1)
}

/// Everything in it as numbers, so that two can be compared.
pub(crate) fn summary(known: &Known) -> Vec<u64> {
    let (began, before) = known.timeline.latest_epochs();
    let mut all = vec![
        known.place.sequence,
        known.place.ring,
        known.next,
        known.period,
        known.next_id,
        known.sectors,
        began,
        before,
    ];
    let chunks = known.sectors.min(1 << 20);
    all.push(known.designation.count(chunks));
    for epoch in known.timeline.epochs(0, u64::MAX) {
        all.extend([epoch.id, epoch.marks.len(), epoch.marks.count()]);
        if let Some(copies) = &epoch.copies {
            runs(copies, &mut all);
            let mut segments = KVVec::new();
            let _ = copies.segments(&mut segments);
            all.extend(segments.iter());
        }
    }
    let timeline = &known.timeline;
    for snapshot in timeline.snapshots().iter().chain(timeline.bookmarks()) {
        all.extend([snapshot.id, snapshot.time_ns, snapshot.epoch]);
        all.extend([snapshot.sectors, snapshot.released.count()]);
        all.extend([
            u64::from(snapshot.is_dropped()),
            u64::from(snapshot.is_narrowed()),
        ]);
        all.push(snapshot.designation.count(chunks));
        if let Scope::Incremental { base, marks, .. } = &snapshot.scope {
            all.push(*base);
            all.extend(marks.iter().map(|marks| marks.count()));
        }
    }
    all
}

fn runs(copies: &Copies, all: &mut Vec<u64>) {
    let mut from = Some(0);
    while let Some(chunk) = from {
        let Ok(mut some) = KVec::with_capacity(64, GFP_KERNEL) else {
            return;
        };
        from = copies.entries(chunk, &mut some);
        for (run, position) in some.iter() {
            all.extend([run.start, run.end, *position]);
        }
    }
}
