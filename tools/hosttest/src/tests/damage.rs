// SPDX-License-Identifier: GPL-2.0

//! Damaged stores: a torn tail and damage in the middle are told apart, superblocks stand in for
//! one another, and nothing that a store may hold makes recovery panic (I8).

#![forbid(unsafe_code)]

use super::format::reseal;
use super::format::sharp;
use super::world::busy;
use super::world::config;
use super::world::run_on;
use super::world::Config;
use super::world::SimCopies;
use super::world::World;
use dm_preserve_core::format::Layout;
use dm_preserve_core::format::Superblock;
use dm_preserve_core::format::BLOCK_BYTES;
use dm_preserve_core::format::STATE_BROKEN;
use dm_preserve_core::store::recover::recover;
use dm_preserve_core::store::superblocks::choose;
use dm_preserve_core::store::Checkpoint;
use dm_preserve_core::store::Replayed;
use dm_preserve_core::store::Segments;
use dm_preserve_core::store::StoreKind;
use dm_preserve_core::store::Trouble;
use kernel::alloc::host;
use kernel::prelude::*;
use kernel::sync::Arc;
use proptest::prelude::*;
use sim::Rng;
use sim::SimDisk;
use zerocopy::little_endian::U32;
use zerocopy::little_endian::U64;

/// Sectors of the device for which stores are recovered, more than any of them is for.
pub(super) const TABLE: u64 = 1 << 20;

pub(super) type Outcome = Result<(Option<Checkpoint<SimCopies>>, Replayed), Trouble>;

pub(super) fn recovered(store: &mut SimDisk) -> Outcome {
    let StoreKind::Store(superblock) = choose(store)? else {
        return Err(Trouble::Error(ENOENT));
    };
    let layout = Layout::from_superblock(&superblock).ok_or(EUCLEAN)?;
    if layout.blocks() > store.blocks() {
        return Err(Trouble::Error(EUCLEAN));
    }
    let returned = Default::default();
    let new_copies = || {
        Ok(Arc::new(
            SimCopies::new(layout.chunk_blocks, &returned),
            GFP_KERNEL,
        )?)
    };
    recover(store, &superblock, &layout, TABLE, &new_copies)
}

/// The number behind the last record replayed, or that there is damage in the middle.
fn end(store: &mut SimDisk) -> Result<u64, Replayed> {
    match recovered(store).unwrap() {
        (Some(state), replayed) if !replayed.damaged => Ok(state.place.sequence),
        (_, replayed) => Err(replayed),
    }
}

fn damaged(disk: &SimDisk, at: u64, rng: &mut Rng) -> SimDisk {
    let mut disk = disk.clone();
    let mut block = **disk.get(at).unwrap();
    match rng.below(3) {
        0 => block.fill(0),
        1 => block[rng.below(BLOCK_BYTES as u64) as usize] ^= 1 << rng.below(8),
        _ => block[..512].fill(0xa5),
    }
    disk.set(at, block);
    disk
}

fn is_blank(disk: &SimDisk, at: u64) -> bool {
    disk.get(at).unwrap().iter().all(|byte| *byte == 0)
}

/// Whatever block of a record is damaged: if a later record says that it was durable, that is
/// damage, and otherwise it is where the log ends. One case is left out: see `rust/store/tail.rs`.
#[test]
fn damage_in_the_middle_is_not_a_torn_tail() {
    let (mut tails, mut middles, mut hidden) = (0, 0, 0);
    for seed in 0..30 {
        let world = busy(seed, 20);
        let next = world.logbook.place().sequence;
        assert_eq!(end(&mut world.store.clone()), Ok(next));
        let mut rng = Rng::new(seed);
        for record in &world.trail {
            for block in record.block..record.block + record.blocks {
                let mut store = damaged(&world.store, block, &mut rng);
                let proof = |later: &&super::world::Trail| later.durable > record.sequence;
                match world.trail.iter().find(proof) {
                    Some(later) => {
                        let result = end(&mut store);
                        if result.is_ok() && is_blank(&store, record.block) {
                            hidden += 1;
                            continue;
                        }
                        assert!(
                            result.is_err(),
                            "seed {seed}: {record:?}, {later:?}: {result:?}"
                        );
                        middles += 1;
                    }
                    None => {
                        assert_eq!(end(&mut store), Ok(record.sequence), "seed {seed}");
                        tails += 1;
                    }
                }
            }
        }
    }
    println!("{middles} middles, {hidden} hidden, {tails} tails");
    assert!(middles > 500 && tails > 30 && hidden * 100 < middles);
}

/// One superblock is enough; without both there is an error, and never another state.
#[test]
fn superblocks_stand_in_for_one_another() {
    for seed in 0..10 {
        let world = busy(seed, 10);
        let next = world.logbook.place().sequence;
        let mut rng = Rng::new(seed);
        let mut rot = |disk: &SimDisk, at| {
            let mut disk = disk.clone();
            let mut block = **disk.get(at).unwrap();
            block[rng.below(512) as usize] ^= 1 << rng.below(8);
            disk.set(at, block);
            disk
        };
        let one = rot(&world.store, seed % 2);
        assert_eq!(end(&mut one.clone()), Ok(next));
        let mut both = rot(&one, 1 - seed % 2);
        assert!(matches!(recovered(&mut both), Err(Trouble::Because(_))));
        let mut unreadable = world.store.clone();
        unreadable.bad = Some(seed % 2);
        assert_eq!(end(&mut unreadable), Ok(next), "one cannot be read");
    }
}

/// The log of a closed store is empty, and need not be readable: neither the ring nor a segment.
#[test]
fn the_log_of_a_closed_store_need_not_be_readable() {
    let mut world = busy(7, 20);
    world.shut_down().unwrap();
    let layout = world.config.layout;
    let mut store = world.store.clone();
    let next = end(&mut store).unwrap();
    assert_eq!(next, world.logbook.place().sequence);
    let of_log = (layout.ring_start..layout.image_start).chain(layout.data_start..store.blocks());
    for block in of_log {
        store.bad = Some(block);
        assert_eq!(end(&mut store), Ok(next), "block {block}");
    }
    store.bad = Some(layout.image_block(world.superblock.image_area.get()));
    assert!(recovered(&mut store).is_err(), "the image is read");
}

/// An image with any byte changed is an error.
#[test]
fn i8_images_with_a_changed_byte() {
    let world = busy(3, 4);
    let layout = world.config.layout;
    let first = layout.image_block(world.superblock.image_area.get());
    let used = world.superblock.image_used.get();
    let mut store = world.store.clone();
    for at in first..first + used {
        let original = **store.get(at).unwrap();
        for byte in (0..BLOCK_BYTES).step_by(5) {
            let mut block = original;
            block[byte] ^= 1 << (byte % 8);
            store.set(at, block);
            let result = recovered(&mut store);
            assert!(
                matches!(result, Err(Trouble::Because(_))),
                "block {at}, byte {byte}"
            );
        }
        store.set(at, original);
    }
    assert!(recovered(&mut store).is_ok());
}

/// A new store over an old one: the same places, sequence numbers and sessions, but another UUID.
#[test]
fn reformatted_stores_do_not_see_what_was_there() {
    for seed in 0..4 {
        let small = Config {
            check_every: 3,
            ..config(seed, None)
        };
        let fresh = SimDisk::new(small.layout.blocks());
        let (_, mut store) = run_on(&small, 1500, fresh, 0x11).unwrap();
        for at in 0..2 {
            store.set(at, [0; BLOCK_BYTES]);
        }
        assert!(matches!(choose(&mut store), Ok(StoreKind::Blank)));
        run_on(&small, 1500, store, 0x22).unwrap();
    }
}

/// Where one superblock is damaged, the next is written to its place first, whatever the number of
/// the whole one: it is the only one.
#[test]
fn i1_i3_a_whole_superblock_is_overwritten_last() {
    let world = busy(3, 6);
    for number in 7..9 {
        let mut whole = world.superblock;
        whole.sequence = U64::new(number);
        for damaged in 0..2 {
            let mut store = world.store.clone();
            let mut block = [0; BLOCK_BYTES];
            whole.to_block(&mut block);
            store.set(1 - damaged, block);
            block[99] ^= 1;
            store.set(damaged, block);
            let Ok(StoreKind::Store(mut next)) = choose(&mut store) else {
                panic!("number {number}, place {damaged}");
            };
            next.sequence += U64::new(1);
            assert!(next.sequence > whole.sequence);
            assert_eq!(next.places(), [damaged, 1 - damaged], "number {number}");
        }
    }
}

/// Two superblocks with one number: the one that says that the store is broken counts, wherever it
/// is. The other's write had failed, and has reached the disk all the same.
#[test]
fn i1_i3_a_broken_superblock_counts_before_one_of_the_same_number() {
    let world = busy(3, 6);
    let mut broken = world.superblock;
    broken.state = U32::new(STATE_BROKEN);
    for place in 0..2 {
        let mut store = world.store.clone();
        let mut block = [0; BLOCK_BYTES];
        broken.to_block(&mut block);
        store.set(place, block);
        world.superblock.to_block(&mut block);
        store.set(1 - place, block);
        let Ok(StoreKind::Store(found)) = choose(&mut store) else {
            panic!("broken at {place}");
        };
        assert_eq!(found.state, broken.state, "broken at {place}");
    }
}

/// Whichever allocation fails during recovery: an error, and nothing else.
#[test]
fn recovery_without_memory() {
    let world = busy(5, 12);
    let mut store = world.store.clone();
    let mut failing = 0;
    while let Err(error) = host::failing_after(failing, || recovered(&mut store)) {
        assert_eq!(error, Trouble::Error(ENOMEM));
        failing += 1;
    }
    assert!(failing > 50);
}

/// A disk that refuses to write an image's block: the error is passed on.
#[test]
fn images_that_cannot_be_written() {
    let world = busy(2, 4);
    let (superblock, layout) = (world.superblock, world.config.layout);
    let (state, _) = recovered(&mut world.store.clone()).unwrap();
    let state = state.unwrap();
    let save = |layout: &Layout, writes: Option<u64>| {
        let mut store = world.store.clone();
        store.writes_left = writes;
        let mut out =
            dm_preserve_core::store::ImageWriter::new(&mut store, superblock.store, layout, 0, 9)?;
        dm_preserve_core::store::save::save(&state, &mut out)?;
        out.finish()
    };
    let used = save(&layout, None).unwrap();
    for writes in 0..used {
        assert_eq!(save(&layout, Some(writes)), Err(EIO));
        let image_blocks = writes;
        let short = Layout {
            image_blocks,
            ..layout
        };
        assert_eq!(save(&short, None), Err(ENOSPC));
    }
    assert_eq!(save(&layout, Some(used + 1)), Ok(used));
}

/// What a device does with what it has recovered, without writing.
fn exercise(state: &Checkpoint<SimCopies>, layout: &Layout, world: &World) {
    let timeline = &state.timeline;
    for chunk in world.config.hot.iter().chain(&[u64::MAX, 1 << 40]) {
        let _ = (timeline.needs(*chunk), timeline.needed_at_replay(*chunk));
        let _ = state.designation.get(*chunk);
        for snapshot in timeline.snapshots().iter().chain(timeline.bookmarks()) {
            let _ = timeline.look(snapshot, *chunk);
        }
    }
    // Where numbers go on.
    let _ = (
        state.next_id + 1,
        state.period + 1,
        state.place.sequence + 1,
    );
    let _ = (timeline.present().unwrap().id + 1, state.place.ring + 1);
    let epochs = timeline.epochs(0, u64::MAX);
    let owned = epochs.filter_map(|epoch| epoch.copies.as_ref());
    let owned: Vec<u64> = owned.flat_map(|copies| copies.owned()).collect();
    let _ = Segments::new(*layout, &owned);
}

/// Whole stores in which a number was changed and every checksum set right.
fn forged(world: &World, choice: u64, word: usize, value: u64) -> SimDisk {
    let mut store = world.store.clone();
    let layout = world.config.layout;
    let image = layout.image_block(world.superblock.image_area.get());
    let last = image + world.superblock.image_used.get() - 1;
    let mut places = vec![0];
    places.extend(image..=last);
    places.extend(world.trail.iter().map(|record| record.block));
    // The state is at the image's end, and deserves more than its share.
    let tail = choice.is_multiple_of(2);
    let at = match tail {
        true => last,
        false => places[(choice / 2 % places.len() as u64) as usize],
    };
    let mut block = **store.get(at).unwrap();
    let used = block.iter().rposition(|byte| *byte != 0).unwrap_or(0) / 8 + 1;
    let word = match tail {
        true => used.saturating_sub(1 + word % 24).max(2),
        false => 2 + word % used.saturating_sub(2).max(1),
    };
    block[word * 8..word * 8 + 8].copy_from_slice(&value.to_le_bytes());
    reseal(&mut block);
    store.set(at, block);
    if at == 0 {
        store.set(1, block);
    }
    store
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn i8_forged_stores(seed in 0u64..4, choice: u64, word: usize, value in sharp()) {
        thread_local! {
            static WORLDS: Vec<World> = (0..4).map(|seed| busy(seed + 40, 15)).collect();
        }
        WORLDS.with(|worlds| {
            let world = &worlds[seed as usize];
            let mut store = forged(world, choice, word, value);
            if let Ok((Some(state), _)) = recovered(&mut store) {
                let superblock: Superblock = match choose(&mut store) {
                    Ok(StoreKind::Store(superblock)) => superblock,
                    _ => unreachable!(),
                };
                exercise(&state, &Layout::from_superblock(&superblock).unwrap(), world);
            }
        });
    }
}
