// SPDX-License-Identifier: GPL-2.0

//! Space in the store against sets of positions.
//!
//! Covers I1 as far as space goes: a position never belongs to two contents at once.

#![forbid(unsafe_code)]

use dm_preserve_core::store::Area;
use dm_preserve_core::store::Pool;
use kernel::alloc::host;
use kernel::prelude::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

const AREAS: usize = 4;

#[derive(Clone, Debug)]
enum Op {
    Take(usize, u64),
    TakeWithoutMemory(usize, u64, u64),
    GiveBack(usize),
    Grow(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        10 => (0..AREAS, 1..40u64).prop_map(|(area, wanted)| Op::Take(area, wanted)),
        2 => (0..AREAS, prop_oneof![200..600u64, Just(u64::MAX)])
            .prop_map(|(area, wanted)| Op::Take(area, wanted)),
        2 => (0..AREAS, 1..40u64, 0..3u64)
            .prop_map(|(area, wanted, after)| Op::TakeWithoutMemory(area, wanted, after)),
        2 => (0..AREAS).prop_map(Op::GiveBack),
        1 => (0..3000u64).prop_map(Op::Grow),
    ]
}

/// Lets a pool grow, as the engine does.
fn grow(pool: &mut Pool, capacity: u64) {
    let list = KVVec::with_capacity(pool.segments(capacity).unwrap(), GFP_KERNEL).unwrap();
    pool.grow(capacity, list).unwrap();
}

/// Capacities around those where the size of a segment changes.
fn capacity() -> impl Strategy<Value = u64> {
    const EDGES: [u64; 12] = [
        0,
        1,
        511,
        512,
        513,
        1023,
        1024,
        1025,
        2 * 1024,
        512 * 256 - 1,
        512 * 256,
        512 * 256 + 1,
    ];
    prop_oneof![0..3000u64, proptest::sample::select(&EDGES)]
}

/// Chunks per segment, as documented.
fn segment(capacity: u64) -> u64 {
    (capacity / 512).clamp(1, 256)
}

proptest! {
    #[test]
    fn same_as_sets(capacity in capacity(), ops in proptest::collection::vec(op(), 0..200)) {
        let mut pool = Pool::new(capacity).unwrap();
        let (segment, mut capacity) = (segment(capacity), capacity);
        let mut areas: Vec<Area> = (0..AREAS).map(|_| Area::new()).collect();
        let mut taken: Vec<BTreeSet<u64>> = vec![BTreeSet::new(); AREAS];
        for op in ops {
            match op {
                Op::Take(area, wanted) => {
                    // Whether there was a segment: one of this area's with room, or one of
                    // nobody's.
                    let owned = |set: &BTreeSet<u64>| -> BTreeSet<u64> {
                        set.iter().map(|at| at / segment).collect()
                    };
                    let in_use: usize = taken.iter().map(|set| owned(set).len()).sum();
                    let own = &taken[area];
                    let room = owned(own).len() as u64 * segment - own.len() as u64;
                    let free = (in_use as u64) < capacity / segment;
                    let got = pool.take(&mut areas[area], wanted).unwrap();
                    prop_assert_eq!(
                        got.is_some(),
                        room > 0 || free,
                        "room {} in use {}",
                        room,
                        in_use
                    );
                    let Some((position, len)) = got else { continue };
                    let available = if room > 0 { room } else { segment };
                    prop_assert_eq!(len, wanted.min(available));
                    prop_assert!(position + len <= capacity);
                    for at in position..position + len {
                        let is_free = taken.iter().all(|set| !set.contains(&at));
                        prop_assert!(is_free, "{} was given out twice", at);
                        taken[area].insert(at);
                    }
                    // A segment has one owner.
                    let mine = (position / segment) * segment..(position / segment + 1) * segment;
                    let others = taken.iter().enumerate().filter(|(other, _)| *other != area);
                    let mut theirs = others.flat_map(|(_, set)| set.range(mine.clone()));
                    prop_assert_eq!(theirs.next(), None);
                }
                Op::TakeWithoutMemory(area, wanted, after) => {
                    match host::failing_after(after, || pool.take(&mut areas[area], wanted)) {
                        Ok(Some((position, len))) => taken[area].extend(position..position + len),
                        Ok(None) => (),
                        Err(error) => prop_assert_eq!(error, ENOMEM),
                    }
                }
                Op::GiveBack(area) => {
                    let before = host::usage().calls;
                    pool.give_back(&mut areas[area]);
                    prop_assert_eq!(host::usage().calls, before, "giving back allocated");
                    taken[area].clear();
                }
                Op::Grow(to) => {
                    grow(&mut pool, to);
                    capacity = capacity.max(to);
                }
            }
            prop_assert_eq!(pool.capacity(), capacity);
            prop_assert_eq!(pool.used(), taken.iter().map(|set| set.len() as u64).sum::<u64>());
        }
        // All comes back, and can be given out again, to the last segment.
        for area in &mut areas {
            pool.give_back(area);
        }
        prop_assert_eq!(pool.used(), 0);
        let mut all = BTreeSet::new();
        while let Some((position, len)) = pool.take(&mut areas[0], u64::MAX).unwrap() {
            for at in position..position + len {
                prop_assert!(all.insert(at));
            }
        }
        prop_assert_eq!(all.len() as u64, capacity / segment * segment);
        prop_assert!(all.last().is_none_or(|last| *last < capacity));
    }
}

#[test]
fn a_store_too_small_for_anything_is_full() {
    let mut pool = Pool::new(0).unwrap();
    let mut area = Area::new();
    assert_eq!(pool.take(&mut area, 1), Ok(None));
    grow(&mut pool, 1);
    assert_eq!(pool.take(&mut area, 5), Ok(Some((0, 1))));
    assert_eq!(pool.take(&mut area, 5), Ok(None));
    assert_eq!(pool.used(), 1);
    pool.give_back(&mut area);
    assert_eq!(pool.used(), 0);
    assert_eq!(pool.take(&mut area, 5), Ok(Some((0, 1))));
}

#[test]
fn a_full_store_can_grow_and_never_shrinks() {
    let mut pool = Pool::new(64).unwrap();
    let (mut first, mut second) = (Area::new(), Area::new());
    for at in 0..64 {
        let area = if at % 2 == 0 { &mut first } else { &mut second };
        assert_eq!(pool.take(area, 1), Ok(Some((at, 1))));
    }
    assert_eq!(pool.take(&mut first, 1), Ok(None));
    assert_eq!((pool.used(), pool.capacity()), (64, 64));
    grow(&mut pool, 10);
    assert_eq!(pool.capacity(), 64);
    grow(&mut pool, 65);
    assert_eq!(pool.take(&mut second, 7), Ok(Some((64, 1))));
    assert_eq!(pool.take(&mut second, 7), Ok(None));
    pool.give_back(&mut first);
    assert_eq!(pool.used(), 33);
}
