// SPDX-License-Identifier: GPL-2.0

//! The index of copies against a map, and what it costs.
//!
//! Covers I1 as far as the index goes: a copy is found where it was put, and nowhere else; and the
//! design's bound on memory.

#![forbid(unsafe_code)]

use dm_preserve_core::maps::Chunks;
use dm_preserve_core::maps::Index;
use dm_preserve_core::maps::Room;
use dm_preserve_core::maps::LIST_CHUNKS;
use dm_preserve_core::maps::MAX_POSITION;
use dm_preserve_core::maps::MAX_RUN;
use dm_preserve_core::maps::MAX_RUNS;
use kernel::alloc::host;
use kernel::prelude::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Adds a run the way the kernel does, and says how often room was missing. Neither the insertion
/// nor the installation of room may allocate, for they happen under a lock.
fn insert(index: &mut Index, run: Chunks, position: u64) -> usize {
    let mut missed = 0;
    while let Some(missing) = index.missing(run, 1) {
        let room = Room::new(missing).unwrap();
        let before = host::usage().calls;
        let left = index.grow(room);
        assert_eq!(host::usage().calls, before, "grow allocated");
        drop(left);
        missed += 1;
        assert!(missed <= 100, "room for {run:?} is never enough");
    }
    let before = host::usage().calls;
    index.insert(run, position).unwrap();
    assert_eq!(host::usage().calls, before, "insert allocated");
    missed
}

/// One chunk.
fn only(chunk: u64) -> Chunks {
    Chunks {
        start: chunk,
        end: chunk + 1,
    }
}

/// All entries, some at a time.
fn exported(index: &Index, some: usize) -> Vec<(Chunks, u64)> {
    let mut all = Vec::new();
    let mut from = Some(0);
    while let Some(chunk) = from {
        let mut out = KVec::with_capacity(some, GFP_KERNEL).unwrap();
        from = index.export(chunk, &mut out);
        assert!(from.is_none_or(|next| next > chunk || chunk == 0));
        all.extend(out.iter().copied());
    }
    all
}

#[derive(Clone, Debug)]
struct Run {
    start: u64,
    len: u64,
    /// Where the contents lie: right behind the run inserted before, or at a place of their own.
    behind: bool,
}

fn run() -> impl Strategy<Value = Run> {
    let start = prop_oneof![
        6 => 0..4 * MAX_RUN,
        1 => 0..40u64,
        1 => LIST_CHUNKS - 20..LIST_CHUNKS + 20,
        1 => (0..500u64).prop_map(|n| n << 20),
        1 => Just(u64::MAX >> 13 << 12),
    ];
    let len = prop_oneof![24 => Just(1u64), 12 => 1..20u64, 1 => 1..3 * MAX_RUN];
    (start, len, any::<bool>()).prop_map(|(start, len, behind)| Run { start, len, behind })
}

/// Few runs, or enough of them for lists that are divided.
fn runs() -> impl Strategy<Value = Vec<Run>> {
    prop_oneof![
        proptest::collection::vec(run(), 0..120),
        proptest::collection::vec(run(), 0..4 * MAX_RUNS),
    ]
}

proptest! {
    #[test]
    fn same_as_a_map(
        runs in runs(),
        seed in any::<u64>(),
        step in prop_oneof![Just(1u64), Just(4)],
        some in 1..300usize,
    ) {
        let before = host::usage().exact;
        let mut index = Index::new(step);
        let mut model = BTreeMap::new();
        let mut numbers = Numbers(seed);
        let mut next = 0;
        let mut borders = vec![0, u64::MAX];
        for run in &runs {
            // Only the part that is not in the index yet: the caller never adds a chunk twice.
            let taken = model.range(run.start..).next().map_or(u64::MAX, |(chunk, _)| *chunk);
            let end = (run.start + run.len).min(taken);
            if end <= run.start {
                continue;
            }
            let position = match run.behind {
                true => next,
                false => numbers.next() % (MAX_POSITION / 2),
            };
            insert(&mut index, Chunks { start: run.start, end }, position);
            model.extend((run.start..end).zip((position..).step_by(step as usize)));
            next = position + (end - run.start) * step;
            let middle = run.start + (end - run.start) / 2;
            borders.extend([run.start.wrapping_sub(1), run.start, middle, end - 1, end]);
        }
        prop_assert_eq!(index.len(), model.len() as u64);
        for chunk in borders {
            let found = index.find(chunk);
            prop_assert_eq!(found.map(|(position, _)| position), model.get(&chunk).copied());
            // What the run promises is so.
            let len = found.map_or(0, |(_, len)| len);
            for n in [1, len / 3, len / 2, len.saturating_sub(2), len.saturating_sub(1)] {
                if n >= len {
                    continue;
                }
                let at = found.map(|(at, _)| at + n * step);
                prop_assert_eq!(model.get(&(chunk + n)).copied(), at);
            }
        }
        let entries = exported(&index, some);
        let chunks = entries.iter().flat_map(|(run, position)| {
            (run.start..run.end).zip((*position..).step_by(step as usize))
        });
        prop_assert!(chunks.eq(model));
        drop(index);
        prop_assert_eq!(host::usage().exact, before, "memory was lost");
    }

    /// A copy settles with the room that was made for half of its chunks, rounded up, whichever of
    /// them others have marked meanwhile: in pieces, none of which needs memory.
    #[test]
    fn any_pieces_of_a_run_fit(
        copies in proptest::collection::vec((1..=16u64, any::<u16>()), 1..4 * MAX_RUNS),
        order in any::<u64>(),
    ) {
        let mut index = Index::new(1);
        let mut model = BTreeMap::new();
        let mut places: Vec<u64> = (0..copies.len() as u64).collect();
        shuffle(&mut places, order);
        for (place, (len, marked)) in places.iter().zip(copies) {
            let start = place * 16;
            let run = Chunks { start, end: start + len };
            while let Some(missing) = index.missing(run, len.div_ceil(2)) {
                drop(index.grow(Room::new(missing).unwrap()));
            }
            let before = host::usage().calls;
            let is_left = |chunk: &u64| marked >> (chunk - start) & 1 == 0;
            let left: Vec<u64> = (start..run.end).filter(is_left).collect();
            for piece in left.chunk_by(|a, b| a + 1 == *b) {
                let piece = Chunks { start: piece[0], end: piece[0] + piece.len() as u64 };
                prop_assert_eq!(index.insert(piece, 20 * piece.start), Ok(()));
                model.extend((piece.start..piece.end).map(|at| (at, 19 * piece.start + at)));
            }
            prop_assert_eq!(host::usage().calls, before, "settling allocated");
        }
        for chunk in 0..16 * places.len() as u64 {
            let found = index.find(chunk).map(|(position, _)| position);
            prop_assert_eq!(found, model.get(&chunk).copied());
        }
    }

    /// Another writer may fill or divide the list while room is being allocated.
    #[test]
    fn room_that_comes_late_loses_nothing(
        chunks in proptest::collection::btree_set(0..4096u64, 1..3 * MAX_RUNS),
        order in any::<u64>(),
    ) {
        let mut index = Index::new(1);
        let mut late = Vec::new();
        let mut chunks: Vec<u64> = chunks.into_iter().collect();
        shuffle(&mut chunks, order);
        for (at, chunk) in chunks.iter().enumerate() {
            let run = only(*chunk);
            while let Some(missing) = index.missing(run, 1) {
                late.push(Room::new(missing).unwrap());
                drop(index.grow(Room::new(missing).unwrap()));
            }
            index.insert(run, at as u64 * 2).unwrap();
            // Now and then all room asked for so far arrives, once more; the oldest is no use by
            // then.
            if at % 13 == 12 || at + 1 == chunks.len() {
                for room in late.drain(..) {
                    drop(index.grow(room));
                }
            }
        }
        for (at, chunk) in chunks.iter().enumerate() {
            prop_assert_eq!(index.find(*chunk), Some((at as u64 * 2, 1)));
        }
        prop_assert_eq!(index.len(), chunks.len() as u64);
        // What comes too late is not kept.
        prop_assert!(index.memory() <= 12 * index.len() + 1024);
    }
}

#[test]
fn runs_are_found_from_any_chunk_on() {
    let mut index = Index::new(1);
    let end = 10 + 2 * MAX_RUN + 5;
    insert(&mut index, Chunks { start: 10, end }, 1000);
    // An entry has so many chunks at most.
    let cases = [
        (9, None),
        (10, Some((1000, MAX_RUN))),
        (11, Some((1001, MAX_RUN - 1))),
        (MAX_RUN + 9, Some((MAX_RUN + 999, 1))),
        (MAX_RUN + 10, Some((MAX_RUN + 1000, MAX_RUN))),
        (2 * MAX_RUN + 10, Some((2 * MAX_RUN + 1000, 5))),
        (end - 1, Some((2 * MAX_RUN + 1004, 1))),
        (end, None),
        (3 * MAX_RUN, None),
        (u64::MAX, None),
    ];
    for (chunk, found) in cases {
        assert_eq!(index.find(chunk), found, "{chunk}");
    }
}

#[test]
fn neighbours_are_joined_only_if_their_contents_are() {
    for step in [1, 4] {
        let mut index = Index::new(step);
        insert(&mut index, only(5), 100);
        insert(&mut index, only(6), 100 + step);
        insert(&mut index, Chunks { start: 7, end: 9 }, 200);
        insert(&mut index, only(10), 200 + 2 * step);
        insert(&mut index, only(11), 201 + 2 * step);
        assert_eq!(index.find(5), Some((100, 2)));
        assert_eq!(index.find(6), Some((100 + step, 1)));
        assert_eq!(index.find(7), Some((200, 2)));
        assert_eq!(index.find(9), None);
        assert_eq!(index.find(11), Some((201 + 2 * step, 1)));
        let joined = u64::from(step == 1);
        assert_eq!(index.find(10), Some((200 + 2 * step, 1 + joined)));
        assert_eq!(exported(&index, 2).len() as u64, 4 - joined);
    }
}

#[test]
fn extreme_positions_and_chunks() {
    let mut index = Index::new(1);
    let first = Chunks {
        start: 0,
        end: MAX_RUN,
    };
    insert(&mut index, first, MAX_POSITION - MAX_RUN);
    insert(&mut index, only(u64::MAX - 1), MAX_POSITION - 1);
    insert(&mut index, only(MAX_RUN), 0);
    insert(&mut index, only(LIST_CHUNKS - 1), 7);
    insert(&mut index, only(LIST_CHUNKS), 8);
    assert_eq!(index.find(0), Some((MAX_POSITION - MAX_RUN, MAX_RUN)));
    assert_eq!(index.find(MAX_RUN - 1), Some((MAX_POSITION - 1, 1)));
    assert_eq!(index.find(u64::MAX - 1), Some((MAX_POSITION - 1, 1)));
    assert_eq!(index.find(MAX_RUN), Some((0, 1)));
    assert_eq!(index.find(LIST_CHUNKS - 1), Some((7, 1)));
    assert_eq!(index.find(LIST_CHUNKS), Some((8, 1)));
    // Nothing is added that could not be found again.
    let before = index.len();
    for (len, position) in [(1, MAX_POSITION), (2, MAX_POSITION - 1), (1, u64::MAX)] {
        let run = Chunks {
            start: 50_000,
            end: 50_000 + len,
        };
        assert_eq!(index.insert(run, position), Err(EFBIG));
    }
    assert_eq!(index.len(), before);
    let starts = exported(&index, 1);
    let starts: Vec<u64> = starts.iter().map(|(run, _)| run.start).collect();
    assert_eq!(
        starts,
        [0, MAX_RUN, LIST_CHUNKS - 1, LIST_CHUNKS, u64::MAX - 1]
    );
}

#[test]
fn room_is_asked_for_list_by_list() {
    let mut index = Index::new(1);
    // Two lists never share a list.
    let across = Chunks {
        start: LIST_CHUNKS - 2,
        end: LIST_CHUNKS + 2,
    };
    let missing = index.missing(across, 1).unwrap();
    assert_eq!(index.insert(across, 50), Err(ENOMEM));
    assert_eq!(index.len(), 0);
    for calls in [0, 1] {
        let room = host::failing_after(calls, || Room::new(missing));
        assert_eq!(room.err(), Some(ENOMEM));
    }
    drop(index.grow(Room::new(missing).unwrap()));
    // The first list has room, the second one not yet: the part before it is added.
    let second = index.missing(across, 1).unwrap();
    assert_ne!(second, missing);
    assert_eq!(index.insert(across, 50), Err(ENOMEM));
    assert_eq!(index.find(LIST_CHUNKS - 2), Some((50, 2)));
    assert_eq!((index.find(LIST_CHUNKS), index.len()), (None, 2));
    drop(index.grow(Room::new(second).unwrap()));
    let rest = Chunks {
        start: LIST_CHUNKS,
        ..across
    };
    assert_eq!(index.missing(rest, 1), None);
    index.insert(rest, 52).unwrap();
    assert_eq!(index.find(LIST_CHUNKS), Some((52, 2)));
}

/// A run that was cut into pieces by writes that need no copy takes an entry for each. Wherever the
/// list is full by then, it is divided.
#[test]
fn room_for_many_entries_suffices_for_them() {
    for entries in [1, 2, 5, 20, 100, 225] {
        for before in [0, 1, 24, 25, 350, 451, MAX_RUNS as u64 - 1, MAX_RUNS as u64] {
            let mut index = Index::new(1);
            for n in 0..before {
                // On both sides of the run.
                let chunk = if n % 3 == 0 { 3 * n } else { 10_000 + 3 * n };
                insert(&mut index, only(chunk), 1_000_000 + 2 * n);
            }
            let run = Chunks {
                start: 4000,
                end: 4000 + 2 * entries,
            };
            let mut missed = 0;
            while let Some(missing) = index.missing(run, entries) {
                drop(index.grow(Room::new(missing).unwrap()));
                missed += 1;
                assert!(missed < 50);
            }
            for n in 0..entries {
                index.insert(only(4000 + 2 * n), 100 + 2 * n).unwrap();
            }
            assert_eq!(index.len(), before + entries);
        }
    }
}

/// Some of a run's chunks may be in the index, also the first one, and that in the last entry of a
/// full list.
#[test]
fn room_beside_chunks_that_are_there() {
    let mut index = Index::new(1);
    for n in 0..MAX_RUNS as u64 {
        insert(&mut index, only(2 * n), 3 * n);
    }
    let run = Chunks {
        start: 2 * (MAX_RUNS as u64 - 1),
        end: 2 * MAX_RUNS as u64,
    };
    for grown in 0.. {
        let Some(missing) = index.missing(run, 1) else {
            break;
        };
        drop(index.grow(Room::new(missing).unwrap()));
        assert!(grown < 4, "room is never enough");
    }
    index.insert(only(run.end - 1), 5000).unwrap();
    assert_eq!(index.find(run.start), Some((3 * (MAX_RUNS as u64 - 1), 1)));
    assert_eq!(index.find(run.end - 1), Some((5000, 1)));
}

/// A generator of numbers that are the same each time.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

fn shuffle(chunks: &mut [u64], seed: u64) {
    let mut numbers = Numbers(seed);
    for at in (1..chunks.len()).rev() {
        chunks.swap(at, (numbers.next() % (at as u64 + 1)) as usize);
    }
}

/// Chunks, one of `sparsity` on average, in order.
fn scattered(count: u64, sparsity: u64) -> Vec<u64> {
    let mut numbers = Numbers(sparsity);
    (0..count)
        .map(|n| n * sparsity + numbers.next() % sparsity)
        .collect()
}

/// Adds single chunks one after the other. With the allocator's rounding they never take more than
/// the design promises, at most 12 bytes each, and the first node and block of each region (2^28
/// chunks) besides. The result is what a chunk takes in the end.
fn cost(name: &str, index: &mut Index, chunks: &[u64]) -> f64 {
    let before = host::usage().rounded - index.memory() as i64;
    let lists = chunks.iter().max().map_or(0, |last| last / LIST_CHUNKS + 1);
    let mut most = 0f64;
    let mut per_chunk = 0f64;
    for (chunk, position) in chunks.iter().zip(0u64..) {
        insert(index, only(*chunk), 2 * position);
        let memory = (host::usage().rounded - before) as u64;
        assert_eq!(index.memory(), memory);
        assert!(
            memory <= 12 * index.len() + 512 * lists,
            "{name}: {memory} bytes for {} chunks",
            index.len()
        );
        per_chunk = memory as f64 / index.len() as f64;
        // Later on, when first nodes and blocks are a small part.
        if index.len() >= 4000 + 300 * lists {
            most = most.max(per_chunk);
        }
    }
    println!("{name}: {per_chunk:.2} bytes per chunk, at most {most:.2}");
    per_chunk
}

/// At any time, whatever the order and however far apart they are. See the figures with
/// `--nocapture`.
#[test]
fn memory_per_scattered_chunk() {
    for bits in 0..=18 {
        let mut chunks = scattered(50_000, 1 << bits);
        shuffle(&mut chunks, bits);
        let cost = cost(&format!("1 in 2^{bits}"), &mut Index::new(1), &chunks);
        assert!(cost <= 12.0, "1 in 2^{bits}: {cost}");
    }
}

#[test]
fn memory_per_scattered_chunk_whatever_the_order() {
    let all = scattered(40_000, 10);
    let downwards: Vec<u64> = all.iter().rev().copied().collect();
    // Several places where chunks come in order.
    let streams: Vec<u64> = (0..100)
        .flat_map(|n| (0..100u64).map(move |stream| stream * 100_000 + 3 * n))
        .collect();
    for (name, chunks) in [
        ("upwards", &all),
        ("downwards", &downwards),
        ("in streams", &streams),
    ] {
        let cost = cost(name, &mut Index::new(1), chunks);
        assert!(cost <= 12.0, "{name}: {cost}");
    }
}

/// What was loaded in order takes little, and stays within the bound when others come between.
#[test]
fn memory_after_loading() {
    let all = scattered(80_000, 10);
    let (loaded, mut more): (Vec<u64>, Vec<u64>) = all.iter().partition(|chunk| *chunk % 2 == 0);
    shuffle(&mut more, 5);
    let mut index = Index::new(1);
    assert!(cost("loaded", &mut index, &loaded) <= 10.7);
    assert!(cost("then at random", &mut index, &more) <= 12.0);
}

/// A small fraction of a byte per chunk in runs.
#[test]
fn memory_of_runs() {
    for len in [4, 16, 64, 256, MAX_RUN] {
        let mut index = Index::new(1);
        for n in 0..8_000 {
            let run = Chunks {
                start: n * len,
                end: (n + 1) * len,
            };
            insert(&mut index, run, n * (len + 1));
        }
        let cost = index.memory() as f64 / index.len() as f64;
        println!("runs of {len}: {cost:.4} bytes");
        assert!(cost <= 11.0 / len as f64, "runs of {len}: {cost}");
    }
}
