// SPDX-License-Identifier: GPL-2.0

//! A backup releases what it has moved, of the snapshot that it has read, and nothing else.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod common;

use common::Fake;
use common::CHUNK;
use preserve::copy::backup::Moved;
use preserve::copy::backup::Plan;

/// A backup of which what was moved is remembered.
fn backed_up(fake: &Fake, from: u64, to: u64) -> (Plan, Moved) {
    let (plan, mut moved) = (Plan::new(fake, from, to).unwrap(), Moved::default());
    let bar = indicatif::ProgressBar::hidden();
    let note = |at, bytes| moved.note(at, bytes);
    plan.run_noting(fake, Vec::new(), &bar, note).unwrap();
    (plan, moved)
}

fn released(fake: &Fake) -> Vec<(u64, u64, u64)> {
    let released = fake.released.borrow();
    released
        .iter()
        .map(|(id, r)| (*id, r.start, r.len))
        .collect()
}

#[test]
fn a_release_covers_what_was_moved() {
    let mut fake = Fake::new(2 * CHUNK + 512);
    fake.designation[0] = false;
    fake.snapshot();
    let (plan, moved) = backed_up(&fake, 0, 1);
    moved.release(&fake, &plan.header).unwrap();
    assert_eq!(released(&fake), [(1, 8, 9)]);
}

/// As the designation may change until a chunk is read, and again after that.
#[test]
fn nothing_but_what_was_moved_is_released() {
    let mut fake = Fake::new(6 * CHUNK);
    fake.designation[3] = false;
    fake.snapshot();
    fake.snapshot();
    fake.holes.push(1);
    let (plan, moved) = backed_up(&fake, 0, 1);
    fake.snapshots[0].protected.fill(true);
    fake.snapshot();
    moved.release(&fake, &plan.header).unwrap();
    assert_eq!(released(&fake), [(1, 0, 8), (1, 16, 8), (1, 32, 16)]);
}

#[test]
fn a_snapshot_of_another_generation_is_not_released() {
    let mut fake = Fake::new(CHUNK);
    fake.snapshot();
    let (plan, moved) = backed_up(&fake, 0, 1);
    fake.generation = uuid::Uuid::from_u128(8);
    let e = moved.release(&fake, &plan.header).unwrap_err();
    assert_eq!(e.exit_code(), 3, "{e}");
    assert!(released(&fake).is_empty());
}
