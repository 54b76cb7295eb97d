// SPDX-License-Identifier: GPL-2.0

//! Claims on chunks against a plain list of them.

#![forbid(unsafe_code)]

use dm_preserve_core::maps::Chunks;
use dm_preserve_core::maps::Claims;
use kernel::alloc::host;
use proptest::prelude::*;

/// Most chunks of a claim.
const BLOCK: u64 = 16;
const SLOTS: usize = 40;
/// Few chunks, so that claims are asked for where there is one.
const CHUNKS: u64 = 400;

#[derive(Clone, Debug)]
enum Step {
    Add(usize, Chunks),
    Remove(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let run = (0..CHUNKS, 0..=BLOCK + 1).prop_map(|(start, len)| Chunks {
        start,
        end: start + len,
    });
    prop_oneof![
        2 => (0..SLOTS + 1, run).prop_map(|(slot, run)| Step::Add(slot, run)),
        1 => (0..SLOTS + 1).prop_map(Step::Remove),
    ]
}

proptest! {
    /// Each chunk has the holder that a search through all claims finds, whatever was claimed and
    /// given up before; and nothing is allocated for it.
    #[test]
    fn claims_are_found_by_slot_and_by_chunk(steps in proptest::collection::vec(step(), 0..200)) {
        let mut claims = Claims::new(SLOTS, BLOCK).unwrap();
        let mut model: Vec<Option<Chunks>> = vec![None; SLOTS];
        for step in steps {
            let before = host::usage().calls;
            match step {
                Step::Add(slot, run) => {
                    let is_free = model.iter().flatten()
                        .all(|other| other.end <= run.start || run.end <= other.start);
                    if !is_free {
                        continue;
                    }
                    let may = model.get(slot) == Some(&None) && (1..=BLOCK).contains(&run.len());
                    prop_assert_eq!(claims.add(slot, run), may);
                    if may {
                        model[slot] = Some(run);
                    }
                }
                Step::Remove(slot) => {
                    let known = model.get_mut(slot).and_then(Option::take);
                    prop_assert_eq!(claims.remove(slot), known);
                }
            }
            prop_assert_eq!(host::usage().calls, before);
            prop_assert_eq!(claims.is_empty(), model.iter().all(Option::is_none));
            for (slot, claimed) in model.iter().enumerate() {
                prop_assert_eq!(claims.of(slot), *claimed);
            }
            for chunk in 0..CHUNKS + BLOCK {
                let holder = model.iter()
                    .position(|run| run.is_some_and(|run| run.contains(chunk)));
                prop_assert_eq!(claims.holder(chunk), holder);
            }
        }
    }
}

/// What makes no sense is refused.
#[test]
fn claims_of_nothing_cannot_be_made() {
    assert!(Claims::new(0, 1).is_err());
    assert!(Claims::new(1, 0).is_err());
    assert!(Claims::new(usize::MAX, 1).is_err());
    let mut claims = Claims::new(1, u64::MAX).unwrap();
    let all = Chunks {
        start: 0,
        end: u64::MAX,
    };
    assert!(claims.add(0, all));
    assert_eq!(claims.holder(u64::MAX - 1), Some(0));
    assert_eq!(claims.holder(u64::MAX), None);
}
