// SPDX-License-Identifier: GPL-2.0

//! Finds out what a store holds when a table is loaded. Writes nothing.
//!
//! What becomes of the store then is in [`session`](crate::engine::session).

#![forbid(unsafe_code)]

use crate::dm;
use crate::dm::BlockDevice;
use crate::dm::Direction;
use crate::dm::Io;
use crate::engine::boot;
use crate::engine::session::disk::StoreDisk;
use crate::engine::session::disk::PIECE_BYTES;
use crate::engine::session::superblocks::Superblocks;
use crate::engine::space::Copies;
use crate::engine::space::Space;
use crate::engine::state::Epoch;
use crate::format::Layout;
use crate::format::Superblock;
use crate::format::BLOCK_SECTORS;
use crate::format::STATE_BROKEN;
use crate::format::STATE_CLOSED;
use crate::format::STATE_OPEN;
use crate::format::STATE_ROLLBACK;
use crate::history;
use crate::maps::Bitmap;
use crate::maps::Designation;
use crate::maps::Geometry;
use crate::maps::SECTOR_BYTES;
use crate::store::fingerprint;
use crate::store::recover;
use crate::store::save::EpochCopies;
use crate::store::superblocks::choose;
use crate::store::trust::BootId;
use crate::store::trust::Trust;
use crate::store::Checkpoint;
use crate::store::LogPosition;
use crate::store::Replayed;
use crate::store::Segments;
use crate::store::StoreKind;
use crate::store::Trouble;
use kernel::prelude::*;
use kernel::sync::Arc;
use zerocopy::little_endian::U32;
use zerocopy::little_endian::U64;
use zerocopy::FromZeros;

/// A store that has been found, and what it knows of its live device.
pub(in crate::engine) struct OpenedStore {
    pub(in crate::engine) superblocks: Superblocks,
    pub(in crate::engine) checkpoint: Checkpoint<Copies>,
}

/// Returns the checkpoint of a device that nothing is known of yet. May sleep.
///
/// Errors: `EFBIG` for too many chunks, `ENOMEM`.
pub(in crate::engine) fn blank_checkpoint(
    shape: Geometry,
    default_protected: bool,
) -> Result<Checkpoint<Copies>> {
    let first = Epoch {
        id: 0,
        marks: Arc::new(Bitmap::new(shape.chunks())?, GFP_KERNEL)?,
        copies: None,
    };
    Ok(Checkpoint {
        place: LogPosition {
            sequence: 1,
            ..LogPosition::default()
        },
        next: 1,
        period: 0,
        next_id: 1,
        sectors: shape.sectors(),
        timeline: Arc::new(history::Timeline::new(first)?, GFP_KERNEL)?,
        designation: Arc::new(Designation::new(default_protected), GFP_KERNEL)?,
    })
}

/// Finds out what a store holds for a device of `shape`. Reads only. May sleep, and take long.
///
/// Errors, as [`Trouble`]: a text if the store cannot be used, otherwise those of the devices,
/// `ENOMEM`.
pub(in crate::engine) fn open_store(
    device: &BlockDevice,
    origin: &BlockDevice,
    space: &Arc<Space>,
    shape: Geometry,
    default_protected: bool,
) -> Result<OpenedStore, Trouble> {
    let mut io = Io::new(PIECE_BYTES, ())?;
    let superblock = match choose(&mut StoreDisk::new(device, &mut io).for_recovery())? {
        StoreKind::Store(superblock) => superblock,
        StoreKind::Blank => return begin_anew(device, shape, default_protected, None, io),
    };
    let loaded = load(device, origin, space, shape, &superblock, &mut io)?;
    let Some((superblock, layout, checkpoint, is_exact)) = loaded else {
        return begin_anew(device, shape, default_protected, Some(&superblock), io);
    };
    let mut owned = KVVec::new();
    for epoch in checkpoint.timeline.epochs(0, u64::MAX) {
        if let Some(copies) = &epoch.copies {
            copies.segments(&mut owned)?;
        }
    }
    space.set_segments(Segments::new(layout, &owned)?);
    let place = LogPosition {
        content: 0,
        content_end: 0,
        ..checkpoint.place
    };
    let mut superblocks = Superblocks::found(superblock, layout, place, io)?;
    superblocks.image_is_exact = is_exact;
    Ok(OpenedStore {
        superblocks,
        checkpoint,
    })
}

/// How often a part of the origin is read for its fingerprint before it counts as unreadable.
const FINGERPRINT_TRIES: u32 = 4;

/// What [`load`] has found: the superblock that counts, its layout, what is known, and whether the
/// image alone is that.
type Loaded = (Superblock, Layout, Checkpoint<Copies>, bool);

/// Recovers what a store knows. Returns `None` if nothing of it may be relied on.
///
/// Errors: those of [`open_store`].
fn load(
    device: &BlockDevice,
    origin: &BlockDevice,
    space: &Arc<Space>,
    shape: Geometry,
    superblock: &Superblock,
    io: &mut Io<()>,
) -> Result<Option<Loaded>, Trouble> {
    // Whatever it says of the origin is not so, or not yet.
    if superblock.state.get() == STATE_ROLLBACK {
        return Err(Trouble::Because(
            c"A rollback of the origin is under way: finish it with preserve rollback",
        ));
    }
    let layout = fitting_layout(superblock, device, shape)?;
    let is_closed = superblock.state.get() == STATE_CLOSED;
    let trust = boot::judge(superblock);
    let mut superblock = *superblock;
    if trust == Trust::Failed {
        // As it would say itself, if that could have been written.
        superblock.state = U32::new(STATE_BROKEN);
        pr_err!(
            "{}: the store was not closed, though the machine went on: writes may have passed \
             that it does not know of\n",
            device.devt()
        );
    }
    let new_copies = || Copies::new(space.clone());
    let mut disk = StoreDisk::new(device, io).for_recovery();
    let (checkpoint, replayed) = recover::recover(
        &mut disk,
        &superblock,
        &layout,
        shape.sectors(),
        &new_copies,
    )?;
    tell(device, checkpoint.is_some(), &replayed);
    let is_strange = is_closed && was_written(origin, &superblock, io);
    let checkpoint = checkpoint.filter(|_| !is_strange);
    if let Some(checkpoint) = checkpoint.as_ref().filter(|_| trust == Trust::Unproven) {
        doubt(&mut superblock, checkpoint, device);
    }
    let is_exact = is_closed && replayed.records == 0;
    Ok(checkpoint.map(|checkpoint| (superblock, layout, checkpoint, is_exact)))
}

/// Logs what came of a recovery.
fn tell(store: &BlockDevice, is_known: bool, replayed: &Replayed) {
    if replayed.damaged {
        pr_err!(
            "{}: THE STORE IS DAMAGED in the middle of its log: all snapshots and the record of \
             changes are lost; the next backup has to be a full one\n",
            store.devt()
        );
    } else if !is_known {
        pr_err!(
            "{}: the store failed in an earlier session: all snapshots and the record of changes \
             are lost; the next backup has to be a full one\n",
            store.devt()
        );
    } else if replayed.records > 0 {
        pr_info!(
            "{}: {} records replayed, {} contents found, {} chunks taken for changed\n",
            store.devt(),
            replayed.records,
            replayed.contents,
            replayed.guessed
        );
    }
}

/// Notes in the superblock that nothing that a store holds is proven. The superblock that begins
/// the next session makes that durable.
fn doubt(superblock: &mut Superblock, state: &Checkpoint<Copies>, store: &BlockDevice) {
    let newest = state.next_id.saturating_sub(1);
    if newest > superblock.unproven.get() {
        superblock.unproven = U64::new(newest);
        pr_warn!(
            "{}: the store was not closed, and may have failed before the machine stopped: its \
             snapshots and bookmarks, up to {newest}, are unproven, and cannot be read; if you \
             know that it had not failed, say so with the message trust, else drop and forget \
             them and make a full backup\n",
            store.devt()
        );
    }
}

/// Returns the layout in a superblock, if it fits this device and store.
///
/// Errors: a text that says what does not fit.
fn fitting_layout(
    superblock: &Superblock,
    store: &BlockDevice,
    shape: Geometry,
) -> Result<Layout, Trouble> {
    let layout = Layout::from_superblock(superblock).ok_or(Trouble::Because(
        c"The store's superblock is damaged: see preserve check",
    ))?;
    if layout.blocks() * BLOCK_SECTORS > store.sectors() {
        return Err(Trouble::Because(
            c"The store is smaller than it was: give it its old size back",
        ));
    }
    if u64::from(superblock.chunk_sectors.get()) != shape.chunk_sectors() {
        return Err(Trouble::Because(
            c"The store has another chunk size: use that (preserve check shows it), or wipe its \
              first 8 KiB",
        ));
    }
    Ok(layout)
}

/// Returns a store that begins anew. Nothing is written yet.
///
/// If it has been a store `before`, its numbers go on, and the image that counts is left alone: the
/// first superblock written counts at once, and if the power goes before that, the store is what it
/// was.
///
/// Errors: a text if the store is too small, `ENOMEM`.
fn begin_anew(
    device: &BlockDevice,
    shape: Geometry,
    default_protected: bool,
    before: Option<&Superblock>,
    io: KBox<Io<()>>,
) -> Result<OpenedStore, Trouble> {
    let blocks = device.sectors() / BLOCK_SECTORS;
    let layout =
        Layout::new(blocks, shape.chunks(), shape.chunk_sectors()).ok_or(Trouble::Because(
            c"The store is too small for a persistent one: give it some MiB, or use transient",
        ))?;
    let mut superblock = Superblock::new_zeroed();
    superblock.store = dm::random_uuid();
    superblock.generation = dm::random_uuid();
    superblock.state = U32::new(STATE_OPEN);
    // CAST: At most 2048.
    superblock.chunk_sectors = U32::new(shape.chunk_sectors() as u32);
    layout.store(&mut superblock);
    if let Some(before) = before {
        superblock.sequence = before.sequence;
        superblock.image_area = before.image_area;
    }
    let checkpoint = blank_checkpoint(shape, default_protected)?;
    let mut superblocks = Superblocks::found(superblock, layout, checkpoint.place, io)?;
    // The ring of a store that was ours has records, or zeroes; and what is left of that store must
    // not look other than it is before the first superblock is written.
    // One that broke before its first checkpoint never had its ring zeroed.
    superblocks.is_ring_unknown = before.is_none_or(|before| before.image_number.get() == 0);
    superblocks.boot_before = before.map_or(BootId::default(), |before| before.boot);
    Ok(OpenedStore {
        superblocks,
        checkpoint,
    })
}

/// Returns true if a device has the superblock of a persistent store.
///
/// Errors: `ENOMEM`.
pub(in crate::engine) fn holds_a_store(device: &BlockDevice) -> Result<bool> {
    let mut io = Io::new(PIECE_BYTES, ())?;
    let mut disk = StoreDisk::new(device, &mut io);
    match choose(&mut disk) {
        Ok(StoreKind::Store(_)) => Ok(true),
        Err(Trouble::Error(ENOMEM)) => Err(ENOMEM),
        // Blank, somebody else's, or too small for superblocks.
        _ => Ok(false),
    }
}

/// Returns true if an origin was written since the clean shutdown that a superblock tells of, and
/// logs that.
pub(super) fn was_written(origin: &BlockDevice, superblock: &Superblock, io: &mut Io<()>) -> bool {
    let print = origin_fingerprint(origin, superblock.origin_sectors.get(), io);
    let written = print != superblock.fingerprint.get();
    if written {
        pr_err!(
            "{}: the origin was written while its live device was not active: all snapshots and \
             the record of changes are lost; the next backup has to be a full one\n",
            origin.devt()
        );
    }
    written
}

/// Returns the [`fingerprint`](crate::store::fingerprint) of the first `sectors` sectors of the
/// origin, as many as the live device has.
pub(super) fn origin_fingerprint(origin: &BlockDevice, sectors: u64, io: &mut Io<()>) -> u32 {
    fingerprint::fingerprint(sectors, |start, len| {
        // CAST: At most `HEAD_SECTORS`, which is a piece.
        let bytes = (len * SECTOR_BYTES) as usize;
        // A read that fails once would cost all snapshots.
        let is_read = (0..FINGERPRINT_TRIES).any(|_| {
            let read = io.run(origin, Direction::Read, start, bytes as u32);
            read.is_ok()
        });
        is_read.then(|| io.checksum(0, bytes))
    })
}

const _: () = assert!(fingerprint::HEAD_SECTORS * SECTOR_BYTES == PIECE_BYTES as u64);
