// SPDX-License-Identifier: GPL-2.0

//! Chunk arithmetic: exact for every small device, without overflow up to the largest one.
//!
//! Covers I6 (rounding never protects or releases more than was asked for, nor protects less).

#![forbid(unsafe_code)]

use dm_preserve_core::maps::merged;
use dm_preserve_core::maps::Chunks;
use dm_preserve_core::maps::Geometry;
use dm_preserve_core::maps::MAX_CHUNK_SECTORS;
use dm_preserve_core::maps::MIN_CHUNK_SECTORS;
use dm_preserve_core::maps::SECTOR_BYTES;
use kernel::prelude::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// The longest device there can be.
const LONGEST: u64 = u64::MAX >> 1;

fn geometry(sectors: u64, chunk_sectors: u64) -> Geometry {
    Geometry::new(sectors, chunk_sectors).unwrap()
}

fn chunks(start: u64, end: u64) -> Chunks {
    Chunks { start, end }
}

#[test]
fn geometries_are_refused_outside_the_limits() {
    let cases = [
        (0, 8, true),
        (1, 8, true),
        (LONGEST, 8, true),
        (LONGEST, 2048, true),
        (LONGEST + 1, 8, false),
        (u64::MAX, 8, false),
        (100, 0, false),
        (100, 1, false),
        (100, 4, false),
        (100, 9, false),
        (100, 24, false),
        (100, 2047, false),
        (100, 4096, false),
        (100, 1 << 63, false),
        (100, u64::MAX, false),
    ];
    for (sectors, chunk_sectors, valid) in cases {
        let geometry = Geometry::new(sectors, chunk_sectors);
        assert_eq!(geometry.is_some(), valid, "{sectors} {chunk_sectors}");
    }
    for shift in MIN_CHUNK_SECTORS.trailing_zeros()..=MAX_CHUNK_SECTORS.trailing_zeros() {
        let geometry = geometry(12345, 1 << shift);
        assert_eq!(geometry.sectors(), 12345);
        assert_eq!(geometry.chunk_sectors(), 1 << shift);
        assert_eq!(geometry.chunk_bytes(), SECTOR_BYTES << shift);
    }
}

#[test]
fn ranges_end_within_the_device() {
    let cases = [
        (100, 0, 100, Some(100)),
        (100, 0, 1, Some(1)),
        (100, 99, 1, Some(100)),
        (100, 0, 0, None),
        (100, 100, 0, None),
        (100, 100, 1, None),
        (100, 99, 2, None),
        (100, 0, 101, None),
        (100, u64::MAX, 1, None),
        (100, 1, u64::MAX, None),
        (100, u64::MAX, u64::MAX, None),
        (0, 0, 0, None),
        (0, 0, 1, None),
        (LONGEST, 0, LONGEST, Some(LONGEST)),
        (LONGEST, LONGEST - 1, 1, Some(LONGEST)),
        (LONGEST, LONGEST, 1, None),
        (LONGEST, 1, LONGEST, None),
        (LONGEST, LONGEST, LONGEST, None),
    ];
    for (sectors, start, len, end) in cases {
        let found = geometry(sectors, 8).range_end(start, len);
        assert_eq!(found, end, "{sectors} {start} {len}");
    }
}

#[test]
fn rounding_at_the_ends() {
    // Length, chunk, range, chunks touched, chunks covered.
    let cases = [
        (100, 8, (0, 100), (0, 13), (0, 13)),
        (100, 8, (0, 99), (0, 13), (0, 12)),
        (100, 8, (96, 100), (12, 13), (12, 13)),
        (100, 8, (97, 100), (12, 13), (13, 13)),
        (100, 8, (96, 99), (12, 13), (12, 12)),
        (100, 8, (0, 1), (0, 1), (0, 0)),
        (100, 8, (0, 8), (0, 1), (0, 1)),
        (100, 8, (1, 8), (0, 1), (1, 1)),
        (100, 8, (7, 9), (0, 2), (1, 1)),
        (100, 8, (7, 17), (0, 3), (1, 2)),
        (5, 8, (0, 5), (0, 1), (0, 1)),
        (5, 8, (0, 4), (0, 1), (0, 0)),
        (5, 8, (1, 5), (0, 1), (1, 1)),
        (LONGEST, 8, (0, LONGEST), (0, 1 << 60), (0, 1 << 60)),
        (
            LONGEST,
            8,
            (LONGEST - 7, LONGEST),
            ((1 << 60) - 1, 1 << 60),
            ((1 << 60) - 1, 1 << 60),
        ),
        (
            LONGEST,
            8,
            (LONGEST - 1, LONGEST),
            ((1 << 60) - 1, 1 << 60),
            (1 << 60, 1 << 60),
        ),
        (
            LONGEST,
            2048,
            (LONGEST - 1, LONGEST),
            ((1 << 52) - 1, 1 << 52),
            (1 << 52, 1 << 52),
        ),
    ];
    for (sectors, chunk_sectors, (start, end), outward, inward) in cases {
        let geometry = geometry(sectors, chunk_sectors);
        let case = format!("{sectors} {chunk_sectors} {start} {end}");
        assert_eq!(
            geometry.outward(start, end),
            chunks(outward.0, outward.1),
            "{case}"
        );
        assert_eq!(
            geometry.inward(start, end),
            chunks(inward.0, inward.1),
            "{case}"
        );
    }
}

#[test]
fn every_range_of_every_small_device() {
    for (chunk_sectors, sectors) in [8, 16]
        .into_iter()
        .flat_map(|c| (0..70).map(move |s| (c, s)))
    {
        let geometry = geometry(sectors, chunk_sectors);
        let count = (0..sectors)
            .map(|sector| sector / chunk_sectors + 1)
            .max()
            .unwrap_or(0);
        assert_eq!(geometry.chunks(), count);
        for start in 0..sectors {
            for end in start + 1..=sectors {
                let (outward, inward) = (geometry.outward(start, end), geometry.inward(start, end));
                for chunk in 0..count + 2 {
                    let of_chunk = |sector: &u64| sector / chunk_sectors == chunk;
                    let touched = (start..end).filter(of_chunk).count();
                    let all = (0..sectors).filter(of_chunk).count();
                    let case = format!("{sectors} {chunk_sectors} {start} {end} {chunk}");
                    assert_eq!(outward.contains(chunk), touched > 0, "{case}");
                    assert_eq!(
                        inward.contains(chunk),
                        touched > 0 && touched == all,
                        "{case}"
                    );
                }
                assert!(inward.start <= inward.end);
                let covered = (0..sectors)
                    .filter(|s| outward.contains(s / chunk_sectors))
                    .count();
                assert_eq!(geometry.sectors_of(outward), covered as u64);
                let covered = (0..sectors)
                    .filter(|s| inward.contains(s / chunk_sectors))
                    .count();
                assert_eq!(geometry.sectors_of(inward), covered as u64);
            }
        }
    }
}

#[test]
fn lengths_of_runs() {
    for (start, end, len) in [
        (0, 0, 0),
        (3, 3, 0),
        (4, 3, 0),
        (u64::MAX, 0, 0),
        (3, 5, 2),
        (0, u64::MAX, u64::MAX),
    ] {
        assert_eq!(chunks(start, end).len(), len);
        assert_eq!(chunks(start, end).is_empty(), len == 0);
        assert_eq!(chunks(start, end).contains(start), len > 0);
        assert!(!chunks(start, end).contains(end));
    }
}

proptest! {
    #[test]
    fn large_devices(
        shift in 3u32..=11,
        sectors in prop_oneof![1..=LONGEST, LONGEST - 5000..=LONGEST, 1u64..5000],
        (a, b) in (any::<u64>(), any::<u64>()),
    ) {
        let geometry = geometry(sectors, 1 << shift);
        let (start, end) = (a % sectors, b % sectors + 1);
        let (start, end) = (start.min(end - 1), start.max(end - 1) + 1);
        prop_assert_eq!(geometry.range_end(start, end - start), Some(end));
        let (outward, inward) = (geometry.outward(start, end), geometry.inward(start, end));
        // Outward covers, and is no larger than it has to be.
        prop_assert_eq!(outward.start, geometry.chunk(start));
        prop_assert_eq!(outward.end, geometry.chunk(end - 1) + 1);
        prop_assert!(outward.end <= geometry.chunks());
        prop_assert!(geometry.sector(outward.start) <= start);
        prop_assert!(geometry.sector(outward.end).min(sectors) >= end);
        // Inward is contained, and no smaller than it has to be.
        prop_assert!(outward.start <= inward.start && inward.start <= inward.end);
        prop_assert!(inward.is_empty() || inward.end <= outward.end);
        prop_assert!(inward.is_empty() || geometry.sector(inward.start) >= start);
        prop_assert!(inward.is_empty() || geometry.sector(inward.end).min(sectors) <= end);
        prop_assert!(inward.start - outward.start <= 1);
        prop_assert!(inward.is_empty() || outward.end - inward.end <= 1);
        prop_assert_eq!(geometry.sectors_of(outward) >= end - start, true);
        prop_assert!(geometry.sectors_of(inward) <= end - start);
    }

    #[test]
    fn range_ends_never_overflow(sectors in 0..=LONGEST, start: u64, len: u64) {
        let expected = u128::from(start) + u128::from(len);
        let fits = len > 0 && expected <= u128::from(sectors);
        let end = geometry(sectors, 8).range_end(start, len);
        prop_assert_eq!(end.map(u128::from), fits.then_some(expected));
    }

    #[test]
    fn merged_runs_are_the_same_chunks(
        runs in proptest::collection::vec((0..300u64, 0..20u64), 0..100),
    ) {
        let mut given = KVVec::new();
        let mut model = BTreeSet::new();
        for (start, len) in runs {
            let end = start + len;
            given.push(Chunks { start, end }, GFP_KERNEL).unwrap();
            model.extend(start..end);
        }
        let merged = merged(given).unwrap();
        let chunks = merged.iter().flat_map(|run| run.start..run.end);
        prop_assert!(chunks.eq(model), "in order, each once: {:?}", &merged[..]);
        let apart = |two: &[Chunks]| two[0].end < two[1].start;
        prop_assert!(merged.windows(2).all(apart), "as few as can be: {:?}", &merged[..]);
        prop_assert!(merged.iter().all(|run| !run.is_empty()));
    }
}
