// SPDX-License-Identifier: GPL-2.0

//! Rollbacks of random histories against whole copies, with the power going at any moment (I1, I3).

#![forbid(unsafe_code)]

use super::wire::Power;
use super::world::Disks;
use super::world::World;
use crate::Error;
use crate::Rollback;
use crate::RollbackReport;
use crate::Silent;
use dm_preserve_core::format::Superblock;
use dm_preserve_core::format::STATE_ROLLBACK;
use dm_preserve_core::store::superblocks;
use dm_preserve_core::store::StoreKind;
use sim::Rng;

/// Rolls back; what is lost stays as it is.
fn roll(disks: &mut Disks, id: u64, power: &Power) -> Result<RollbackReport, Error> {
    disks.with(power, |store, origin| {
        Rollback::prepare(store, origin, Some(id), &Silent)?.run(true)
    })
}

fn plenty() -> Power {
    Power::new(u64::MAX)
}

/// What the module goes by.
fn superblock(disks: &Disks) -> Superblock {
    match superblocks::choose(&mut disks.store.clone()) {
        Ok(StoreKind::Store(superblock)) => superblock,
        _ => panic!("no superblock"),
    }
}

/// Live snapshots that a check of the store lists; nothing is wrong with it.
fn listed(disks: &mut Disks) -> Vec<u64> {
    let report = disks.with(&plenty(), |store, _| crate::check(store, &Silent));
    let report = report.unwrap();
    assert!(report.clean, "{:?}", report.damage);
    assert_eq!(report.store.unwrap().state, "closed");
    let live = report.snapshots.iter().filter(|s| s.kind == "snapshot");
    live.map(|snapshot| snapshot.id).collect()
}

/// A rollback to `id` is complete: the origin is at it, what is as old is there still, and what is
/// newer is not.
#[track_caller]
fn assert_done(world: &World, disks: &mut Disks, before: &[u8], id: u64) {
    let snap = world.live().find(|snap| snap.id == id).unwrap();
    assert!(disks.origin() == world.expected(snap, before), "the origin");
    let ids: Vec<u64> = world.live().map(|snap| snap.id).collect();
    let left: Vec<u64> = ids.into_iter().filter(|other| *other <= id).collect();
    assert_eq!(listed(disks), left);
}

/// To the latest, from there to the one before, and so on: what a rollback leaves of the store is
/// right. (I1, I3: a change that was not marked would not be written back.)
#[test]
fn i1_i3_rollbacks_bring_back_what_was_there() {
    let (mut rolled, mut written) = (0, 0);
    for seed in 0..150 {
        let mut world = World::random(seed);
        let mut disks = world.disks();
        let first = Rng::new(seed).once_in(2);
        for (n, snap) in world.live().rev().enumerate() {
            if n == 0 && first && world.live().count() > 1 {
                // Sometimes the newest ones go unused.
                continue;
            }
            let before = disks.origin();
            let report = roll(&mut disks, snap.id, &plenty());
            let report = report.unwrap_or_else(|e| panic!("seed {seed}: {e}"));
            assert_done(&world, &mut disks, &before, snap.id);
            let lost = (0..world.chunks()).filter(|c| snap.protected[*c] && snap.gone[*c]);
            assert_eq!(report.gone, lost.count() as u64, "seed {seed}");
            assert_eq!(report.damaged, 0);
            let unprotected = snap.protected.iter().filter(|on| !**on).count();
            assert_eq!(report.unprotected, unprotected as u64, "seed {seed}");
            let all = report.chunks + report.unchanged + report.unprotected + report.gone;
            assert_eq!(all, world.chunks() as u64);
            (rolled, written) = (rolled + 1, written + report.chunks);
        }
    }
    println!("{rolled} rollbacks, {written} chunks");
    assert!(rolled > 250 && written > 1000);
}

/// At any write or flush the power goes, some of what was on its way survives, and again while that
/// is finished: the module takes the store for what it was or for what it is to be, or refuses it;
/// and the same command brings the origin to the snapshot. (I7, for an origin.)
#[test]
fn i7_an_interrupted_rollback_is_refused_and_finished() {
    let (mut before_it, mut between, mut after) = (0, 0, 0);
    for seed in 0..6 {
        let mut world = World::random(seed);
        let start = world.disks();
        let origin = start.origin();
        let count = world.live().count() as u64;
        let mut rng = Rng::new(seed);
        let snap = world.live().nth(rng.below(count) as usize).unwrap();
        let goal = world.expected(snap, &origin);
        let all = plenty();
        roll(&mut start.clone(), snap.id, &all).unwrap();
        for left in 1..=all.used() {
            let mut disks = start.clone();
            roll(&mut disks, snap.id, &Power::new(left)).unwrap_err();
            for _ in 0..2 {
                let mut disks = disks.crash(&mut rng);
                // Power cuts again and again, but not for ever.
                for attempt in 0..=4 {
                    match superblock(&disks).state.get() {
                        STATE_ROLLBACK => between += 1,
                        _ if disks.origin() == goal && disks.origin() != origin => after += 1,
                        _ => {
                            assert!(disks.origin() == origin, "seed {seed}, {left}: untouched");
                            before_it += 1;
                        }
                    }
                    let power = match attempt {
                        0..4 => Power::new(1 + rng.below(2 * all.used())),
                        _ => plenty(),
                    };
                    match roll(&mut disks, snap.id, &power) {
                        Ok(_) => break,
                        Err(error) if attempt == 4 => panic!("seed {seed}, {left}: {error}"),
                        Err(_) => disks = disks.crash(&mut rng),
                    }
                }
                assert!(disks.origin() == goal, "seed {seed}, {left}");
                assert_done(&world, &mut disks, &origin, snap.id);
            }
        }
    }
    println!("{before_it} before, {between} between, {after} after");
    assert!(before_it > 30 && between > 100 && after > 10);
}

/// A device of two whole chunks and a sector, with one more snapshot.
fn small() -> (World, u64) {
    let mut world = World::new(17, 8);
    world.snapshot();
    world.write(0, true);
    let id = world.snapshot();
    world.write(0, true);
    world.write(2, true);
    (world, id)
}

/// The last chunk is as long as the device was; what has come behind it meanwhile stays.
#[test]
fn what_the_device_has_grown_by_is_left_alone() {
    let (mut world, id) = small();
    world.grow(30);
    world.snapshot();
    world.write(2, true);
    world.write(3, true);
    let mut disks = world.disks();
    let before = disks.origin();
    assert_eq!(before.len(), 30 * 512);
    roll(&mut disks, id, &plenty()).unwrap();
    assert_done(&world, &mut disks, &before, id);
    assert_eq!(disks.origin()[17 * 512..], before[17 * 512..]);
    assert_ne!(disks.origin()[16 * 512], before[16 * 512]);
}

#[track_caller]
fn refused(disks: &mut Disks, id: Option<u64>, words: &str) -> Error {
    let (store, origin) = (disks.store(), disks.origin());
    let result = disks.with(&plenty(), |store, origin| {
        Rollback::prepare(store, origin, id, &Silent)?.run(false)
    });
    let error = result.unwrap_err();
    assert!(error.to_string().contains(words), "{error}");
    assert!(
        disks.store() == store && disks.origin() == origin,
        "it writes nothing"
    );
    error
}

#[test]
fn what_cannot_be_right_is_refused() {
    let (mut world, id) = small();
    world.builder.drop_snapshot(1).unwrap();
    let mut disks = world.disks();
    let error = refused(&mut disks, Some(1), "only its bookmark");
    assert!(matches!(error, Error::Missing(_)));
    let error = refused(&mut disks, Some(7), "no snapshot 7");
    assert!(matches!(error, Error::Missing(_)));
    // One that was shut down cleanly, over another origin.
    let mut other = world.origin.clone();
    other[0] ^= 1;
    world.builder.close_over(&other).unwrap();
    refused(
        &mut world.disks(),
        Some(id),
        "is another one, or was written",
    );
    let origin = world.origin.clone();
    world.builder.close_over(&origin).unwrap();
    world.origin.truncate(8 * 512);
    refused(&mut world.disks(), Some(id), "the origin has 8 sectors");
    world.origin = origin;
    // Another store's, or another history's.
    for byte in [48, 112] {
        let (mut world, id) = small();
        world.builder.block(1)[byte] ^= 1;
        world.builder.reseal(1);
        refused(&mut world.disks(), Some(id), "contradict each other");
    }
    world.builder.give_up().unwrap();
    refused(&mut world.disks(), Some(id), "tracking was lost");
}

/// Gone or damaged contents are an error; or they stay as they are, and everything else is brought
/// back.
#[test]
fn lost_contents_are_left_only_if_that_is_asked_for() {
    let (mut world, id) = small();
    world.write(1, false);
    let error = refused(
        &mut world.disks(),
        Some(id),
        "1 chunks of snapshot 2 are gone",
    );
    assert!(matches!(error, Error::Gone(_)));
    let (mut world, id) = small();
    // In the log it would be a torn tail.
    world.builder.checkpoint().unwrap();
    // The segment of the second epoch; its records have a content each.
    let content = world.builder.segment_block(1) + 1;
    world.builder.block(content)[99] ^= 1;
    let mut damaged = world.disks();
    let error = refused(
        &mut damaged,
        Some(id),
        "1 contents of snapshot 2 are damaged",
    );
    assert!(matches!(error, Error::Damaged(_)));
    let before = damaged.origin();
    let report = roll(&mut damaged, id, &plenty()).unwrap();
    assert_eq!((report.damaged, report.chunks), (1, 1));
    assert_eq!(report.lost[0].start, 0);
    let now = damaged.origin();
    assert_eq!(now[..4096], before[..4096]);
    assert_eq!(now[8192..], world.snaps[1].content[8192..]);
}

/// Under way to one snapshot, another one is refused; a damaged superblock does not matter.
#[test]
fn under_way_only_the_same_snapshot_will_do() {
    let (mut world, id) = small();
    let mut disks = world.disks();
    // Up to the origin's flush.
    let all = plenty();
    roll(&mut disks.clone(), id, &all).unwrap();
    roll(&mut disks, id, &Power::new(all.used() - 4)).unwrap_err();
    assert_eq!(superblock(&disks).rollback.get(), id);
    let error = refused(&mut disks, Some(1), "to snapshot 2 is under way");
    assert!(matches!(error, Error::Refused(_)));
    for at in [0, 1] {
        let mut disks = disks.clone();
        disks.store.set(at, [0xa5; 4096]);
        let all = plenty();
        roll(&mut disks.clone(), id, &all).unwrap();
        // Where superblocks are written: the damaged one must not be the only one left.
        for left in all.used() - 4..=all.used() {
            for seed in 0..40 {
                let mut torn = disks.clone();
                roll(&mut torn, id, &Power::new(left)).unwrap_err();
                let mut torn = torn.crash(&mut Rng::new(seed));
                roll(&mut torn, id, &plenty()).unwrap();
            }
        }
        roll(&mut disks, id, &plenty()).unwrap();
        assert_done(&world, &mut disks, &world.origin, id);
    }
    let report = disks.with(&plenty(), |store, _| crate::check(store, &Silent));
    let report = report.unwrap();
    assert!(report.clean && report.notes[0].contains("rollback to snapshot 2 is under way"));
    let found = disks.with(&plenty(), |store, _| {
        crate::rollback_under_way(store, &Silent)
    });
    assert_eq!(found.unwrap(), Some(id));
}
