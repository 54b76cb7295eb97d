// SPDX-License-Identifier: GPL-2.0

//! I8: stores that somebody has made with care, and what they must not get out of recovery: memory
//! or time without a bound, or a place in the log that cannot be.

#![forbid(unsafe_code)]

use super::damage::recovered;
use super::damage::Outcome;
use super::damage::TABLE;
use super::world::busy;
use super::world::SimCopies;
use super::world::World;
use dm_preserve_core::format::Entry;
use dm_preserve_core::format::Layout;
use dm_preserve_core::format::Superblock;
use dm_preserve_core::format::BLOCK_BYTES;
use dm_preserve_core::format::MAX_ENTRIES;
use dm_preserve_core::history::Epoch;
use dm_preserve_core::history::NewSnapshot;
use dm_preserve_core::history::Scope;
use dm_preserve_core::history::Snapshot;
use dm_preserve_core::history::Timeline;
use dm_preserve_core::maps::Bitmap;
use dm_preserve_core::maps::Chunks;
use dm_preserve_core::maps::Geometry;
use dm_preserve_core::maps::LEAF_BITS;
use dm_preserve_core::store::load;
use dm_preserve_core::store::save;
use dm_preserve_core::store::Checkpoint;
use dm_preserve_core::store::Disk;
use dm_preserve_core::store::EpochCopies;
use dm_preserve_core::store::ImageReader;
use dm_preserve_core::store::ImageWriter;
use dm_preserve_core::store::LogEnd;
use dm_preserve_core::store::LogPosition;
use dm_preserve_core::store::Tail;
use dm_preserve_core::store::Trouble;
use kernel::alloc::host;
use kernel::prelude::*;
use kernel::sync::Arc;
use sim::SimDisk;
use zerocopy::little_endian::U32;
use zerocopy::little_endian::U64;

/// Appends a record to a store's log.
pub(super) fn append(world: &mut World, entries: &[Entry]) {
    let place = world.logbook.place();
    let mut block = [0; BLOCK_BYTES];
    let formed = world
        .logbook
        .entries(entries, place.sequence, 0, &mut block)
        .unwrap();
    world.store.set(formed.block, block);
}

fn is_larger(outcome: Outcome) -> bool {
    match outcome {
        Err(Trouble::Because(why)) => why.to_str().unwrap().contains("a larger device"),
        _ => false,
    }
}

/// Neither the superblock nor the log can ask for larger maps than the device has chunks.
#[test]
fn i8_a_store_of_a_larger_device() {
    for (sectors, larger) in [(TABLE, false), (TABLE + 1, true), (1 << 45, true)] {
        let mut world = busy(3, 5);
        let epoch = world.present().id + 1;
        append(&mut world, &[Entry::Epoch { epoch, sectors }]);
        let outcome = host::within(1 << 20, || recovered(&mut world.store));
        assert_eq!(is_larger(outcome), larger, "log: {sectors}");
    }
    for sectors in [TABLE + 1, 1 << 45] {
        let mut world = busy(3, 5);
        let mut block = [0; BLOCK_BYTES];
        world.superblock.origin_sectors = U64::new(sectors);
        world.superblock.to_block(&mut block);
        world.store.set(0, block);
        world.store.set(1, block);
        let outcome = host::within(1 << 20, || recovered(&mut world.store));
        assert!(is_larger(outcome), "superblock: {sectors}");
    }
}

/// Counts what is read.
struct Counting {
    disk: SimDisk,
    reads: u64,
}

impl Disk for Counting {
    fn read(&mut self, block: u64, out: &mut [u8]) -> Result {
        self.reads += 1;
        self.disk.read(block, out)
    }

    fn write(&mut self, _: u64, _: &[u8]) -> Result {
        Err(EIO)
    }

    fn flush(&mut self) -> Result {
        Err(EIO)
    }
}

/// Behind the end of a log, each block is read once or twice, however often later records name its
/// segment.
#[test]
fn i8_segments_named_again_and_again() {
    let World {
        superblock, config, ..
    } = busy(3, 5);
    let layout = config.layout;
    let mut disk = SimDisk::new(layout.blocks());
    let place = LogPosition {
        sequence: 10,
        ..LogPosition::default()
    };
    let later = LogPosition {
        sequence: 12,
        ring: 2,
        ..place
    };
    let session = superblock.session.get();
    let mut book = LogEnd::new(superblock.store, session, layout, later);
    let named: Vec<_> = (0..MAX_ENTRIES as u64)
        .map(|n| Entry::Segment {
            segment: n % 2 * (layout.segments - 1),
            epoch: n,
        })
        .collect();
    let mut block = [0; BLOCK_BYTES];
    while let Some(formed) = book.entries(&named, 0, 2, &mut block) {
        disk.set(formed.block, block);
    }
    let mut disk = Counting { disk, reads: 0 };
    let tail = Tail {
        superblock: &superblock,
        layout: &layout,
        place,
        durable: 0,
    };
    assert_eq!(tail.is_damaged(&mut disk), Ok(false));
    // The ring, the next place in it, and the two segments.
    let expected = layout.ring_blocks + 1 + 2 * layout.segment_blocks;
    assert_eq!(disk.reads, expected);
}

/// Saves a state that was recovered and changed, and loads it again.
pub(super) fn reloaded(world: &World, change: impl FnOnce(&mut Checkpoint<SimCopies>)) -> Result {
    reload(world, change).map(drop)
}

/// The same; returns what was loaded.
fn reload(
    world: &World,
    change: impl FnOnce(&mut Checkpoint<SimCopies>),
) -> Result<Checkpoint<SimCopies>> {
    let mut store = world.store.clone();
    let (superblock, layout) = (world.superblock, world.config.layout);
    let (state, _) = recovered(&mut store).unwrap();
    let mut state = state.unwrap();
    change(&mut state);
    let mut out = ImageWriter::new(&mut store, superblock.store, &layout, 0, 9).unwrap();
    save::save(&state, &mut out).unwrap();
    let used = out.finish().unwrap();
    let shape = Geometry::new(state.sectors, layout.chunk_blocks * 8).unwrap();
    let returned = Default::default();
    let new_copies = || {
        let copies = SimCopies::new(layout.chunk_blocks, &returned);
        Ok(Arc::new(copies, GFP_KERNEL)?)
    };
    let mut reader = ImageReader::new(&mut store, superblock.store, &layout, 0, 9, used)?;
    load::load(&mut reader, shape, &layout, &new_copies)
}

/// What is released as a whole takes no memory, before a checkpoint and after it.
#[test]
fn a_leaf_that_is_set_whole_is_one_after_a_checkpoint() {
    let world = busy(3, 5);
    let chunks = 3 * LEAF_BITS;
    let marks = Arc::new(Bitmap::new(chunks).unwrap(), GFP_KERNEL).unwrap();
    let end = chunks;
    marks.set_run(Chunks { start: 1, end }).unwrap();
    let state = reload(&world, |state| {
        let grown = Epoch {
            id: state.timeline.present().unwrap().id,
            marks: marks.clone(),
            copies: None,
        };
        state.timeline = Arc::new(Timeline::new(grown).unwrap(), GFP_KERNEL).unwrap();
        state.sectors = chunks * world.config.layout.chunk_blocks * 8;
    });
    let state = state.unwrap();
    let loaded = &state.timeline.present().unwrap().marks;
    assert_eq!(loaded.count(), chunks - 1);
    assert!(!loaded.get(0) && loaded.get(1) && loaded.get(chunks - 1));
    assert_eq!(loaded.memory(), marks.memory());
}

/// The log goes on in what is left of one segment, or in none.
#[test]
fn i8_the_place_of_contents_is_in_a_segment() {
    let world = busy(3, 5);
    let layout = world.config.layout;
    let (start, blocks) = (layout.data_start, layout.segment_blocks);
    let at = |content: u64, content_end: u64| {
        reloaded(&world, |state| {
            (state.place.content, state.place.content_end) = (content, content_end);
        })
    };
    let end = start + blocks;
    for (content, content_end) in [(0, 0), (start, end), (start + 7, end), (end, end)] {
        assert_eq!(at(content, content_end), Ok(()));
    }
    for (content, content_end) in [
        // Everything from the superblocks on.
        (0, layout.blocks()),
        (0, end),
        (2, end),
        (start - 1, end),
        // More than one segment, or less.
        (start, end + blocks),
        (start, end - 1),
        (start, start),
        // Beyond it.
        (end + 1, end),
        (start, layout.blocks() + blocks),
        (u64::MAX, u64::MAX),
        (end, 0),
        (start, 1),
    ] {
        assert_eq!(
            at(content, content_end),
            Err(EUCLEAN),
            "{content}, {content_end}"
        );
    }
}

/// A content has a record's header before it.
#[test]
fn i8_contents_do_not_begin_a_segment() {
    let world = busy(3, 5);
    let layout = world.config.layout;
    let at = |position: u64| {
        reloaded(&world, |state| {
            let present = state.timeline.present().unwrap();
            let copies = present.copies.as_ref().unwrap();
            let free = (0..1024).find(|chunk| copies.position(*chunk).is_none());
            let start = free.unwrap();
            let end = start + 1;
            copies.add(Chunks { start, end }, position).unwrap();
        })
    };
    let start = layout.data_start + layout.segment_blocks;
    assert_eq!(at(start + 1), Ok(()));
    assert_eq!(at(start), Err(EUCLEAN));
    assert_eq!(at(start - 1 - layout.chunk_blocks), Ok(()));
    assert_eq!(at(start - layout.chunk_blocks + 1), Err(EUCLEAN));
}

/// The epochs of a timeline, with their copies or without.
fn epochs(timeline: &Timeline<SimCopies>, with_copies: bool) -> KVec<Epoch<SimCopies>> {
    let mut epochs = KVec::new();
    for epoch in timeline.epochs(0, u64::MAX) {
        let epoch = Epoch {
            id: epoch.id,
            marks: epoch.marks.clone(),
            copies: epoch.copies.clone().filter(|_| with_copies),
        };
        epochs.push(epoch, GFP_KERNEL).unwrap();
    }
    epochs
}

/// Without snapshots, bookmarks and copies, or with the snapshots.
fn without_copies(state: &mut Checkpoint<SimCopies>, with_snapshots: bool) {
    let timeline = &state.timeline;
    let mut snapshots = KVec::new();
    for snapshot in timeline.snapshots().iter().filter(|_| with_snapshots) {
        snapshots.push(snapshot.clone(), GFP_KERNEL).unwrap();
    }
    let timeline = Timeline::restored(epochs(timeline, false), snapshots, KVec::new(), 0, 0);
    state.timeline = Arc::new(timeline, GFP_KERNEL).unwrap();
}

/// What is to be preserved has somewhere to go, or a write would wait for it without end.
#[test]
fn i8_what_a_snapshot_needs_has_copies() {
    let world = busy(3, 5);
    let load = |with_snapshots| reloaded(&world, |state| without_copies(state, with_snapshots));
    assert_eq!(load(false), Ok(()));
    assert_eq!(load(true), Err(EUCLEAN));
}

/// The latest snapshot's id is one less.
#[test]
fn i8_the_next_snapshot_is_not_number_zero() {
    let world = busy(3, 5);
    let load = |next_id| {
        reloaded(&world, |state| {
            without_copies(state, false);
            state.next_id = next_id;
        })
    };
    assert_eq!(load(1), Ok(()));
    assert_eq!(load(0), Err(EUCLEAN));
}

/// What the records of a ring may bring about, and how many segments there are, has a bound.
#[test]
fn i8_a_ring_is_not_endless_and_a_segment_not_tiny() {
    let layout = Layout::new(1 << 24, 1 << 24, 8).unwrap();
    let sound = |change: fn(&mut Superblock)| {
        let mut superblock = busy(3, 5).superblock;
        superblock.chunk_sectors = U32::new(8);
        layout.store(&mut superblock);
        change(&mut superblock);
        Layout::from_superblock(&superblock).is_some()
    };
    assert!(sound(|_| ()));
    assert!(sound(|superblock| superblock.segment_blocks = U64::new(18)));
    assert!(!sound(|superblock| superblock.segment_blocks = U64::new(17)));
    assert!(!sound(|superblock| {
        superblock.image_start += U64::new(1);
        superblock.data_start += U64::new(1);
        superblock.ring_blocks += U64::new(1);
    }));
}

/// A snapshot that is a bookmark as well would be one twice when it is dropped.
#[test]
fn i8_a_snapshot_is_no_bookmark() {
    let world = busy(3, 5);
    let with_bookmark = |id: u64| {
        reloaded(&world, |state| {
            let timeline = &state.timeline;
            let old = timeline.snapshots().first().unwrap();
            let new = NewSnapshot {
                id: old.id + id,
                time_ns: 0,
                epoch: old.epoch,
                designation: old.designation.clone(),
                scope: Scope::Full,
                keep_unprotected: false,
                sectors: old.sectors,
                chunks: old.released.len(),
                narrowed: false,
            };
            let bookmark = Snapshot::restored(new, old.released.clone(), true).unwrap();
            let mut snapshots = KVec::new();
            snapshots.push(old.clone(), GFP_KERNEL).unwrap();
            let mut bookmarks = KVec::new();
            bookmarks.push(bookmark, GFP_KERNEL).unwrap();
            let epochs = epochs(timeline, true);
            state.next_id = old.id + 2;
            let timeline = Timeline::restored(epochs, snapshots, bookmarks, 0, 0);
            state.timeline = Arc::new(timeline, GFP_KERNEL).unwrap();
        })
    };
    assert_eq!(with_bookmark(1), Ok(()));
    assert_eq!(with_bookmark(0), Err(EUCLEAN));
}
