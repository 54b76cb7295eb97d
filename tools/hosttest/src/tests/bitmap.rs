// SPDX-License-Identifier: GPL-2.0

//! The sparse bitmap against a set.
//!
//! Covers I3 as far as marks go: a bit set stays set, and is found by every way of looking.

#![forbid(unsafe_code)]

use dm_preserve_core::maps::Bitmap;
use dm_preserve_core::maps::Chunks;
use dm_preserve_core::maps::LEAF_BITS;
use kernel::alloc::host;
use kernel::prelude::*;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::Arc;

const SIZES: [u64; 15] = [
    0,
    1,
    63,
    64,
    65,
    127,
    128,
    LEAF_BITS - 1,
    LEAF_BITS,
    LEAF_BITS + 1,
    LEAF_BITS + 63,
    2 * LEAF_BITS - 1,
    2 * LEAF_BITS,
    2 * LEAF_BITS + 65,
    5 * LEAF_BITS + 777,
];

fn all(bits: u64) -> Chunks {
    Chunks {
        start: 0,
        end: bits,
    }
}

fn run(start: u64, end: u64) -> Chunks {
    Chunks { start, end }
}

/// Sets a bit, as a run of one. Returns whether it was set before, or `None` if there is no such
/// bit or no memory.
fn set_nowait(bitmap: &Bitmap, bit: u64) -> Option<bool> {
    let was_set = bitmap.get(bit);
    let end = bit.saturating_add(1);
    bitmap.set_run_nowait(run(bit, end)).ok()?;
    (bit < bitmap.len()).then_some(was_set)
}

/// Bits next to the places where something can go wrong.
fn edges(bits: u64) -> Vec<u64> {
    let around = |at: u64| [at.wrapping_sub(1), at, at + 1];
    let places = (0..=bits / LEAF_BITS + 1).flat_map(|leaf| {
        [0, 64, LEAF_BITS / 2, LEAF_BITS - 64].map(|offset| leaf * LEAF_BITS + offset)
    });
    places
        .chain([bits])
        .flat_map(around)
        .filter(|bit| *bit < bits)
        .collect()
}

fn bit(bits: u64) -> BoxedStrategy<u64> {
    prop_oneof![0..bits, proptest::sample::select(edges(bits))].boxed()
}

/// How a run is set.
#[derive(Clone, Copy, Debug)]
enum How {
    Waiting,
    Nowait,
    /// All that it needs is there.
    Prepared,
}

#[derive(Clone, Debug)]
enum Op {
    Prepare(u64, u64),
    Set(u64),
    SetNowait(u64),
    SetNowaitWithoutMemory(u64),
    SetRun(How, u64, u64),
    Merge(u64, u64),
}

/// A run within a leaf as a rule, or of whole ones. It may reach beyond the end.
fn long_run(bits: u64) -> impl Strategy<Value = (u64, u64)> {
    prop_oneof![
        20 => (bit(bits), 0..200u64).prop_map(|(start, len)| (start, start + len)),
        1 => (bit(bits), 0..=2 * LEAF_BITS).prop_map(|(start, len)| (start, start + len)),
        1 => bit(bits).prop_map(|bit| {
            let start = bit - bit % LEAF_BITS;
            (start, start + LEAF_BITS)
        }),
    ]
}

fn op(bits: u64) -> impl Strategy<Value = Op> {
    let how = proptest::sample::select(&[How::Waiting, How::Nowait, How::Prepared]);
    prop_oneof![
        1 => (bit(bits), bit(bits)).prop_map(|(a, b)| Op::Prepare(a.min(b), a.max(b) + 1)),
        8 => bit(bits).prop_map(Op::Set),
        4 => bit(bits).prop_map(Op::SetNowait),
        2 => bit(bits).prop_map(Op::SetNowaitWithoutMemory),
        2 => (how, long_run(bits)).prop_map(|(how, (start, end))| Op::SetRun(how, start, end)),
        1 => (bit(bits), any::<u64>()).prop_map(|(bit, word)| Op::Merge(bit - bit % 64, word)),
    ]
}

/// Notes which leaves there are after a run was set: one that was not there and is set whole takes
/// no memory.
fn add_leaves(run: Chunks, leaves: &mut BTreeSet<u64>, full: &mut BTreeSet<u64>) {
    for leaf in (run.start..run.end)
        .step_by(64)
        .chain(run.end.checked_sub(1))
    {
        let leaf = leaf / LEAF_BITS;
        let first = leaf * LEAF_BITS;
        if run.is_empty() || leaves.contains(&leaf) || full.contains(&leaf) {
            continue;
        }
        match run.start <= first && first + LEAF_BITS <= run.end {
            true => full.insert(leaf),
            false => leaves.insert(leaf),
        };
    }
}

fn history() -> impl Strategy<Value = (u64, Vec<Op>, Vec<(u64, u64)>)> {
    let size = proptest::sample::select(&SIZES[1..]);
    size.prop_flat_map(|bits| {
        let ops = proptest::collection::vec(op(bits), 0..80);
        let runs = proptest::collection::vec((bit(bits), bit(bits)), 20);
        (Just(bits), ops, runs)
    })
}

proptest! {
    #[test]
    fn same_as_a_set((bits, ops, runs) in history()) {
        let bitmap = Bitmap::new(bits).unwrap();
        let table = bitmap.memory();
        let mut model = BTreeSet::new();
        let mut leaves = BTreeSet::new();
        let mut full = BTreeSet::new();
        for op in ops {
            match op {
                Op::Prepare(start, end) => {
                    bitmap.prepare(run(start, end)).unwrap();
                    let all = start / LEAF_BITS..=(end - 1) / LEAF_BITS;
                    leaves.extend(all.filter(|leaf| !full.contains(leaf)));
                }
                Op::Set(bit) => {
                    let leaf = bit / LEAF_BITS;
                    let exists = leaves.contains(&leaf) || full.contains(&leaf);
                    let expected = exists.then(|| !model.insert(bit));
                    prop_assert_eq!(bitmap.set(bit), expected);
                }
                Op::SetNowait(bit) => {
                    if !full.contains(&(bit / LEAF_BITS)) {
                        leaves.insert(bit / LEAF_BITS);
                    }
                    prop_assert_eq!(set_nowait(&bitmap, bit), Some(!model.insert(bit)));
                }
                Op::SetNowaitWithoutMemory(bit) => {
                    let leaf = bit / LEAF_BITS;
                    let exists = leaves.contains(&leaf) || full.contains(&leaf);
                    let expected = exists.then(|| !model.insert(bit));
                    prop_assert_eq!(host::failing_after(0, || set_nowait(&bitmap, bit)), expected);
                }
                Op::SetRun(how, start, end) => {
                    let all = run(start, end);
                    let result = match how {
                        How::Waiting => bitmap.set_run(all),
                        How::Nowait => bitmap.set_run_nowait(all),
                        How::Prepared => bitmap
                            .prepare_run(all)
                            .and_then(|()| host::failing_after(0, || bitmap.set_run(all))),
                    };
                    result.unwrap();
                    add_leaves(run(start, end.min(bits)), &mut leaves, &mut full);
                    model.extend(start..end.min(bits));
                }
                Op::Merge(bit, word) => {
                    bitmap.merge(bit, word).unwrap();
                    let set = (bit..bits.min(bit + 64)).filter(|at| word >> (at - bit) & 1 != 0);
                    let named = set.clone().map(|bit| bit / LEAF_BITS);
                    leaves.extend(named.filter(|leaf| !full.contains(leaf)));
                    model.extend(set);
                }
            }
        }
        prop_assert_eq!(bitmap.len(), bits);
        prop_assert_eq!(bitmap.count(), model.len() as u64);
        prop_assert_eq!(bitmap.memory() - table, leaves.len() as u64 * LEAF_BITS / 8);
        for bit in edges(bits).iter().chain(&model) {
            prop_assert_eq!(bitmap.get(*bit), model.contains(bit));
        }
        for (start, end) in runs {
            let set = model.range(start..end.max(start)).next().copied();
            prop_assert_eq!(bitmap.find(run(start, end), true), set);
            let unset = (start..end).find(|bit| !model.contains(bit));
            prop_assert_eq!(bitmap.find(run(start, end), false), unset);
        }
        for bit in edges(bits) {
            let word = bitmap.around(bit);
            prop_assert_eq!(word.bits, bitmap.word(bit));
            prop_assert!(word.end > bit && word.end.is_multiple_of(64));
            for same in (bit..word.end.min(bits)).step_by(64) {
                prop_assert_eq!(bitmap.word(same), word.bits, "from {} to {}", bit, same);
            }
        }
        // Walking from one to the next finds them all.
        let mut found = Vec::new();
        while let Some(bit) = bitmap.find(run(found.last().map_or(0, |bit| bit + 1), bits), true) {
            found.push(bit);
        }
        prop_assert!(found.iter().eq(model.iter()));
    }

    #[test]
    fn bytes_are_the_bits(
        (bits, set) in proptest::sample::select(&SIZES[1..])
            .prop_flat_map(|bits| (Just(bits), proptest::collection::btree_set(bit(bits), 0..60))),
        at in any::<prop::sample::Index>(),
        len in 0usize..200,
    ) {
        let bitmap = Bitmap::new(bits).unwrap();
        for bit in &set {
            set_nowait(&bitmap, *bit).unwrap();
        }
        let bytes = bits.div_ceil(8);
        let anywhere = at.index(bytes as usize + 3) as u64;
        for offset in [0, anywhere, bytes - 1, bytes, bytes + 1, u64::MAX] {
            let mut out = vec![0xAA; len];
            let word = |bit| bitmap.word(bit);
            let copied =
                dm_preserve_core::maps::copy_bits(bitmap.len(), offset, &mut out, word);
            prop_assert_eq!(copied as u64, bytes.saturating_sub(offset).min(len as u64));
            for (byte, at) in out[..copied].iter().zip(offset..) {
                let expected = (0..8).map(|bit| u8::from(set.contains(&(at * 8 + bit))) << bit);
                prop_assert_eq!(*byte, expected.sum::<u8>());
            }
            prop_assert!(
                out[copied..].iter().all(|byte| *byte == 0xAA),
                "more was written than said"
            );
        }
    }
}

#[test]
fn every_size_full_and_empty() {
    for bits in SIZES {
        let bitmap = Bitmap::new(bits).unwrap();
        assert_eq!(bitmap.find(all(bits), true), None);
        assert_eq!(bitmap.find(all(bits), false), (bits > 0).then_some(0));
        bitmap.prepare(all(bits)).unwrap();
        for bit in 0..bits {
            assert_eq!(bitmap.set(bit), Some(false));
            assert_eq!(bitmap.set(bit), Some(true));
        }
        assert_eq!(bitmap.count(), bits);
        assert_eq!(bitmap.find(all(bits), false), None);
        assert_eq!(bitmap.find(all(bits), true), (bits > 0).then_some(0));
        assert!((0..bits).all(|bit| bitmap.get(bit)));
    }
}

#[test]
fn nothing_is_set_beyond_the_table() {
    for bits in SIZES {
        let bitmap = Bitmap::new(bits).unwrap();
        bitmap.prepare(run(0, u64::MAX)).unwrap();
        let end = bits.div_ceil(LEAF_BITS) * LEAF_BITS;
        for bit in [
            end,
            end + 1,
            u64::MAX / 2,
            u64::MAX - 64,
            u64::MAX - 1,
            u64::MAX,
        ] {
            assert!(!bitmap.get(bit));
            assert_eq!(bitmap.set(bit), None);
            assert_eq!(set_nowait(&bitmap, bit), None);
            assert_eq!(
                bitmap.find(run(bit, u64::MAX), false),
                (bit < u64::MAX).then_some(bit)
            );
        }
        assert_eq!(bitmap.find(run(u64::MAX - 100, u64::MAX), true), None);
        assert_eq!(bitmap.count(), 0);
    }
}

#[test]
fn absurd_sizes_are_an_error() {
    for bits in [u64::MAX, u64::MAX - LEAF_BITS, 1 << 60] {
        assert!(Bitmap::new(bits).is_err());
    }
}

#[test]
fn empty_runs_find_nothing_and_need_nothing() {
    let bitmap = Bitmap::new(1000).unwrap();
    for (start, end) in [
        (0, 0),
        (5, 5),
        (7, 3),
        (1000, 0),
        (u64::MAX, 0),
        (u64::MAX, u64::MAX),
    ] {
        assert_eq!(bitmap.find(run(start, end), true), None);
        assert_eq!(bitmap.find(run(start, end), false), None);
        let before = host::usage();
        bitmap.prepare(run(start, end)).unwrap();
        assert_eq!(host::usage(), before);
    }
}

#[test]
fn without_memory_nothing_changes() {
    let bitmap = Bitmap::new(3 * LEAF_BITS).unwrap();
    assert_eq!(
        host::failing_after(0, || bitmap.prepare(all(10))),
        Err(ENOMEM)
    );
    assert_eq!(bitmap.set(3), None);
    // The second leaf fails: the first one stays, and can be used.
    let across = run(LEAF_BITS - 1, LEAF_BITS + 1);
    assert_eq!(
        host::failing_after(1, || bitmap.prepare(across)),
        Err(ENOMEM)
    );
    assert_eq!(bitmap.set(LEAF_BITS - 1), Some(false));
    assert_eq!(bitmap.set(LEAF_BITS), None);
    assert_eq!(bitmap.count(), 1);
    // Later sets and looks need no memory.
    let before = host::usage();
    assert_eq!(bitmap.set(5), Some(false));
    assert_eq!(set_nowait(&bitmap, 6), Some(false));
    assert_eq!(bitmap.find(all(3 * LEAF_BITS), true), Some(5));
    assert_eq!(host::usage(), before);
    assert!(host::failing_after(0, || Bitmap::new(1)).is_err());
}

#[test]
fn a_leaf_that_is_set_whole_takes_no_memory() {
    let bitmap = Bitmap::new(1 << 32).unwrap();
    let (table, before) = (bitmap.memory(), host::usage());
    host::failing_after(0, || bitmap.set_run(all(1 << 32))).unwrap();
    assert_eq!(host::usage(), before);
    assert_eq!(bitmap.memory(), table);
    assert_eq!(bitmap.count(), 1 << 32);
    assert_eq!(bitmap.find(all(1 << 32), false), None);
    assert_eq!(bitmap.set(77), Some(true));
}

#[test]
fn a_run_that_lacks_memory_is_refused_without_sleeping() {
    let bitmap = Bitmap::new(3 * LEAF_BITS).unwrap();
    let some = run(10, 2 * LEAF_BITS + 10);
    assert_eq!(
        host::failing_after(0, || bitmap.set_run_nowait(some)),
        Err(ENOMEM)
    );
    assert_eq!(bitmap.count(), 0);
    bitmap.set_run_nowait(some).unwrap();
    assert_eq!(bitmap.count(), some.len());
    assert_eq!(bitmap.find(some, false), None);
    assert!(!bitmap.get(9) && !bitmap.get(some.end));
}

#[test]
fn what_is_counted_does_not_share_a_cache_line_with_what_is_read() {
    // The count has a line of its own: the rest begins on another, as an `Arc`'s own count does.
    assert_eq!(align_of::<Bitmap>(), 64);
    assert_eq!(size_of::<Bitmap>(), 128);
}

#[test]
fn threads_that_set_bits_at_once_count_right() {
    const BITS: u64 = 2 * LEAF_BITS + 100;
    const THREADS: u64 = 4;
    for round in 0..20 {
        let bitmap = Bitmap::new(BITS).unwrap();
        let claimed: u64 = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|thread| {
                    let bitmap = &bitmap;
                    scope.spawn(move || {
                        // Each thread sets three of four bits, in its own order; so every bit is
                        // fought for.
                        let mine = (0..BITS).map(|n| (n * 7919 + thread * 1000 + round) % BITS);
                        let mine = mine.filter(|bit| bit % THREADS != thread);
                        let set = |bit: &u64| loop {
                            bitmap.prepare(run(*bit, bit + 1)).unwrap();
                            if let Some(was_set) = bitmap.set(*bit) {
                                return !was_set;
                            }
                        };
                        mine.filter(set).count() as u64
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum()
        });
        assert_eq!(claimed, BITS, "each bit was set by exactly one thread");
        assert_eq!(bitmap.count(), BITS);
        assert_eq!(bitmap.find(all(BITS), false), None);
    }
}

/// Two threads prepare the same leaf: what the loser's `prepare` promises must hold at once,
/// although the winner is not done. Otherwise its `set` has no effect, and the write goes unmarked
/// (I3).
#[test]
fn a_bit_can_be_set_after_prepare_whoever_made_the_leaf() {
    let bitmap = Arc::new(Bitmap::new(100).unwrap());
    let other = bitmap.clone();
    let (sender, receiver) = std::sync::mpsc::channel();
    kernel::sync::host::while_populating(move || {
        let loser = std::thread::spawn(move || {
            // An error is an answer, too: try again.
            while other.prepare(run(7, 8)).is_err() {
                std::thread::yield_now();
            }
            other.set(7)
        });
        // Long enough for it to return, unless it waits for us.
        std::thread::sleep(std::time::Duration::from_millis(100));
        sender.send(loser).unwrap();
    });
    bitmap.prepare(run(3, 4)).unwrap();
    assert_eq!(bitmap.set(3), Some(false));
    let loser: std::thread::JoinHandle<_> = receiver.recv().unwrap();
    assert_eq!(loser.join().unwrap(), Some(false));
}
