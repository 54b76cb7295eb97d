// SPDX-License-Identifier: GPL-2.0

//! What is needed of long runs (rule 2), asked by words and runs, against one chunk after the
//! other.

#![forbid(unsafe_code)]

use dm_preserve_core::history::Epoch;
use dm_preserve_core::history::NewSnapshot;
use dm_preserve_core::history::Scope;
use dm_preserve_core::history::Snapshot;
use dm_preserve_core::history::Timeline;
use dm_preserve_core::maps::Bitmap;
use dm_preserve_core::maps::Chunks;
use dm_preserve_core::maps::Designation;
use dm_preserve_core::maps::Word;
use dm_preserve_core::maps::LEAF_BITS;
use kernel::prelude::*;
use kernel::sync::Arc;
use proptest::prelude::*;

/// Chunks of the device: two leaves and a bit.
const CHUNKS: u64 = 2 * LEAF_BITS + 1000;

fn run(start: u64, end: u64) -> Chunks {
    Chunks { start, end }
}

/// A place, often next to where a word or leaf ends.
fn place() -> impl Strategy<Value = u64> {
    let edges = (0..=2u64).flat_map(|leaf| {
        [0, 1, 63, 64, 65, 130, LEAF_BITS - 64, LEAF_BITS - 1].map(|at| leaf * LEAF_BITS + at)
    });
    let edges: Vec<u64> = edges.filter(|at| *at < CHUNKS).collect();
    prop_oneof![0..CHUNKS, proptest::sample::select(edges)]
}

/// Chunks, as a few runs: short ones, long ones, and sometimes everything.
fn set() -> impl Strategy<Value = Vec<Chunks>> {
    let one = prop_oneof![
        4 => (place(), 1..100u64).prop_map(|(start, len)| run(start, (start + len).min(CHUNKS))),
        2 => (place(), place()).prop_map(|(a, b)| run(a.min(b), a.max(b) + 1)),
        1 => Just(run(0, CHUNKS)),
    ];
    proptest::collection::vec(one, 0..4)
}

/// A snapshot, and what was written since, up to the next one.
#[derive(Clone, Debug)]
struct Spec {
    unprotected: Vec<Chunks>,
    released: Vec<Chunks>,
    marks: Vec<Chunks>,
    /// What was written since its base, if it has one, that base's length, and whether its scope is
    /// in effect.
    since_base: Option<(Vec<Chunks>, u64, bool)>,
    keep_unprotected: bool,
    is_dropped: bool,
    /// The device was shorter then.
    chunks: u64,
}

fn spec() -> impl Strategy<Value = Spec> {
    let rarely = || prop_oneof![4 => Just(false), 1 => Just(true)];
    let chunks = prop_oneof![3 => Just(CHUNKS), 1 => place().prop_map(|at| at + 1)];
    let since_base = proptest::option::of((set(), place(), any::<bool>()));
    let sets = (set(), set(), set());
    (sets, since_base, rarely(), rarely(), chunks).prop_map(
        |((unprotected, released, marks), since_base, keep_unprotected, is_dropped, chunks)| Spec {
            unprotected,
            released,
            marks,
            since_base,
            keep_unprotected,
            is_dropped,
            chunks,
        },
    )
}

fn bitmap(set: &[Chunks], bits: u64) -> Arc<Bitmap> {
    let bitmap = Bitmap::new(bits).unwrap();
    for run in set {
        bitmap.set_run(*run).unwrap();
    }
    Arc::new(bitmap, GFP_KERNEL).unwrap()
}

fn protecting_all_but(set: &[Chunks]) -> Arc<Designation> {
    let all = Designation::new(true);
    Arc::new(all.edited(set, false).unwrap(), GFP_KERNEL).unwrap()
}

fn snapshot(id: u64, spec: &Spec) -> Arc<Snapshot> {
    let scope = match &spec.since_base {
        None => Scope::Full,
        Some((marks, chunks, _)) => {
            let mut all = KVec::new();
            for run in marks {
                all.push(bitmap(&[*run], CHUNKS), GFP_KERNEL).unwrap();
            }
            Scope::Incremental {
                base: 1,
                // Another one than the snapshot's own.
                protected: protecting_all_but(&spec.released),
                chunks: *chunks,
                marks: all,
            }
        }
    };
    let new = NewSnapshot {
        id,
        time_ns: 0,
        epoch: id,
        designation: protecting_all_but(&spec.unprotected),
        scope,
        keep_unprotected: spec.keep_unprotected,
        sectors: spec.chunks * 8,
        chunks: spec.chunks,
        narrowed: spec
            .since_base
            .as_ref()
            .is_some_and(|(_, _, narrowed)| *narrowed),
    };
    let released = bitmap(&spec.released, spec.chunks);
    Snapshot::restored(new, released, spec.is_dropped).unwrap()
}

fn timeline(specs: &[Spec]) -> Timeline<()> {
    let (mut epochs, mut snapshots) = (KVec::new(), KVec::new());
    for (id, spec) in (2..).zip(specs) {
        let marks = bitmap(&spec.marks, CHUNKS);
        let epoch = Epoch {
            id,
            marks,
            copies: None,
        };
        epochs.push(epoch, GFP_KERNEL).unwrap();
        snapshots.push(snapshot(id, spec), GFP_KERNEL).unwrap();
    }
    Timeline::restored(epochs, snapshots, KVec::new(), 0, 0)
}

/// Rule 2, word for word.
fn needed(specs: &[Spec]) -> Vec<bool> {
    let has = |set: &[Chunks], chunk| set.iter().any(|run| run.contains(chunk));
    let needs = |at: usize, spec: &Spec, chunk: u64| {
        let in_scope = match &spec.since_base {
            Some((marks, chunks, true)) => {
                chunk >= *chunks || has(&spec.released, chunk) || has(marks, chunk)
            }
            _ => true,
        };
        !spec.is_dropped
            && chunk < spec.chunks
            && (spec.keep_unprotected || !has(&spec.unprotected, chunk))
            && in_scope
            && !has(&spec.released, chunk)
            && !specs[at..].iter().any(|since| has(&since.marks, chunk))
    };
    let any = |chunk| (0..).zip(specs).any(|(at, spec)| needs(at, spec, chunk));
    (0..CHUNKS).map(any).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_run_is_needed_as_its_chunks_are(
        specs in proptest::collection::vec(spec(), 0..4),
        runs in proptest::collection::vec((place(), place()), 40),
    ) {
        let (timeline, naive) = (timeline(&specs), needed(&specs));
        for chunk in (0..CHUNKS).step_by(1009) {
            prop_assert_eq!(timeline.needs(chunk), naive[chunk as usize], "chunk {}", chunk);
        }
        for (a, b) in runs {
            let run = run(a.min(b), a.max(b));
            for wanted in [true, false] {
                let mut chunks = run.start..run.end;
                let first = chunks.find(|chunk| naive[*chunk as usize] == wanted);
                prop_assert_eq!(timeline.find_needed(run, wanted), first, "{:?} {}", run, wanted);
            }
        }
        // From one change to the next through the whole device.
        let (mut at, mut wanted) = (0, true);
        while let Some(found) = timeline.find_needed(run(at, CHUNKS), wanted) {
            let same = &naive[at as usize..found as usize];
            prop_assert!(same.iter().all(|needed| *needed != wanted), "{}..{}", at, found);
            (at, wanted) = (found, !wanted);
        }
        prop_assert!(naive[at as usize..].iter().all(|needed| *needed != wanted));
    }

    #[test]
    fn the_chunks_below_a_limit(limit in 0..1000u64, chunk in 0..1200u64) {
        let word = Word::below(limit, chunk);
        let start = chunk - chunk % 64;
        for at in start..start + 64 {
            prop_assert_eq!(word.bits >> (at - start) & 1 != 0, at < limit);
        }
        prop_assert!(word.end > chunk);
        for same in (start..word.end.min(2000)).step_by(64) {
            prop_assert_eq!(Word::below(limit, same).bits, word.bits, "at {}", same);
        }
    }
}

/// What a discard of free space costs does not depend on its length: protected, unwritten chunks
/// are answered for by stretches.
#[test]
fn a_terabyte_that_is_all_alike_is_answered_at_once() {
    let chunks = 1u64 << 28;
    let all = run(0, chunks);
    let spec = Spec {
        unprotected: Vec::new(),
        released: Vec::new(),
        marks: Vec::new(),
        since_base: None,
        keep_unprotected: false,
        is_dropped: false,
        chunks,
    };
    let marks = bitmap(&[], chunks);
    let mut epochs = KVec::new();
    let epoch = Epoch {
        id: 2,
        marks: marks.clone(),
        copies: None,
    };
    epochs.push(epoch, GFP_KERNEL).unwrap();
    let mut snapshots = KVec::new();
    snapshots.push(snapshot(2, &spec), GFP_KERNEL).unwrap();
    let timeline = Timeline::<()>::restored(epochs, snapshots, KVec::new(), 0, 0);
    let begun = std::time::Instant::now();
    assert_eq!(timeline.find_needed(all, false), None);
    marks.set_run(all).unwrap();
    assert_eq!(timeline.find_needed(all, true), None);
    // Chunk by chunk it is seconds; 8192 stretches, twice, are far below a millisecond each.
    let taken = begun.elapsed();
    assert!(taken < std::time::Duration::from_millis(200), "{taken:?}");
}
