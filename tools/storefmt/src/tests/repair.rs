// SPDX-License-Identifier: GPL-2.0

//! Repairs: what is provably right is done, also over a power cut, and nothing else.

#![forbid(unsafe_code)]

use super::sim::Power;
use super::sim::Rng;
use super::world::Disks;
use super::world::World;
use crate::repair;
use crate::Error;
use crate::Repaired;
use crate::Report;
use crate::Rollback;
use crate::Silent;

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

/// A store with two snapshots in a checkpoint: chunks 0 and 1 were overwritten after the first, 1 and 2 after the second.
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

#[test]
fn a_damaged_superblock_is_written_again() {
    for (at, fill) in [(0, 0), (1, 0), (0, 7), (1, 7)] {
        let mut disks = world().disks();
        let whole = disks.clone();
        let mut block = **disks.store.get(at).unwrap();
        block[if fill == 0 { 0..4096 } else { 100..200 }].fill(fill);
        disks.store.set(at, block);
        assert_eq!(check(&mut disks).damages, 1);
        let all = plenty();
        let repaired = mend(&mut disks.clone(), &all).unwrap();
        assert_eq!(repaired.repaired.len(), 1);
        assert!(repaired.repaired[0].contains("nothing is lost"));
        assert!(repaired.report.clean && repaired.advice.is_empty());
        for left in 1..=all.used() {
            let mut torn = disks.clone();
            mend(&mut torn, &Power::new(left)).unwrap_err();
            for seed in 0..20 {
                let mut torn = torn.crash(&mut Rng::new(seed));
                mend(&mut torn, &plenty()).unwrap();
                for at in [0, 1] {
                    // What a superblock's checksum covers.
                    let covered = |disks: &Disks| disks.store.get(at).unwrap()[..512].to_vec();
                    assert!(covered(&torn) == covered(&whole));
                }
            }
        }
    }
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
            mend(&mut torn, &Power::new(left)).unwrap_err();
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
        let mut disks = world.disks();
        let before = disks.store();
        let repaired = mend(&mut disks, &plenty()).unwrap();
        assert!(repaired.repaired.is_empty(), "{:?}", repaired.repaired);
        assert!(!repaired.report.clean);
        assert!(repaired.advice[0].contains(words), "{:?}", repaired.advice);
        assert!(disks.store() == before);
    };
    let flip = |block: &mut [u8]| block[100] ^= 1;
    let image = world().builder.image_block(0);
    damage(image, &flip, "begins anew");
    // A record's header: its content, and those behind it, may be good.
    damage(content(&world(), 0, 0) - 1, &flip, "may be good");
    let left = |mut world: World, words: &str| {
        let repaired = mend(&mut world.disks(), &plenty()).unwrap();
        assert!(repaired.repaired.is_empty(), "{:?}", repaired.repaired);
        assert!(repaired.advice[0].contains(words), "{:?}", repaired.advice);
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
