// SPDX-License-Identifier: GPL-2.0

//! A persistent store's superblocks, and finding out what it holds when a table is loaded. Nothing is written for that.
//!
//! What becomes of it then is in [`session`](crate::session).

#![forbid(unsafe_code)]

use crate::bitmap::Bitmap;
use crate::boot;
use crate::chunk::Geometry;
use crate::copies::Copies;
use crate::copies::Store;
use crate::designation::Designation;
use crate::disk::Disk;
use crate::dm;
use crate::dm::BlockDevice;
use crate::dm::Direction;
use crate::dm::Io;
use crate::engine::Epoch;
use crate::layout::Layout;
use crate::logbook::Place;
use crate::ondisk::Superblock;
use crate::ondisk::BLOCK_BYTES;
use crate::ondisk::BLOCK_SECTORS;
use crate::ondisk::STATE_BROKEN;
use crate::ondisk::STATE_CLOSED;
use crate::ondisk::STATE_OPEN;
use crate::ondisk::STATE_ROLLBACK;
use crate::recover;
use crate::saved;
use crate::saved::State;
use crate::segments::Segments;
use crate::store_disk::StoreDisk;
use crate::store_disk::PIECE_BYTES;
use crate::superblock;
use crate::superblock::Found;
use crate::superblock::Trouble;
use crate::timeline;
use crate::trust::BootId;
use crate::trust::Ended;
use crate::trust::Trust;
use kernel::prelude::*;
use kernel::sync::Arc;
use zerocopy::little_endian::U32;
use zerocopy::little_endian::U64;
use zerocopy::FromZeros;

/// What a persistent engine knows of its store's superblocks.
pub(crate) struct Persist {
    pub(crate) superblock: Superblock,
    pub(crate) layout: Layout,
    /// The image is all there is to know: nothing has happened since.
    pub(crate) image_is_exact: bool,
    /// A session is under way.
    pub(crate) is_open: bool,
    /// The disk says that it is. Before, nothing may be logged: it would not be replayed, and might be written over what the last
    /// session's image still needs.
    pub(crate) has_begun: bool,
    /// A session has been begun, on the disk or not, since the store was found.
    pub(crate) has_tried: bool,
    /// The store was blank, but for its superblocks' places nobody knows what is there.
    pub(crate) is_ring_unknown: bool,
    /// The superblock may be on the disk or not: writing it failed.
    pub(crate) is_unsure: bool,
    /// It could not be written; that has been told.
    pub(crate) is_failing: bool,
    /// The boot id that the store had when it was found.
    pub(crate) boot_before: BootId,
    /// Where the next session's log begins.
    pub(crate) place: Place,
    pub(crate) io: KBox<Io<()>>,
}

/// What recovery brought: the store, and the engine's state.
pub(crate) struct Recovered {
    pub(crate) persist: Persist,
    pub(crate) state: State<Copies>,
}

/// The state of a device that nothing is known of.
pub(crate) fn new_state(shape: Geometry, default_protected: bool) -> Result<State<Copies>> {
    let first = Epoch {
        id: 0,
        marks: Arc::new(Bitmap::new(shape.chunks())?, GFP_KERNEL)?,
        copies: None,
    };
    Ok(State {
        place: Place {
            sequence: 1,
            ..Place::default()
        },
        next: 1,
        generation: 0,
        next_id: 1,
        sectors: shape.sectors(),
        timeline: Arc::new(timeline::Timeline::new(first)?, GFP_KERNEL)?,
        designation: Arc::new(Designation::new(default_protected), GFP_KERNEL)?,
    })
}

/// Finds out what a store holds for a device of `shape`. Reads only.
pub(crate) fn recover(
    store_device: &BlockDevice,
    origin: &BlockDevice,
    store: &Arc<Store>,
    shape: Geometry,
    default_protected: bool,
) -> Result<Recovered, Trouble> {
    let mut io = Io::new(PIECE_BYTES, ())?;
    let mut disk = StoreDisk::new(store_device, &mut io).for_recovery();
    let found = superblock::superblock(&mut disk)?;
    let mut known = None;
    let mut exact = false;
    if let Found::Store(superblock) = &found {
        // Whatever it says of the origin is not so, or not yet.
        if superblock.state.get() == STATE_ROLLBACK {
            return Err(Trouble::Because(
                c"A rollback of the origin is under way: finish it with preserve rollback",
            ));
        }
        let layout = fitting_layout(superblock, store_device, shape)?;
        let closed = superblock.state.get() == STATE_CLOSED;
        let trust = boot::judge(superblock);
        let mut superblock = *superblock;
        if trust == Trust::Failed {
            // As it would say itself, if that could have been written.
            superblock.state = U32::new(STATE_BROKEN);
            pr_err!(
                "{}: the store was not closed, though the machine went on: writes may have passed that it does not know of\n",
                store_device.devt()
            );
        }
        let new_copies = || Copies::new(store.clone());
        let (state, replayed) = recover::recover(
            &mut disk,
            &superblock,
            &layout,
            shape.sectors(),
            &new_copies,
        )?;
        if replayed.damaged {
            pr_err!(
                "{}: THE STORE IS DAMAGED in the middle of its log: all snapshots and the record of changes are lost; the next backup has to be a full one\n",
                store_device.devt()
            );
        } else if state.is_none() {
            pr_err!(
                "{}: the store failed in an earlier session: all snapshots and the record of changes are lost; the next backup has to be a full one\n",
                store_device.devt()
            );
        } else if replayed.records > 0 {
            pr_info!(
                "{}: {} records replayed, {} contents found, {} chunks taken for changed\n",
                store_device.devt(),
                replayed.records,
                replayed.contents,
                replayed.guessed
            );
        }
        let strange = closed && was_written(origin, &superblock, &mut io);
        let state = state.filter(|_| !strange);
        if let Some(state) = state.as_ref().filter(|_| trust == Trust::Unproven) {
            doubt(&mut superblock, state, store_device);
        }
        known = state.map(|state| (superblock, layout, state));
        exact = closed && replayed.records == 0;
    }
    let Some((superblock, layout, state)) = known else {
        let before = match &found {
            Found::Store(superblock) => Some(superblock),
            Found::Blank => None,
        };
        return format(store_device, shape, default_protected, before, io);
    };
    let mut owned = KVVec::new();
    for epoch in state.timeline.epochs(0, u64::MAX) {
        if let Some(copies) = &epoch.copies {
            saved::Stored::segments(&**copies, &mut owned)?;
        }
    }
    store.set_segments(Segments::new(layout, &owned)?);
    let place = Place {
        content: 0,
        content_end: 0,
        ..state.place
    };
    Ok(Recovered {
        persist: Persist {
            superblock,
            layout,
            image_is_exact: exact,
            is_open: false,
            has_begun: false,
            has_tried: false,
            is_ring_unknown: false,
            is_unsure: false,
            is_failing: false,
            boot_before: superblock.boot,
            place,
            io,
        },
        state,
    })
}

/// Notes that nothing that a store holds is proven. The superblock that begins the next session
/// makes that durable.
fn doubt(superblock: &mut Superblock, state: &State<Copies>, store: &BlockDevice) {
    let newest = state.next_id.saturating_sub(1);
    if newest > superblock.unproven.get() {
        superblock.unproven = U64::new(newest);
        pr_warn!(
            "{}: the store was not closed, and may have failed before the machine stopped: its snapshots and bookmarks, up to {newest}, are unproven, and cannot be read; if you know that it had not failed, say so with the message trust, else drop and forget them and make a full backup\n",
            store.devt()
        );
    }
}

/// The layout in a superblock, if it is that of this device and store.
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
            c"The store has another chunk size: use that (preserve check shows it), or wipe its first 8 KiB",
        ));
    }
    Ok(layout)
}

/// A store that begins anew. Nothing is written yet.
///
/// Where it has been a store before, numbers go on, and the image that counts is left alone: the first superblock
/// written counts at once, and if the power goes before that, the store is what it was.
fn format(
    store_device: &BlockDevice,
    shape: Geometry,
    default_protected: bool,
    before: Option<&Superblock>,
    io: KBox<Io<()>>,
) -> Result<Recovered, Trouble> {
    let blocks = store_device.sectors() / BLOCK_SECTORS;
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
    let state = new_state(shape, default_protected)?;
    Ok(Recovered {
        persist: Persist {
            superblock,
            layout,
            image_is_exact: false,
            is_open: false,
            has_begun: false,
            has_tried: false,
            // A store that was ours has records there, or zeroes; and what is left of it must not look other than it is before
            // the first superblock is written.
            is_ring_unknown: before.is_none(),
            is_unsure: false,
            is_failing: false,
            boot_before: before.map_or(BootId::default(), |before| before.boot),
            place: state.place,
            io,
        },
        state,
    })
}

/// Whether a device has the superblock of a persistent store.
pub(crate) fn holds_a_store(device: &BlockDevice) -> Result<bool> {
    let mut io = Io::new(PIECE_BYTES, ())?;
    let mut disk = StoreDisk::new(device, &mut io);
    match superblock::superblock(&mut disk) {
        Ok(Found::Store(_)) => Ok(true),
        Err(Trouble::Error(ENOMEM)) => Err(ENOMEM),
        // Blank, somebody else's, or too small for superblocks.
        _ => Ok(false),
    }
}

/// Whether an origin was written since the clean shutdown that a superblock tells of. Says so.
pub(crate) fn was_written(origin: &BlockDevice, superblock: &Superblock, io: &mut Io<()>) -> bool {
    let print = fingerprint(origin, superblock.origin_sectors.get(), io);
    let written = print != superblock.fingerprint.get();
    if written {
        pr_err!(
            "{}: the origin was written while its live device was not active: all snapshots and the record of changes are lost; the next backup has to be a full one\n",
            origin.devt()
        );
    }
    written
}

/// What the first sectors of the origin are like now, as many as the live device has; see
/// [`fingerprint`](crate::fingerprint).
pub(crate) fn fingerprint(origin: &BlockDevice, sectors: u64, io: &mut Io<()>) -> u32 {
    crate::fingerprint::fingerprint(sectors, |start, len| {
        // CAST: At most `HEAD_SECTORS`, which is a piece.
        let bytes = (len * crate::chunk::SECTOR_BYTES) as usize;
        let read = io.run(origin, Direction::Read, start, bytes as u32);
        read.ok().map(|()| io.checksum(0, bytes))
    })
}

const _: () =
    assert!(crate::fingerprint::HEAD_SECTORS * crate::chunk::SECTOR_BYTES == PIECE_BYTES as u64);

impl Persist {
    /// Zeroes the ring of a store that was blank: recovery looks on in the segments where it finds something else than a record or zeroes.
    pub(crate) fn clear_ring(&mut self, device: &BlockDevice) -> Result {
        if !self.is_ring_unknown {
            return Ok(());
        }
        let (start, end) = (self.layout.ring_start, self.layout.image_start);
        let mut zeroes = KVVec::new();
        zeroes.resize(PIECE_BYTES, 0u8, GFP_KERNEL)?;
        let piece = (PIECE_BYTES / BLOCK_BYTES) as u64;
        let mut disk = self.disk(device);
        for at in (start..end).step_by(PIECE_BYTES / BLOCK_BYTES) {
            // CAST: At most a piece.
            let bytes = (end - at).min(piece) as usize * BLOCK_BYTES;
            disk.write(at, zeroes.get(..bytes).ok_or(EINVAL)?)?;
        }
        disk.flush()?;
        self.is_ring_unknown = false;
        Ok(())
    }

    /// The store, to read and write.
    pub(crate) fn disk<'a>(&'a mut self, device: &'a BlockDevice) -> StoreDisk<'a> {
        StoreDisk::new(device, &mut self.io)
    }

    /// Writes both superblocks, one after the other, so that at any moment one of them is whole, and the image that
    /// it refers to there.
    ///
    /// After a failure the next one has the same number, and so goes to the places in the same order.
    pub(crate) fn write_superblocks(&mut self, device: &BlockDevice) -> Result {
        let mut buffer = crate::disk::Buffer::new()?;
        if !core::mem::replace(&mut self.is_unsure, true) {
            self.superblock.sequence += U64::new(1);
        }
        let superblock = self.superblock;
        let block = buffer.block()?;
        superblock.to_block(block);
        let mut disk = self.disk(device);
        for at in superblock.places() {
            disk.write(at, block)?;
            disk.flush()?;
        }
        self.is_unsure = false;
        Ok(())
    }

    /// Says that tracking is broken. One superblock that can still be written is enough, as it is later than the other.
    pub(crate) fn write_broken(&mut self, device: &BlockDevice) -> Result {
        self.superblock.state = U32::new(STATE_BROKEN);
        self.image_is_exact = false;
        let sequence = self.superblock.sequence.get() + 1;
        self.superblock.sequence = U64::new(sequence);
        let mut buffer = crate::disk::Buffer::new()?;
        let superblock = self.superblock;
        let block = buffer.block()?;
        superblock.to_block(block);
        let mut disk = self.disk(device);
        let mut written = Err(EIO);
        for at in superblock.places() {
            let this = disk.write(at, block).and_then(|()| disk.flush());
            written = written.or(this);
        }
        written
    }

    /// What is to be remembered of an engine that ends now; `is_intact` says that every write that
    /// passed is in the log. `None` for a store that is closed, or was left alone.
    pub(crate) fn ended(&self, is_intact: bool) -> Option<Ended> {
        let is_left_open = self.has_tried && !self.image_is_exact;
        is_left_open.then_some(Ended {
            store: self.superblock.store,
            session: self.superblock.session.get(),
            boot_before: self.boot_before,
            is_intact,
        })
    }

    /// The UUID given at formatting.
    pub(crate) fn store(&self) -> [u8; 16] {
        self.superblock.store
    }

    /// Snapshots and bookmarks up to this id are unproven.
    pub(crate) fn unproven(&self) -> u64 {
        self.superblock.unproven.get()
    }

    /// The UUID that changes whenever tracking breaks.
    pub(crate) fn generation(&self) -> [u8; 16] {
        self.superblock.generation
    }
}
