// SPDX-License-Identifier: GPL-2.0

//! I8: numbers that rise, at their limit. Superblock, image and log may have any below
//! [`MAX_NUMBER`]; one that is not is refused, and going on with the largest overflows nothing
//! (tests run with overflow checks).

#![forbid(unsafe_code)]

use super::damage::recovered;
use super::damage::Outcome;
use super::forged::append;
use super::forged::reloaded;
use super::world::busy;
use super::world::SimCopies;
use super::world::World;
use dm_preserve_core::format::Entry;
use dm_preserve_core::format::Invalid;
use dm_preserve_core::format::Superblock;
use dm_preserve_core::format::BLOCK_BYTES;
use dm_preserve_core::format::MAX_NUMBER;
use dm_preserve_core::format::STATE_ROLLBACK;
use dm_preserve_core::history::Change;
use dm_preserve_core::history::Epoch;
use dm_preserve_core::maps::Bitmap;
use dm_preserve_core::store::Trouble;
use kernel::prelude::*;
use kernel::sync::Arc;
use zerocopy::little_endian::U32;
use zerocopy::little_endian::U64;

/// The largest number, and some that are too large.
const NUMBERS: [(u64, bool); 5] = [
    (MAX_NUMBER - 1, true),
    (MAX_NUMBER, false),
    (MAX_NUMBER + 1, false),
    (1 << 63, false),
    (u64::MAX, false),
];

fn is_refused(outcome: &Outcome) -> bool {
    matches!(outcome, Err(Trouble::Because(why)) if why.to_str().unwrap().contains("damaged"))
}

#[test]
fn i8_numbers_of_a_superblock() {
    let world = busy(3, 5);
    let taken = |change: &dyn Fn(&mut Superblock)| {
        let mut superblock = world.superblock;
        let mut block = [0; BLOCK_BYTES];
        change(&mut superblock);
        superblock.to_block(&mut block);
        Superblock::from_block(&block)
    };
    for (number, good) in NUMBERS {
        let number = U64::new(number);
        let all = [
            taken(&|superblock| superblock.sequence = number),
            taken(&|superblock| superblock.session = number),
            taken(&|superblock| superblock.image_number = number),
            taken(&|superblock| {
                superblock.state = U32::new(STATE_ROLLBACK);
                superblock.rollback = number;
            }),
        ];
        for (which, taken) in all.into_iter().enumerate() {
            match good {
                true => assert!(taken.is_ok(), "{which}: {number}"),
                false => assert_eq!(taken, Err(Invalid::Damaged), "{which}: {number}"),
            }
        }
    }
}

/// The epoch after the present one, without a snapshot, has this number.
fn begin(world: &World, id: u64) -> Change<SimCopies> {
    let present = world.present();
    let marks = Bitmap::new(present.marks.len()).unwrap();
    Change {
        begin: Some(Epoch {
            id,
            marks: Arc::new(marks, GFP_KERNEL).unwrap(),
            copies: present.copies.clone(),
        }),
        ..Change::NONE
    }
}

#[test]
fn i8_numbers_of_an_image() {
    let world = busy(3, 5);
    for (number, good) in NUMBERS {
        let all = [
            reloaded(&world, |state| state.place.sequence = number),
            reloaded(&world, |state| state.place.ring = number),
            reloaded(&world, |state| state.next = number),
            reloaded(&world, |state| state.period = number),
            reloaded(&world, |state| state.next_id = number),
            reloaded(&world, |state| {
                // One of the very last number would not even be saved.
                let id = number.min(u64::MAX - 1);
                let new = state.timeline.changed(begin(&world, id)).unwrap();
                state.timeline = Arc::new(new, GFP_KERNEL).unwrap();
            }),
        ];
        let expected = if good { Ok(()) } else { Err(EUCLEAN) };
        for (which, loaded) in all.into_iter().enumerate() {
            assert_eq!(loaded, expected, "{which}: {number}");
        }
    }
}

/// A store whose log ends in a snapshot with these numbers.
fn snapshot(epoch: u64, id: u64) -> World {
    let mut world = busy(3, 5);
    let sectors = world.shape.sectors();
    let snapshot = Entry::Snapshot {
        id,
        time_ns: u64::MAX,
        base: 0,
        keep_unprotected: false,
        reset: None,
    };
    append(&mut world, &[Entry::Epoch { epoch, sectors }, snapshot]);
    world
}

#[test]
fn i8_numbers_of_the_log() {
    for (number, good) in NUMBERS {
        let World {
            next_id, timeline, ..
        } = busy(3, 5);
        let next_epoch = timeline.present().unwrap().id + 1;
        for (epoch, id) in [(number, next_id), (next_epoch, number), (number, number)] {
            let mut world = snapshot(epoch, id);
            let outcome = recovered(&mut world.store);
            assert_eq!(is_refused(&outcome), !good, "epoch {epoch}, snapshot {id}");
            if let (true, Ok((state, _))) = (good, outcome) {
                let state = state.unwrap();
                let known = state.timeline.present().map(|epoch| epoch.id);
                assert_eq!((known, state.next_id), (Some(epoch), id + 1));
            }
        }
    }
}

/// Behind the last epoch and the last snapshot there is none: what would come next is refused, at
/// the latest when it is recovered.
#[test]
fn i8_nothing_follows_the_last_number() {
    let last = MAX_NUMBER - 1;
    let mut world = snapshot(last, last);
    let sectors = world.shape.sectors();
    for epoch in [last, MAX_NUMBER] {
        append(&mut world, &[Entry::Epoch { epoch, sectors }]);
        assert!(is_refused(&recovered(&mut world.store)), "{epoch}");
        world = snapshot(last, last);
    }
    // With its next id at the limit it cannot be saved either: not with a smaller one that would
    // come again.
    let saved = reloaded(&world, |_| ());
    assert_eq!(saved, Err(EUCLEAN));
}

/// Entries that only name an epoch, a period or an id, and what a record says of what is
/// durable, may say anything.
#[test]
fn i8_numbers_that_are_only_compared() {
    for (number, _) in NUMBERS {
        let (region, segment, chunk) = (0, 0, 0);
        for entry in [
            Entry::Region {
                region,
                epoch: number,
                period: number,
            },
            Entry::Segment {
                segment,
                epoch: number,
            },
            Entry::Gone {
                chunk,
                epoch: number,
            },
            Entry::Drop(number),
            Entry::Forget(number),
            Entry::Narrow(number),
        ] {
            let mut world = busy(3, 5);
            append(&mut world, &[entry]);
            let (state, replayed) = recovered(&mut world.store).unwrap();
            assert!(!replayed.damaged, "{entry:?}");
            let last = state.unwrap().place.sequence;
            assert_eq!(last, world.logbook.place().sequence, "{entry:?}");
        }
    }
}
