// SPDX-License-Identifier: GPL-2.0

//! Repairs: what is provably right is done, also over a power cut, and nothing else.

#![forbid(unsafe_code)]

use super::wire::Fault;
use super::wire::Power;
use super::world::Disks;
use super::world::World;
use crate::repair;
use crate::store::commit;
use crate::store::supers;
use crate::store::Store;
use crate::Error;
use crate::Repaired;
use crate::Report;
use crate::Rollback;
use crate::Silent;
use dm_preserve_core::store::Disk;
use sim::Rng;

fn plenty() -> Power {
    Power::new(u64::MAX)
}

fn mend(disks: &mut Disks, power: &Power) -> Result<Repaired, Error> {
    disks.with(power, |store, _| repair(store, &Silent))
}

fn check(disks: &mut Disks) -> Report {
    let report = disks.with(&plenty(), |store, _| crate::check(store, &Silent));
    report.unwrap()
}

/// A store with two snapshots in a checkpoint: chunks 0 and 1 were overwritten after the first, 1
/// and 2 after the second.
fn world() -> World {
    let mut world = World::new(40 * 8, 8);
    world.snapshot();
    world.write(0, true);
    world.write(1, true);
    world.snapshot();
    world.write(1, true);
    world.write(2, true);
    world.builder.checkpoint().unwrap();
    world
}

/// The block of the `n`th content of an epoch, where each has a record of its own.
fn content(world: &World, epoch: u64, n: u64) -> u64 {
    world.builder.segment_block(epoch) + 2 * n + 1
}

/// The power goes meanwhile.
#[track_caller]
fn cut(disks: &mut Disks, left: u64) {
    let repaired = mend(disks, &Power::new(left)).unwrap();
    assert!(!repaired.failed.is_empty());
}

/// It writes nothing, and says this.
#[track_caller]
fn left_alone(disks: &mut Disks, words: &str) -> Repaired {
    let before = disks.store();
    // Not even a flush.
    let repaired = mend(disks, &Power::new(0)).unwrap();
    assert!(disks.store() == before);
    assert!(repaired.repaired.is_empty(), "{:?}", repaired.repaired);
    assert!(repaired.failed.is_empty(), "{:?}", repaired.failed);
    assert!(repaired.advice[0].contains(words), "{:?}", repaired.advice);
    repaired
}

#[test]
fn a_sound_store_is_not_written_to() {
    let mut disks = world().disks();
    let before = disks.store();
    let repaired = mend(&mut disks, &Power::new(0)).unwrap();
    assert!(repaired.report.clean && repaired.repaired.is_empty());
    assert!(repaired.advice.is_empty() && repaired.failed.is_empty());
    assert!(disks.store() == before);
}

#[test]
fn a_lost_superblock_is_written_again() {
    for (at, status) in [0, 1].into_iter().flat_map(|at| {
        let each = ["blank", "damaged", "unreadable"];
        each.map(|status| (at, status))
    }) {
        let mut disks = world().disks();
        let whole = disks.clone();
        let mut block = **disks.store.get(at).unwrap();
        match status {
            "blank" => block.fill(0),
            "damaged" => block[100..200].fill(7),
            _ => disks.faults.push((at, Fault::Unreadable)),
        }
        disks.store.set(at, block);
        assert_eq!(check(&mut disks).damages, 1);
        let all = plenty();
        let repaired = mend(&mut disks.clone(), &all).unwrap();
        assert_eq!(repaired.repaired.len(), 1);
        let text = &repaired.repaired[0];
        assert!(text.contains(status) && text.contains("nothing is lost"));
        assert!(repaired.advice.is_empty() && repaired.failed.is_empty());
        for left in 1..=all.used() {
            let mut torn = disks.clone();
            cut(&mut torn, left);
            for seed in 0..20 {
                let mut torn = torn.crash(&mut Rng::new(seed));
                let repaired = mend(&mut torn, &plenty()).unwrap();
                // What a superblock's checksum covers.
                let covered = |disks: &Disks, at| disks.store.get(at).unwrap()[..512].to_vec();
                assert!(covered(&torn, 1 - at) == covered(&whole, 1 - at));
                // What the power has left there may look like anything.
                let foreign = repaired.report.superblocks[at as usize].status == "foreign";
                assert!(foreign || covered(&torn, at) == covered(&whole, at));
            }
        }
    }
}

/// Somebody may want it. The other superblock counts, but a commit would write both, so nothing
/// else is repaired either.
#[test]
fn a_foreign_superblock_is_left_alone() {
    for at in [0, 1] {
        let mut world = world();
        let rotten = content(&world, 0, 1);
        world.builder.block(rotten)[77] ^= 1;
        world.builder.block(at).fill(0x55);
        let mut disks = world.disks();
        let repaired = left_alone(&mut disks, &format!("seek={at} count=1"));
        assert!(repaired.advice[1].contains("until nothing else"));
        // As advised.
        disks.store.set(at, [0; 4096]);
        let repaired = mend(&mut disks, &plenty()).unwrap();
        assert_eq!(repaired.repaired.len(), 2);
        assert!(repaired.report.clean);
    }
}

/// One of another store, or of another history, is not the repair's to choose between.
#[test]
fn superblocks_that_disagree_are_left_alone() {
    for byte in [48, 112] {
        let mut world = world();
        let rotten = content(&world, 0, 1);
        world.builder.block(rotten)[77] ^= 1;
        world.builder.block(1)[byte] ^= 1;
        world.builder.reseal(1);
        left_alone(&mut world.disks(), "which of the two is right is not known");
    }
}

#[test]
fn a_superblock_that_cannot_be_written_is_an_error() {
    let mut disks = world().disks();
    disks.faults.push((1, Fault::Dead));
    let before = disks.store();
    let repaired = mend(&mut disks, &plenty()).unwrap();
    let words = "superblock 1 is unreadable, and could not be made again: cannot write block 1";
    assert!(repaired.failed[0].contains(words), "{:?}", repaired.failed);
    assert!(repaired.repaired.is_empty() && !repaired.report.clean);
    assert!(disks.store() == before);
}

/// A whole superblock that is read wrong when it is to be copied must not take the other place like
/// that.
#[test]
fn only_what_counts_is_copied() {
    let mut world = world();
    world.builder.block(1)[100] ^= 1;
    let mut disks = world.disks();
    let before = disks.store.get(1).unwrap().clone();
    disks.with(&plenty(), |store, _| {
        let mut store = Store::new(store, &Silent).unwrap();
        let pair = supers::read(&mut store).unwrap();
        store.write(0, &[7; 4096]).unwrap();
        commit::mirror(&mut store, &pair, 0).unwrap_err();
    });
    assert!(*disks.store.get(1).unwrap() == before);
}

/// What has been done is told, although a later step failed.
#[test]
fn a_failure_does_not_hide_what_was_done() {
    let mut world = world();
    let rotten = content(&world, 0, 1);
    world.builder.block(rotten)[77] ^= 1;
    world.builder.block(0)[100] ^= 1;
    let mut disks = world.disks();
    let report = check(&mut disks);
    let (layout, checkpoint) = (report.layout.unwrap(), report.checkpoint.unwrap());
    let area = 1 - u64::from(checkpoint.area);
    let image = layout.image_start + area * layout.image_blocks;
    disks.faults.push((image, Fault::Dead));
    let repaired = mend(&mut disks, &plenty()).unwrap();
    assert_eq!(repaired.repaired.len(), 1);
    assert!(repaired.repaired[0].contains("superblock 0 was damaged"));
    let words = "could not be taken out of the index: cannot write block";
    assert!(repaired.failed[0].contains(words), "{:?}", repaired.failed);
    // It is what is there now.
    assert_eq!(repaired.report.damages, 1);
    assert_eq!(repaired.report.damage[0].part, "contents");
}

/// A bad read is not made permanent.
#[test]
fn what_reads_right_the_second_time_stays() {
    let world = world();
    let [good, rotten] = [content(&world, 0, 0), content(&world, 0, 1)];
    let disks = |faults: &[(u64, Fault)]| {
        let mut disks = self::world().disks();
        disks.faults.extend(faults);
        disks
    };
    let cached = (good, Fault::Cached);
    let repaired = left_alone(
        &mut disks(&[cached]),
        "chunk 0 of epoch 2 read right the second time",
    );
    assert!(repaired.report.clean && repaired.advice.len() == 1);
    let rot = |mut disks: Disks| {
        let mut block = **disks.store.get(rotten).unwrap();
        block[77] ^= 1;
        disks.store.set(rotten, block);
        disks
    };
    // It may be good, too.
    let unreadable = (rotten, Fault::UnreadableLater);
    left_alone(
        &mut rot(disks(&[unreadable])),
        "chunk 1 of epoch 2 could not be read the second time",
    );
    // And one that is lost indeed.
    let mut both = rot(disks(&[cached]));
    let repaired = mend(&mut both, &plenty()).unwrap();
    let lost = "chunk 1 of epoch 2 is gone now, for snapshot 1";
    assert_eq!(repaired.repaired, [lost]);
    assert!(repaired.advice[0].contains("chunk 0 of epoch 2 read right"));
    both.faults.clear();
    let contents = check(&mut both).contents.unwrap();
    assert_eq!((contents.good, contents.unused), (3, 1));
}

#[test]
fn metadata_that_read_differently_are_not_gone_by() {
    for fault in [Fault::Cached, Fault::Later] {
        for at in [0, 1] {
            let mut world = world();
            let rotten = content(&world, 0, 1);
            world.builder.block(rotten)[77] ^= 1;
            let mut disks = world.disks();
            disks.faults.push((at, fault));
            left_alone(&mut disks, "superblocks read differently the second time");
        }
    }
    // The last record of the log, which would count as torn off.
    let mut world = world();
    let rotten = content(&world, 0, 1);
    world.builder.block(rotten)[77] ^= 1;
    world.write(3, true);
    let mut disks = world.disks();
    let last = content(&world, 1, 2);
    assert_eq!(check(&mut disks).log.unwrap().records, 1);
    disks.faults.push((last, Fault::Later));
    left_alone(&mut disks, "the log read differently the second time");
}

/// I1: what would be read wrong is gone; everything else is what it was.
#[test]
fn i1_a_rotten_content_becomes_gone() {
    let mut world = world();
    for closed in [false, true] {
        if closed {
            let origin = world.origin.clone();
            world.builder.close_over(&origin).unwrap();
        }
        let mut disks = world.disks();
        let at = content(&world, 0, 1);
        let mut block = **disks.store.get(at).unwrap();
        block[77] ^= 1;
        disks.store.set(at, block);
        let all = plenty();
        let repaired = mend(&mut disks.clone(), &all).unwrap();
        assert_eq!(
            repaired.repaired,
            ["chunk 1 of epoch 2 is gone now, for snapshot 1"]
        );
        assert!(repaired.report.clean, "{:?}", repaired.report.damage);
        let state = if closed { "closed" } else { "open" };
        assert_eq!(repaired.report.store.unwrap().state, state);
        for left in 1..=all.used() {
            let mut torn = disks.clone();
            cut(&mut torn, left);
            for seed in 0..10 {
                let mut torn = torn.crash(&mut Rng::new(seed));
                mend(&mut torn, &plenty()).unwrap();
                assert!(check(&mut torn).clean);
                for (id, gone) in [(1, 1), (2, 0)] {
                    let report = torn.with(&plenty(), |store, origin| {
                        let rollback = Rollback::prepare(store, origin, Some(id), &Silent)?;
                        Ok::<_, Error>(rollback.report().clone())
                    });
                    let report = report.unwrap();
                    assert_eq!((report.gone, report.damaged, report.chunks), (gone, 0, 2));
                }
            }
        }
    }
}

/// Where the outcome is not known to be right nothing is written, and it is said what to do.
#[test]
fn what_is_not_provable_is_left_alone() {
    let damage = |at: u64, change: &dyn Fn(&mut [u8]), words: &str| {
        let mut world = world();
        change(world.builder.block(at));
        left_alone(&mut world.disks(), words);
    };
    let flip = |block: &mut [u8]| block[100] ^= 1;
    let image = world().builder.image_block(0);
    damage(image, &flip, "begins anew");
    // A record's header: its content, and those behind it, may be good.
    damage(content(&world(), 0, 0) - 1, &flip, "may be good");
    let left = |mut world: World, words: &str| {
        left_alone(&mut world.disks(), words);
    };
    let mut later = world();
    later.builder.block(1)[12] = 2;
    later.builder.reseal(1);
    left(later, "a later version");
    let mut both = world();
    for at in [0, 1] {
        flip(both.builder.block(at));
    }
    left(both, "begins anew");
    // A record of the log that those behind it prove to have been durable.
    let mut middle = World::new(40 * 8, 8);
    middle.snapshot();
    for chunk in 0..3 {
        middle.write(chunk, true);
    }
    let at = content(&middle, 0, 0);
    flip(middle.builder.block(at));
    left(middle, "gives all snapshots up");
    // A rotten content too, in a store that has lost its end.
    let mut short = world();
    let at = content(&short, 0, 1);
    flip(short.builder.block(at));
    let bytes = short.builder.blocks() as usize * 4096 - 1;
    short.builder.bytes().truncate(bytes);
    left(short, "old size");
}
