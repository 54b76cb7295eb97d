// SPDX-License-Identifier: GPL-2.0

//! The persistent side of an engine: recovery, sessions, checkpoints, and giving up.
//!
//! # States of a store
//!
//! 1. *New*: blank, or nothing in it can be relied on any longer. Formatted by the first checkpoint.
//! 2. *Recovered*: what it holds is known; nothing has been written yet.
//! 3. *Open*: a session is under way; the superblocks say so.
//! 4. *Closed*: everything is in the checkpoint, and the origin's fingerprint in the superblock.
//! 5. *Broken*: writes pass that could not be logged; the superblocks say so, if they could be written.
//!
//! 1, 2 or 4 leads to 3 at preresume, 3 to 4 at postsuspend, 3 to 5 when a write to the store fails.
//!
//! # A checkpoint
//!
//! Under the control lock, so that snapshots, drops and so on wait:
//! 1. The gate closes, and opens with the next generation and no dirty region. So marks that were begun under the
//!    old generation are set. Where the log is then, the *cut*, is where replay will begin.
//! 2. Everything is written to the image area that is not in use, while writes go on, and flushed.
//! 3. Both superblocks, one after the other, refer to it.
//! 4. Ring blocks before the cut, and segments that waited at the cut, are free.
//!
//! # Lock order
//!
//! `control`, then `persist`, then the gate, then the journal.

#![forbid(unsafe_code)]

use crate::bitmap::Bitmap;
use crate::chunk::Geometry;
use crate::copies::Copies;
use crate::copies::Store;
use crate::designation::Designation;
use crate::disk::Disk;
use crate::dm;
use crate::dm::BlockDevice;
use crate::dm::Direction;
use crate::dm::Io;
use crate::dm::NoIo;
use crate::engine::no_regions;
use crate::engine::Control;
use crate::engine::Engine;
use crate::engine::Epoch;
use crate::engine::Timeline;
use crate::events::Event;
use crate::image::ImageWriter;
use crate::layout::Layout;
use crate::logbook::Logbook;
use crate::logbook::Place;
use crate::logbook::RING_RESERVE;
use crate::ondisk::Superblock;
use crate::ondisk::BLOCK_BYTES;
use crate::ondisk::BLOCK_SECTORS;
use crate::ondisk::STATE_BROKEN;
use crate::ondisk::STATE_CLOSED;
use crate::ondisk::STATE_OPEN;
use crate::recover;
use crate::recover::Found;
use crate::recover::Trouble;
use crate::saved;
use crate::saved::State;
use crate::segments::Segments;
use crate::timeline;
use kernel::prelude::*;
use kernel::sync::Arc;
use zerocopy::little_endian::U32;
use zerocopy::little_endian::U64;
use zerocopy::FromZeros;

/// How long to wait for memory, in milliseconds.
const NO_MEMORY_MS: u32 = 100;
/// Bytes read or written at once.
const PIECE_BYTES: usize = 64 << 10;

/// A store's device, for recovery and checkpoints.
struct StoreDisk<'a> {
    device: &'a BlockDevice,
    io: &'a mut Io<()>,
}

impl StoreDisk<'_> {
    fn place(&self, block: u64, offset: usize, len: usize) -> Result<u64> {
        // CAST: An offset in memory.
        let sector = block * BLOCK_SECTORS + offset as u64 / crate::chunk::SECTOR_BYTES;
        let end = sector + len as u64 / crate::chunk::SECTOR_BYTES;
        match len % BLOCK_BYTES == 0 && end <= self.device.sectors() {
            true => Ok(sector),
            false => Err(EIO),
        }
    }
}

impl Disk for StoreDisk<'_> {
    fn read(&mut self, block: u64, out: &mut [u8]) -> Result {
        for (n, piece) in (0..).zip(out.chunks_mut(PIECE_BYTES)) {
            let sector = self.place(block, n * PIECE_BYTES, piece.len())?;
            // CAST: At most a piece.
            let bytes = piece.len() as u32;
            self.io.run(self.device, Direction::Read, sector, bytes)?;
            self.io.copy_out(0, piece)?;
        }
        Ok(())
    }

    fn write(&mut self, block: u64, data: &[u8]) -> Result {
        for (n, piece) in (0..).zip(data.chunks(PIECE_BYTES)) {
            let sector = self.place(block, n * PIECE_BYTES, piece.len())?;
            self.io.copy_in(0, piece)?;
            // CAST: At most a piece.
            let bytes = piece.len() as u32;
            self.io.run(self.device, Direction::Write, sector, bytes)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result {
        self.device.flush()
    }
}

/// What a persistent engine knows of its store's superblocks.
pub(crate) struct Persist {
    superblock: Superblock,
    layout: Layout,
    /// The image is all there is to know: nothing has happened since.
    image_is_exact: bool,
    /// A session is under way.
    is_open: bool,
    /// Where the next session's log begins.
    place: Place,
    io: KBox<Io<()>>,
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
    let mut disk = StoreDisk {
        device: store_device,
        io: &mut io,
    };
    let found = recover::superblock(&mut disk)?;
    let mut known = None;
    let mut exact = false;
    if let Found::Store(superblock) = &found {
        let layout = fitting_layout(superblock, store_device, shape)?;
        let new_copies = || Copies::new(store.clone());
        let (state, replayed) = recover::recover(&mut disk, superblock, &layout, &new_copies)?;
        if replayed.damaged {
            pr_err!(
                "{}: THE STORE IS DAMAGED in the middle of its log: all snapshots and the record of changes are lost\n",
                store_device.devt()
            );
        } else if state.is_none() {
            pr_err!(
                "{}: the store failed in an earlier session: all snapshots and the record of changes are lost\n",
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
        let closed = superblock.state.get() == STATE_CLOSED;
        let strange = closed
            && fingerprint(origin, &mut *Io::new(PIECE_BYTES, ())?) != superblock.fingerprint.get();
        if strange {
            pr_err!(
                "{}: the origin was written while its live device was not active: all snapshots and the record of changes are lost\n",
                origin.devt()
            );
        }
        known = state
            .filter(|_| !strange)
            .map(|state| (*superblock, layout, state));
        exact = closed && replayed.records == 0;
    }
    let Some((superblock, layout, state)) = known else {
        return format(store_device, shape, default_protected, io);
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
            place,
            io,
        },
        state,
    })
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
    if superblock.origin_sectors.get() > shape.sectors() {
        return Err(Trouble::Because(
            c"The store belongs to a larger device: if its snapshots may go, wipe its first 8 KiB",
        ));
    }
    Ok(layout)
}

/// A store that begins anew. Nothing is written yet.
fn format(
    store_device: &BlockDevice,
    shape: Geometry,
    default_protected: bool,
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
    let state = new_state(shape, default_protected)?;
    Ok(Recovered {
        persist: Persist {
            superblock,
            layout,
            image_is_exact: false,
            is_open: false,
            place: state.place,
            io,
        },
        state,
    })
}

/// Whether a device has the superblock of a persistent store.
pub(crate) fn holds_a_store(device: &BlockDevice) -> Result<bool> {
    let mut io = Io::new(PIECE_BYTES, ())?;
    let mut disk = StoreDisk {
        device,
        io: &mut io,
    };
    match recover::superblock(&mut disk) {
        Ok(Found::Store(_)) => Ok(true),
        Err(Trouble::Error(ENOMEM)) => Err(ENOMEM),
        // Blank, somebody else's, or too small for superblocks.
        _ => Ok(false),
    }
}

/// Contents of the origin that say whether it was written meanwhile: its beginning, where filesystems have what they change
/// at every mount, and some chunks beyond.
fn fingerprint(origin: &BlockDevice, io: &mut Io<()>) -> u32 {
    const SAMPLES: u64 = 16;
    let sectors = origin.sectors();
    let mut checksum = 0;
    let head = (PIECE_BYTES as u64 / crate::chunk::SECTOR_BYTES).min(sectors);
    let page = BLOCK_SECTORS;
    let mut add = |sector: u64, len: u64| {
        let len = len.min(sectors.saturating_sub(sector));
        // Whole pages only; a rest at the very end is not looked at.
        let len = len - len % page;
        if len > 0 {
            // CAST: At most a piece.
            let bytes = (len * crate::chunk::SECTOR_BYTES) as usize;
            let read = io.run(origin, Direction::Read, sector, bytes as u32);
            // What cannot be read now could not be read then.
            let sample = read.map_or(u32::MAX, |()| io.checksum(0, bytes));
            checksum = (sample ^ checksum).rotate_left(1);
        }
    };
    add(0, head);
    for n in 1..=SAMPLES {
        let sector = sectors / (SAMPLES + 1) * n;
        add(sector - sector % page, page);
    }
    checksum
}

impl Persist {
    fn disk<'a>(&'a mut self, device: &'a BlockDevice) -> StoreDisk<'a> {
        StoreDisk {
            device,
            io: &mut self.io,
        }
    }

    /// Writes both superblocks, one after the other, so that at any moment one of them is whole, and the image that
    /// it refers to there.
    fn write_superblocks(&mut self, device: &BlockDevice) -> Result {
        let sequence = self.superblock.sequence.get() + 1;
        self.superblock.sequence = U64::new(sequence);
        let mut buffer = crate::disk::Buffer::new()?;
        let superblock = self.superblock;
        let block = buffer.block()?;
        superblock.to_block(block);
        let mut disk = self.disk(device);
        for at in superblock.places() {
            disk.write(at, block)?;
            disk.flush()?;
        }
        Ok(())
    }

    /// The UUID that changes whenever tracking breaks.
    pub(crate) fn generation(&self) -> [u8; 16] {
        self.superblock.generation
    }
}

impl Engine {
    /// A table becomes active: what is known is made durable, if it is not, and a session begins. An error means that
    /// the store cannot be used; writes will pass all the same.
    pub(crate) fn open_store(self: &Arc<Self>) {
        let begun = {
            let _control = self.control.lock();
            let mut guard = self.persist.lock();
            let Some(persist) = (*guard).as_mut() else {
                return;
            };
            self.begin_session(persist)
        };
        let saved = begun.and_then(|exact| match exact {
            true => Ok(()),
            false => self.checkpoint_now(),
        });
        if let Err(error) = saved {
            self.store_failed(error);
        }
    }

    /// Begins a session; whether the image on disk is all there is to know, and the superblocks say that the store is open.
    fn begin_session(&self, persist: &mut Persist) -> Result<bool> {
        let grown = persist
            .layout
            .grown(self.store_device.sectors() / BLOCK_SECTORS);
        if grown != persist.layout {
            let installed = self.store.with_segments(|segments| segments.grow(grown));
            installed.unwrap_or(Ok(()))?;
            persist.layout = grown;
            persist.layout.store(&mut persist.superblock);
        } else if self.store.with_segments(|_| ()).is_none() {
            self.store.set_segments(Segments::new(grown, &[])?);
        }
        let session = persist.superblock.session.get() + 1;
        persist.superblock.session = U64::new(session);
        persist.superblock.state = U32::new(STATE_OPEN);
        let book = Logbook::new(
            persist.superblock.store,
            session,
            persist.layout,
            persist.place,
        );
        let epoch = self.timeline().present().map_or(0, |epoch| epoch.id);
        self.journal.begin(book, epoch);
        persist.is_open = true;
        self.store.with_segments(Segments::close_current);
        if !persist.image_is_exact {
            return Ok(false);
        }
        persist.image_is_exact = false;
        persist.write_superblocks(&self.store_device)?;
        Ok(true)
    }

    /// Saves everything. The caller holds the control lock; see the [module's documentation](self).
    pub(crate) fn checkpoint(self: &Arc<Self>, control: &mut Control, state: u32) -> Result {
        let mut guard = self.persist.lock();
        let Some(persist) = (*guard).as_mut() else {
            return Ok(());
        };
        if self.journal.has_failed() {
            return Err(EIO);
        }
        let regions = no_regions(self.geometry().chunks())?;
        let generation = control.generation + 1;
        let (place, next, waiting) = {
            let mut closed = self.gate.close();
            closed.regions = Some(regions);
            closed.generation = generation;
            let (place, next) = self.journal.cut().ok_or(EIO)?;
            let waiting = self.store.with_segments(|segments| segments.waiting());
            (place, next, waiting.unwrap_or(0))
        };
        // Writes may have come to the closed gate.
        self.kick();
        control.generation = generation;
        let known = State {
            place,
            next,
            generation,
            next_id: control.next_id,
            sectors: self.geometry().sectors(),
            timeline: self.timeline(),
            designation: self.designation(),
        };
        self.save(persist, &known, state)?;
        let image_blocks = persist.superblock.image_used.get();
        self.journal.trim(&place, &persist.layout, image_blocks);
        self.store
            .with_segments(|segments| segments.free_waiting(waiting));
        Ok(())
    }

    fn save(&self, persist: &mut Persist, known: &State<Copies>, state: u32) -> Result {
        let area = 1 - persist.superblock.image_area.get().min(1);
        let number = persist.superblock.image_number.get() + 1;
        let (store, layout) = (persist.superblock.store, persist.layout);
        let mut disk = persist.disk(&self.store_device);
        let mut out = ImageWriter::new(&mut disk, store, &layout, area, number)?;
        saved::save(known, &mut out)?;
        let used = out.finish()?;
        let superblock = &mut persist.superblock;
        superblock.image_area = U32::new(area);
        superblock.image_number = U64::new(number);
        superblock.image_used = U64::new(used);
        superblock.state = U32::new(state);
        superblock.origin_sectors = U64::new(known.sectors);
        if state == STATE_CLOSED {
            let print = fingerprint(&self.origin, &mut persist.io);
            persist.superblock.fingerprint = U32::new(print);
        }
        persist.write_superblocks(&self.store_device)?;
        persist.place = Place {
            content: 0,
            content_end: 0,
            ..known.place
        };
        persist.image_is_exact = state == STATE_CLOSED;
        Ok(())
    }

    /// The device has been suspended, and no copy is in flight: everything is saved, and the store closed.
    pub(crate) fn close_store(self: &Arc<Self>) {
        let _noio = NoIo::enter();
        self.journal.wait_until_idle();
        let mut control = self.control.lock();
        let saved = match self.journal.has_failed() {
            true => Ok(()),
            false => self.checkpoint(&mut control, STATE_CLOSED),
        };
        let mut guard = self.persist.lock();
        if let Some(persist) = (*guard).as_mut() {
            persist.is_open = false;
        }
        drop(guard);
        drop(control);
        if let Err(error) = saved {
            // The superblocks still say that it is open, and the log is there: as after a power cut.
            pr_err!(
                "{}: the checkpoint failed ({error:?}); the next activation replays the log\n",
                self.identity.live
            );
        }
    }

    /// Makes room in the ring before control entries are logged, if it is short. The caller holds the control
    /// lock.
    pub(crate) fn ensure_ring_room(self: &Arc<Self>, control: &mut Control) -> Result {
        if self.is_persistent() && self.journal.ring().0 <= RING_RESERVE / 2 {
            // What failed here is seen to by the checkpoint's work.
            self.checkpoint(control, STATE_OPEN)
                .inspect_err(|_| self.kick_checkpoint())?;
        }
        Ok(())
    }

    /// Makes a checkpoint, waits for it, and lets scopes take effect; what does not fit is forgotten. Nothing to do for a
    /// transient store. `ENODEV` while the device is not active, `EIO` when the store has failed or now does.
    pub(crate) fn checkpoint_now(self: &Arc<Self>) -> Result {
        let _noio = NoIo::enter();
        if !self.is_persistent() {
            return Ok(());
        }
        loop {
            let mut control = self.control.lock();
            if !self.has_session() {
                return Err(ENODEV);
            }
            let saved = self
                .checkpoint(&mut control, STATE_OPEN)
                .and_then(|()| self.narrow_scopes(&mut control));
            drop(control);
            match saved {
                // Each round there is one bookmark or snapshot less.
                Err(ENOSPC | EFBIG) if self.forget_something() => (),
                Err(error) if error != ENOMEM => {
                    self.store_failed(error);
                    return saved;
                }
                saved => return saved,
            }
        }
    }

    fn has_session(&self) -> bool {
        let guard = self.persist.lock();
        (*guard).as_ref().is_some_and(|persist| persist.is_open)
    }

    /// The checkpoint's work.
    pub(crate) fn run_checkpoint(self: &Arc<Self>) {
        if self.journal.has_failed() {
            return self.store_failed(EIO);
        }
        let mut control = self.control.lock();
        if !self.has_session() {
            return;
        }
        let result = self
            .checkpoint(&mut control, STATE_OPEN)
            .and_then(|()| self.narrow_scopes(&mut control));
        drop(control);
        match result {
            Ok(()) => self.kick(),
            Err(ENOSPC | EFBIG) if self.forget_something() => self.kick_checkpoint(),
            Err(ENOMEM) => {
                // Writes may wait for the room that it makes.
                dm::sleep_ms(NO_MEMORY_MS);
                self.kick_checkpoint();
            }
            Err(error) => self.store_failed(error),
        }
    }

    /// A checkpoint does not fit into its area: the oldest bookmark goes, or if there is none, the oldest snapshot. `false`
    /// when there is neither.
    fn forget_something(self: &Arc<Self>) -> bool {
        let timeline = self.timeline();
        if timeline.latest().is_none() {
            return false;
        }
        let oldest = timeline.bookmarks().first().map(|bookmark| bookmark.id);
        drop(timeline);
        match oldest {
            Some(id) => {
                pr_warn!(
                    "{}: the store has no room for all marks: bookmark {id} is forgotten\n",
                    self.identity.live
                );
                if let Err(error) = self.forget_bookmark(id) {
                    pr_err!("{}: that failed: {error:?}\n", self.identity.live);
                }
            }
            None => self.give_up_oldest(c"the store has no room for its checkpoint"),
        }
        true
    }

    /// The store cannot be written: all snapshots end, and that nothing in it can be relied on is said in a
    /// superblock, before any write passes that should have been logged.
    pub(crate) fn store_failed(self: &Arc<Self>, error: Error) {
        self.journal.fail();
        let broken = {
            let mut guard = self.persist.lock();
            let Some(persist) = (*guard).as_mut() else {
                return;
            };
            if self.journal.is_given_up() {
                return;
            }
            persist.superblock.state = U32::new(STATE_BROKEN);
            persist.image_is_exact = false;
            let written = persist.write_superblocks(&self.store_device);
            self.journal.give_up();
            written
        };
        pr_err!(
            "{}: THE STORE FAILED ({error:?}): all snapshots are lost, and changes are tracked in memory only\n",
            self.identity.live
        );
        if let Err(error) = broken {
            pr_err!(
                "{}: that could not be written to the store ({error:?}): do not use its content again\n",
                self.identity.live
            );
        }
        self.give_up_all(c"the store failed");
        self.event(Event::Invalid);
        // Writes may go on.
        self.kick();
    }

    /// Lets incremental scopes take effect whose epochs a checkpoint has saved as closed. The caller holds the
    /// control lock, and has just made the checkpoint.
    fn narrow_scopes(self: &Arc<Self>, control: &mut Control) -> Result {
        let timeline: Arc<Timeline> = self.timeline();
        for snapshot in timeline.snapshots() {
            if !snapshot.is_narrowed() {
                self.make_durable(control, &[crate::entry::Entry::Narrow(snapshot.id)])?;
                snapshot.narrow();
            }
        }
        Ok(())
    }
}
