// SPDX-License-Identifier: GPL-2.0

//! The index of copies against a map, and what it costs.
//!
//! Covers I1 as far as the index goes: a copy is found where it was put, and nowhere else; and the
//! design's bound on memory.

#![forbid(unsafe_code)]

use crate::chunk::Chunks;
use crate::index::Index;
use crate::index::Room;
use crate::index::MAX_POSITION;
use kernel::alloc::host;
use kernel::prelude::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Chunks of a group.
const GROUP: u64 = 4096;

/// Adds a run the way the kernel does, and says how often room was missing. Neither the insertion nor
/// the installation of room may allocate, for they happen under a lock.
fn insert(index: &mut Index, run: Chunks, position: u64) -> usize {
    let mut missed = 0;
    while let Some(missing) = index.missing(run, 1) {
        let room = Room::new(missing).unwrap();
        let before = host::usage().calls;
        let left = index.grow(room);
        assert_eq!(host::usage().calls, before, "grow allocated");
        drop(left);
        missed += 1;
        assert!(
            missed <= run.len().div_ceil(GROUP) as usize + 1,
            "room for {run:?} is never enough"
        );
    }
    let before = host::usage().calls;
    index.insert(run, position).unwrap();
    assert_eq!(host::usage().calls, before, "insert allocated");
    missed
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
        3 => 0..4 * GROUP,
        1 => 0..40u64,
        1 => GROUP - 20..GROUP + 20,
        1 => Just(u64::MAX >> 13 << 12),
    ];
    let len = prop_oneof![12 => Just(1u64), 12 => 1..20u64, 1 => 1..3 * GROUP];
    (start, len, any::<bool>()).prop_map(|(start, len, behind)| Run { start, len, behind })
}

proptest! {
    #[test]
    fn same_as_a_map(
        runs in proptest::collection::vec(run(), 0..120),
        positions in proptest::collection::vec(0..MAX_POSITION - 4 * GROUP, 120),
    ) {
        let before = host::usage().exact;
        let mut index = Index::new(1);
        let mut model = BTreeMap::new();
        let mut next = 0;
        for (run, position) in runs.iter().zip(positions) {
            // Only the part that is not in the index yet: the caller never adds a chunk twice.
            let taken = model.range(run.start..).next().map_or(u64::MAX, |(chunk, _)| *chunk);
            let end = (run.start + run.len).min(taken);
            if end <= run.start {
                continue;
            }
            let position = if run.behind { next } else { position };
            insert(&mut index, Chunks { start: run.start, end }, position);
            model.extend((run.start..end).zip(position..));
            next = position + (end - run.start);
        }
        prop_assert_eq!(index.len(), model.len() as u64);
        let near = model.keys().flat_map(|chunk| [chunk.wrapping_sub(1), *chunk, chunk + 1]);
        for chunk in near.chain([0, u64::MAX]) {
            let found = index.find(chunk);
            prop_assert_eq!(found.map(|(position, _)| position), model.get(&chunk).copied());
            // What the run promises is so.
            let len = found.map_or(0, |(_, len)| len);
            for n in [1, len / 3, len / 2, len.saturating_sub(2), len.saturating_sub(1)] {
                if n >= len {
                    continue;
                }
                prop_assert_eq!(model.get(&(chunk + n)).copied(), found.map(|(at, _)| at + n));
            }
        }
        drop(index);
        prop_assert_eq!(host::usage().exact, before, "memory was lost");
    }

    /// Another writer may fill or enlarge the group while room is being allocated.
    #[test]
    fn room_that_comes_late_loses_nothing(
        chunks in proptest::collection::btree_set(0..GROUP, 1..60),
        order in any::<u64>(),
    ) {
        let mut index = Index::new(1);
        let mut late = Vec::new();
        let mut chunks: Vec<u64> = chunks.into_iter().collect();
        let len = chunks.len();
        for at in 0..len {
            chunks.swap(at, (order >> (at % 48)) as usize % len);
        }
        for (at, chunk) in chunks.iter().enumerate() {
            let run = Chunks { start: *chunk, end: chunk + 1 };
            while let Some(missing) = index.missing(run, 1) {
                late.push(Room::new(missing).unwrap());
                drop(index.grow(Room::new(missing).unwrap()));
            }
            index.insert(run, at as u64 * 2).unwrap();
            // Now and then all room asked for so far arrives, once more; the oldest is too small by then.
            if at % 13 == 12 || at + 1 == len {
                for room in late.drain(..) {
                    drop(index.grow(room));
                }
            }
        }
        for (at, chunk) in chunks.iter().enumerate() {
            prop_assert_eq!(index.find(*chunk), Some((at as u64 * 2, 1)));
        }
        prop_assert_eq!(index.len(), len as u64);
    }
}

#[test]
fn runs_are_found_from_any_chunk_on() {
    let mut index = Index::new(1);
    insert(
        &mut index,
        Chunks {
            start: 10,
            end: 2 * GROUP + 5,
        },
        1000,
    );
    // A run ends with its group at the latest.
    let cases = [
        (9, None),
        (10, Some((1000, GROUP - 10))),
        (11, Some((1001, GROUP - 11))),
        (GROUP - 1, Some((GROUP - 11 + 1000, 1))),
        (GROUP, Some((GROUP - 10 + 1000, GROUP))),
        (2 * GROUP - 1, Some((2 * GROUP - 11 + 1000, 1))),
        (2 * GROUP, Some((2 * GROUP - 10 + 1000, 5))),
        (2 * GROUP + 4, Some((2 * GROUP - 6 + 1000, 1))),
        (2 * GROUP + 5, None),
        (3 * GROUP, None),
        (u64::MAX, None),
    ];
    for (chunk, found) in cases {
        assert_eq!(index.find(chunk), found, "{chunk}");
    }
}

#[test]
fn neighbours_are_joined_only_if_their_contents_are() {
    let mut index = Index::new(1);
    insert(&mut index, Chunks { start: 5, end: 6 }, 100);
    insert(&mut index, Chunks { start: 6, end: 7 }, 101);
    insert(&mut index, Chunks { start: 7, end: 9 }, 200);
    insert(&mut index, Chunks { start: 10, end: 11 }, 202);
    assert_eq!(index.find(5), Some((100, 2)));
    assert_eq!(index.find(6), Some((101, 1)));
    assert_eq!(index.find(7), Some((200, 2)));
    assert_eq!(index.find(9), None);
    assert_eq!(index.find(10), Some((202, 1)));
}

#[test]
fn extreme_positions_and_chunks() {
    let mut index = Index::new(1);
    insert(
        &mut index,
        Chunks {
            start: 0,
            end: GROUP,
        },
        MAX_POSITION - GROUP,
    );
    insert(
        &mut index,
        Chunks {
            start: u64::MAX - 1,
            end: u64::MAX,
        },
        MAX_POSITION - 1,
    );
    insert(
        &mut index,
        Chunks {
            start: GROUP,
            end: GROUP + 1,
        },
        0,
    );
    assert_eq!(index.find(0), Some((MAX_POSITION - GROUP, GROUP)));
    assert_eq!(index.find(GROUP - 1), Some((MAX_POSITION - 1, 1)));
    assert_eq!(index.find(u64::MAX - 1), Some((MAX_POSITION - 1, 1)));
    assert_eq!(index.find(GROUP), Some((0, 1)));
}

#[test]
fn room_is_asked_for_group_by_group() {
    let mut index = Index::new(1);
    let across = Chunks {
        start: GROUP - 2,
        end: GROUP + 2,
    };
    let missing = index.missing(across, 1).unwrap();
    assert_eq!(index.insert(across, 50), Err(missing));
    assert_eq!(index.len(), 0);
    assert_eq!(
        host::failing_after(0, || Room::new(missing)).err(),
        Some(ENOMEM)
    );
    assert_eq!(
        host::failing_after(1, || Room::new(missing)).err(),
        Some(ENOMEM)
    );
    drop(index.grow(Room::new(missing).unwrap()));
    // The first group has room, the second one not yet: the part before it is added.
    let second = index.missing(across, 1).unwrap();
    assert_ne!(second, missing);
    assert_eq!(index.insert(across, 50), Err(second));
    assert_eq!(index.find(GROUP - 2), Some((50, 2)));
    assert_eq!((index.find(GROUP), index.len()), (None, 2));
    drop(index.grow(Room::new(second).unwrap()));
    let rest = Chunks {
        start: GROUP,
        ..across
    };
    assert_eq!(index.missing(rest, 1), None);
    index.insert(rest, 52).unwrap();
    assert_eq!(index.find(GROUP), Some((52, 2)));
}

/// A run that was cut into pieces by writes that need no copy takes an entry for each.
#[test]
fn room_for_many_entries_suffices_for_them() {
    for entries in [1, 2, 5, 20, 100, 2048] {
        let mut index = Index::new(1);
        insert(&mut index, Chunks { start: 0, end: 1 }, 0);
        let run = Chunks {
            start: 1,
            end: 4096,
        };
        while let Some(missing) = index.missing(run, entries) {
            drop(index.grow(Room::new(missing).unwrap()));
        }
        for n in 0..entries.min(2047) {
            index
                .insert(
                    Chunks {
                        start: 2 + 2 * n,
                        end: 3 + 2 * n,
                    },
                    100 + 2 * n,
                )
                .unwrap();
        }
        assert_eq!(index.len(), 1 + entries.min(2047));
    }
}

/// Bytes per chunk: as the index itself says, as asked for from the allocator, and with the
/// allocator's rounding.
#[derive(Debug)]
struct Cost {
    said: f64,
    exact: f64,
    rounded: f64,
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

fn cost(runs: impl Iterator<Item = (Chunks, u64)>) -> Cost {
    let before = host::usage();
    let mut index = Index::new(1);
    for (run, position) in runs {
        insert(&mut index, run, position);
    }
    let chunks = index.len() as f64;
    let after = host::usage();
    Cost {
        said: index.memory() as f64 / chunks,
        exact: (after.exact - before.exact) as f64 / chunks,
        rounded: (after.rounded - before.rounded) as f64 / chunks,
    }
}

/// Single chunks in random order, one of `sparsity` on average, out of 256 groups (1024 if sparse).
fn scattered(sparsity: u64) -> Cost {
    let mut numbers = Numbers(sparsity);
    let chunks = if sparsity > 64 {
        1024 * GROUP
    } else {
        256 * GROUP
    };
    let mut chosen: Vec<u64> = (0..chunks)
        .filter(|_| numbers.next().is_multiple_of(sparsity))
        .collect();
    for at in (1..chosen.len()).rev() {
        chosen.swap(at, (numbers.next() % (at as u64 + 1)) as usize);
    }
    let positions = 0u64..;
    cost(chosen.into_iter().zip(positions).map(|(chunk, at)| {
        (
            Chunks {
                start: chunk,
                end: chunk + 1,
            },
            at,
        )
    }))
}

/// The design promises at most 12 bytes per scattered preserved chunk, and a small fraction of a byte
/// per chunk in runs. That holds from about one chunk in 250 on, for what is asked for from the allocator;
/// with its rounding to powers of two it is up to 16 bytes. Sparser than that, a group's tree node counts:
/// some 90 bytes for a group. See the figures with `--nocapture`.
#[test]
fn memory_per_chunk() {
    for sparsity in [4096, 1024, 256, 64, 32, 16, 8, 4, 2, 1] {
        let cost = scattered(sparsity);
        println!("scattered, 1 in {sparsity}: {cost:.2?}");
        if sparsity <= 64 {
            assert!(cost.exact <= 12.0, "1 in {sparsity}: {cost:?}");
            assert!(cost.rounded <= 16.5, "1 in {sparsity}: {cost:?}");
        }
    }
    for len in [4, 16, 64, 256, 4096] {
        let runs = (0..64 * GROUP / len).map(|n| {
            (
                Chunks {
                    start: n * len,
                    end: (n + 1) * len,
                },
                n * (len + 1),
            )
        });
        let cost = cost(runs);
        println!("runs of {len}: {cost:.4?}");
        assert!(
            cost.exact <= 12.0 / len as f64 + 0.03,
            "runs of {len}: {cost:?}"
        );
    }
}

/// What the index says that it occupies is what it asked for, but for the tree's links.
#[test]
fn memory_is_what_was_asked_for() {
    let cost = scattered(256);
    assert!(
        cost.said >= cost.exact * 0.95 && cost.said <= cost.exact * 1.05,
        "{cost:?}"
    );
}
