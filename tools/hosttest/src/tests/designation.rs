// SPDX-License-Identifier: GPL-2.0

//! The designation against a vector of booleans.
//!
//! Covers I6 as far as the map goes: exactly the chunks asked for are protected, and a snapshot's
//! map never changes.

#![forbid(unsafe_code)]

use dm_preserve_core::maps::Chunks;
use dm_preserve_core::maps::Designation;
use dm_preserve_core::maps::LEAF_BITS;
use kernel::alloc::host;
use kernel::prelude::*;
use proptest::prelude::*;

/// Chunks of the model: four stretches and a bit.
const CHUNKS: u64 = 4 * LEAF_BITS + 100;

fn run(start: u64, end: u64) -> Chunks {
    Chunks { start, end }
}

fn chunk() -> impl Strategy<Value = u64> {
    let edges = (0..=4u64).flat_map(|leaf| {
        [0, 1, 63, 64, 65, LEAF_BITS - 64, LEAF_BITS - 1].map(|offset| leaf * LEAF_BITS + offset)
    });
    let edges: Vec<u64> = edges
        .filter(|chunk| *chunk <= CHUNKS)
        .chain([CHUNKS - 1, CHUNKS])
        .collect();
    prop_oneof![0..=CHUNKS, proptest::sample::select(edges)]
}

#[derive(Clone, Debug)]
struct Edit {
    runs: Vec<(u64, u64)>,
    protect: bool,
}

fn edit() -> impl Strategy<Value = Edit> {
    let runs = proptest::collection::vec((chunk(), chunk()), 0..4);
    (runs, any::<bool>()).prop_map(|(runs, protect)| Edit { runs, protect })
}

impl Edit {
    /// Empty and backward runs are among them, on purpose.
    fn runs(&self) -> Vec<Chunks> {
        self.runs
            .iter()
            .map(|(start, end)| run(*start, *end))
            .collect()
    }
}

fn check(map: &Designation, model: &[bool], default: bool) -> Result<(), TestCaseError> {
    for (chunk, protected) in model.iter().enumerate() {
        prop_assert_eq!(map.get(chunk as u64), *protected, "chunk {}", chunk);
    }
    for beyond in [CHUNKS + LEAF_BITS, 100 * LEAF_BITS, u64::MAX - 1, u64::MAX] {
        prop_assert_eq!(map.get(beyond), default);
    }
    for len in [
        0,
        1,
        63,
        64,
        65,
        LEAF_BITS - 1,
        LEAF_BITS,
        LEAF_BITS + 1,
        3 * LEAF_BITS + 7,
        CHUNKS,
    ] {
        let expected = model[..len as usize]
            .iter()
            .filter(|protected| **protected)
            .count();
        prop_assert_eq!(map.count(len), expected as u64, "the first {}", len);
    }
    let beyond = 10 * LEAF_BITS;
    let expected = map.count(CHUNKS + beyond) - map.count(CHUNKS);
    prop_assert_eq!(expected, u64::from(default) * beyond);
    Ok(())
}

/// As [`check`], for bytes.
fn check_bytes(map: &Designation, model: &[bool], chunks: u64) -> Result<(), TestCaseError> {
    let mut out = vec![0; 20_000];
    let copied = map.read_bytes(chunks, 0, &mut out);
    prop_assert_eq!(copied as u64, chunks.div_ceil(8));
    let bit = |bit: u64| bit < chunks && model[bit as usize];
    for (at, byte) in out[..copied].iter().enumerate() {
        let expected = (0..8)
            .map(|n| u8::from(bit(at as u64 * 8 + n)) << n)
            .sum::<u8>();
        prop_assert_eq!(*byte, expected, "byte {}", at);
    }
    // In pieces, it is the same.
    for (offset, len) in [(0, 1), (1, 7), (4095, 3), (copied - 1, 5), (copied, 5)] {
        let mut piece = vec![0; len];
        let got = map.read_bytes(chunks, offset as u64, &mut piece);
        let expected = offset.min(copied)..(offset + len).min(copied);
        prop_assert_eq!(&piece[..got], &out[expected]);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases / 4,
        ..ProptestConfig::default()
    })]

    #[test]
    fn same_as_a_vector(default: bool, edits in proptest::collection::vec(edit(), 1..8)) {
        // A map that reaches exactly so far; what lies beyond has the default.
        let mut maps = vec![(Designation::new(default), vec![default; CHUNKS as usize])];
        for edit in &edits {
            let (map, model) = maps.last().unwrap();
            let mut model = model.clone();
            for (start, end) in edit.runs.iter().filter(|(start, end)| start < end) {
                model[*start as usize..*end as usize].fill(edit.protect);
            }
            let edited = map.edited(&edit.runs(), edit.protect).unwrap();
            maps.push((edited, model));
        }
        // The maps before each edit, which share what was not touched, are as they were.
        for (map, model) in &maps {
            check(map, model, default)?;
        }
        let (map, model) = maps.last().unwrap();
        for chunks in [CHUNKS, CHUNKS - 1, CHUNKS - 100, 65, 64, 9, 8, 1] {
            check_bytes(map, model, chunks)?;
        }
    }

    /// Whichever allocation fails, the edit is an error and the map is as before.
    #[test]
    fn without_memory_nothing_changes(first in edit(), second in edit(), failing in 0u64..12) {
        let map = Designation::new(true).edited(&first.runs(), first.protect).unwrap();
        let before: Vec<u64> = (0..=CHUNKS).step_by(97).map(|len| map.count(len)).collect();
        let edited = host::failing_after(failing, || map.edited(&second.runs(), second.protect));
        let expected = map.edited(&second.runs(), second.protect).unwrap();
        match edited {
            Ok(edited) => prop_assert_eq!(edited.count(CHUNKS), expected.count(CHUNKS)),
            Err(error) => prop_assert_eq!(error, ENOMEM),
        }
        let after: Vec<u64> = (0..=CHUNKS).step_by(97).map(|len| map.count(len)).collect();
        prop_assert_eq!(before, after);
    }
}

/// Bytes that `f`'s result occupies.
fn memory<T>(f: impl FnOnce() -> T) -> (T, i64) {
    let before = host::usage().exact;
    let value = f();
    (value, host::usage().exact - before)
}

#[test]
fn uniform_stretches_take_no_memory_beyond_the_table() {
    const STRETCHES: u64 = 1000;
    const WORDS: i64 = LEAF_BITS as i64 / 8;
    let (empty, bytes) = memory(|| Designation::new(false));
    assert_eq!(bytes, 0);
    let whole = run(0, STRETCHES * LEAF_BITS);
    let calls = host::usage().calls;
    let (map, table) = memory(|| empty.edited(&[whole], true).unwrap());
    assert_eq!(host::usage().calls - calls, 1, "not even for a while");
    assert!(table <= STRETCHES as i64 * 16, "{table} bytes");
    assert_eq!(map.count(u64::MAX / 2), STRETCHES * LEAF_BITS);
    // A single chunk makes one stretch mixed; the others are shared or uniform.
    let (mixed, bytes) = memory(|| {
        map.edited(&[run(LEAF_BITS + 5, LEAF_BITS + 6)], false)
            .unwrap()
    });
    assert_eq!(bytes, table + WORDS);
    let (again, bytes) = memory(|| {
        mixed
            .edited(&[run(5 * LEAF_BITS, 5 * LEAF_BITS + 1)], false)
            .unwrap()
    });
    assert_eq!(bytes, table + WORDS, "the other mixed stretch is shared");
    // A stretch that becomes all alike gives its memory back with the last map that shares it.
    let (uniform, bytes) = memory(|| {
        again
            .edited(&[run(LEAF_BITS + 5, LEAF_BITS + 6)], true)
            .unwrap()
    });
    assert_eq!(bytes, table);
    drop(mixed);
    let (_, bytes) = memory(|| drop(again));
    assert_eq!(bytes, -(table + WORDS));
    assert_eq!(
        uniform.count(STRETCHES * LEAF_BITS),
        STRETCHES * LEAF_BITS - 1
    );
}

#[test]
fn edits_that_say_what_is_so_already_take_no_memory() {
    for default in [false, true] {
        let map = Designation::new(default);
        let calls = host::usage().calls;
        let (_edited, bytes) = memory(|| {
            map.edited(&[run(3, 5), run(LEAF_BITS - 1, 2 * LEAF_BITS + 1)], default)
                .unwrap()
        });
        assert!(bytes <= 3 * 16, "{bytes} bytes");
        assert_eq!(host::usage().calls - calls, 1, "not even for a while");
    }
}

#[test]
fn absurd_runs_are_an_error() {
    let map = Designation::new(true);
    assert!(map.edited(&[run(0, u64::MAX)], false).is_err());
    assert!(map.edited(&[run(u64::MAX - 1, u64::MAX)], false).is_err());
    assert!(map
        .edited(&[run(0, 1), run(1 << 60, (1 << 60) + 1)], false)
        .is_err());
}
