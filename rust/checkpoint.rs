// SPDX-License-Identifier: GPL-2.0

//! The persistent side of an engine: recovery, sessions, checkpoints, and giving up.
//!
//! # States of a store
//!
//! 1. *New*: blank, or nothing in it can be relied on any longer. Formatted by the first checkpoint.
//! 2. *Recovered*: what it holds is known; nothing has been written yet.
//! 3. *Open*: a session is under way; the superblocks say so.
//! 4. *Closed*: everything is in the checkpoint, and the origin's fingerprint in the superblock.
//! 5. *Failing*: it cannot be written, not even a superblock, and `on_error=block` holds writes back that should be logged.
//!    Tried again once a second.
//! 6. *Broken*: writes pass that could not be logged; the superblocks say so, if they could be written.
//!
//! 1, 2 or 4 leads to 3 at preresume, 3 to 4 at postsuspend, 3 to 5 or 6 when a write to the store fails, 5 to 6 when a superblock
//! could be written, or `on_error=continue` is loaded. A store that goes while it is failing is found as 3 by the next activation: no
//! write has passed that it does not know of.
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

use crate::args::OnError;
use crate::copies::Copies;
use crate::dm;
use crate::dm::NoIo;
use crate::engine::no_regions;
use crate::engine::Control;
use crate::engine::Engine;
use crate::engine::Phase;
use crate::engine::Timeline;
use crate::errors::EUCLEAN;
use crate::events::Event;
use crate::image::ImageWriter;
use crate::logbook::Logbook;
use crate::logbook::Place;
use crate::logbook::RING_RESERVE;
use crate::ondisk::BLOCK_SECTORS;
use crate::ondisk::STATE_CLOSED;
use crate::ondisk::STATE_OPEN;
use crate::persist::fingerprint;
use crate::persist::was_written;
use crate::persist::Persist;
use crate::saved;
use crate::saved::State;
use crate::segments::Segments;
use kernel::prelude::*;
use kernel::sync::atomic::Relaxed;
use kernel::sync::Arc;
use zerocopy::little_endian::U32;
use zerocopy::little_endian::U64;

/// How long to wait for memory, in milliseconds.
const NO_MEMORY_MS: u32 = 100;
/// How often that is tried while a device waits to be resumed.
const NO_MEMORY_TIMES: u32 = 100;
/// How long to wait before trying again to write to a store that fails, in milliseconds.
const FAILING_MS: u32 = 1000;

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
            false => self.first_checkpoint(),
        });
        if let Err(error) = saved {
            self.store_failed(error);
        }
    }

    /// Tried for some time when there is no memory: what has been recovered is worth the wait.
    fn first_checkpoint(self: &Arc<Self>) -> Result {
        for _ in 0..NO_MEMORY_TIMES {
            match self.checkpoint_now() {
                Err(ENOMEM) => {
                    dm::sleep_ms(NO_MEMORY_MS);
                }
                saved => return saved,
            }
        }
        self.checkpoint_now()
    }

    /// Begins a session; whether the image on disk is all there is to know, and the superblocks say that the store is open.
    fn begin_session(&self, persist: &mut Persist) -> Result<bool> {
        // Since the table was loaded, or the device suspended, others may have written to the origin.
        if persist.image_is_exact && was_written(&self.origin, &persist.superblock, &mut persist.io)
        {
            return Err(EUCLEAN);
        }
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
        persist.has_begun = false;
        self.store.with_segments(Segments::close_current);
        if !persist.image_is_exact {
            return Ok(false);
        }
        persist.image_is_exact = false;
        persist.write_superblocks(&self.store_device)?;
        persist.has_begun = true;
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
            next_id: self.next_id.load(Relaxed),
            sectors: self.geometry().sectors(),
            timeline: self.timeline(),
            designation: self.designation(),
        };
        self.save(persist, &known, state)?;
        let image_blocks = persist.superblock.image_used.get();
        let some_wait = self.journal.trim(&place, &persist.layout, image_blocks);
        self.store
            .with_segments(|segments| segments.free_waiting(waiting));
        if some_wait {
            self.kick_journal();
        }
        Ok(())
    }

    fn save(&self, persist: &mut Persist, known: &State<Copies>, state: u32) -> Result {
        if persist.is_unsure {
            // It may be the one that counts: its image must not be overwritten before that is known.
            persist.write_superblocks(&self.store_device)?;
        }
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
            // A power cut after this must not make the fingerprint another one.
            if let Err(error) = self.origin.flush() {
                pr_warn!(
                    "{}: the origin cannot be flushed: {error:?}\n",
                    self.identity.live
                );
            }
            let print = fingerprint(&self.origin, known.sectors, &mut persist.io);
            persist.superblock.fingerprint = U32::new(print);
        }
        persist.write_superblocks(&self.store_device)?;
        persist.place = Place {
            content: 0,
            content_end: 0,
            ..known.place
        };
        persist.has_begun = true;
        persist.image_is_exact = state == STATE_CLOSED;
        Ok(())
    }

    /// Uses what the store's device has become larger by, while everything goes on. `EIO` when the store has failed or now does,
    /// `ENODEV` while the device is not active.
    pub(crate) fn grow_store(self: &Arc<Self>) -> Result {
        let _noio = NoIo::enter();
        let grown = match self.is_persistent() {
            true => self.grow_segments(),
            false => {
                let chunks = self.shape.chunk(self.store_device.sectors());
                self.store.pool.lock().grow(chunks);
                Ok(())
            }
        };
        self.watch_space();
        // Writes that wait for space.
        self.kick();
        grown
    }

    fn grow_segments(self: &Arc<Self>) -> Result {
        let grown = {
            let _control = self.control.lock();
            let mut guard = self.persist.lock();
            let session = (*guard).as_mut().filter(|persist| persist.is_open);
            self.grow_layout(session.ok_or(ENODEV)?)
        };
        // Without the locks: it ends the snapshots.
        grown.inspect_err(|error| {
            if *error != ENOMEM {
                self.store_failed(*error);
            }
        })
    }

    fn grow_layout(&self, persist: &mut Persist) -> Result {
        if self.journal.has_failed() {
            return Err(EIO);
        }
        let blocks = self.store_device.sectors() / BLOCK_SECTORS;
        let grown = persist.layout.grown(blocks);
        if grown == persist.layout {
            return Ok(());
        }
        // A record that names a new segment must find it in the superblock.
        grown.store(&mut persist.superblock);
        persist.write_superblocks(&self.store_device)?;
        let installed = self.store.with_segments(|segments| segments.grow(grown));
        installed.unwrap_or(Ok(()))?;
        self.journal.set_layout(&grown);
        persist.layout = grown;
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
        let is_logging = self.is_persistent() && !self.journal.has_failed();
        if is_logging && self.journal.ring().0 <= RING_RESERVE / 2 {
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

    /// Whether changes have to be logged, as opposed to a store that has none or has failed, and to a session of which the disk knows
    /// nothing yet: no write passes before the checkpoint that begins it, which has them. `ENODEV` while the device is not active: then the
    /// checkpoint that closed the last session is all that the next one looks at. The caller holds the control lock.
    pub(crate) fn is_logging(&self) -> Result<bool> {
        if !self.is_persistent() || self.journal.has_failed() {
            return Ok(false);
        }
        let guard = self.persist.lock();
        let session = (*guard).as_ref().filter(|persist| persist.is_open);
        session.map(|persist| persist.has_begun).ok_or(ENODEV)
    }

    fn has_session(&self) -> bool {
        let guard = self.persist.lock();
        (*guard).as_ref().is_some_and(|persist| persist.is_open)
    }

    /// The checkpoint's work.
    pub(crate) fn run_checkpoint(self: &Arc<Self>) {
        if self.journal.has_failed() {
            return self.give_up_store();
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

    /// The store failed before. Says so in it, tried again as long as that holds writes back.
    fn give_up_store(self: &Arc<Self>) {
        self.store_failed(EIO);
        if self.is_failing() && self.phase() == Phase::Active {
            dm::sleep_ms(FAILING_MS);
            self.kick_checkpoint();
        }
    }

    /// Whether writes wait that should be logged, as the store cannot be written.
    pub(crate) fn is_failing(&self) -> bool {
        self.journal.has_failed() && !self.journal.is_given_up()
    }

    /// The store cannot be written: all snapshots end, and that nothing in it can be relied on is said in a
    /// superblock, before any write passes that should have been logged. If that is not possible, `on_error=` says
    /// whether these writes go on.
    pub(crate) fn store_failed(self: &Arc<Self>, error: Error) {
        self.journal.fail();
        let (broken, is_first) = {
            let mut guard = self.persist.lock();
            let Some(persist) = (*guard).as_mut() else {
                return;
            };
            if self.journal.is_given_up() {
                return;
            }
            let written = persist.write_broken(&self.store_device);
            if written.is_ok() || self.options().on_error == OnError::Continue {
                self.journal.give_up();
            }
            (written, !core::mem::replace(&mut persist.is_failing, true))
        };
        if is_first {
            pr_err!(
                "{}: THE STORE FAILED ({error:?}): all snapshots are lost, and changes are tracked in memory only\n",
                self.identity.live
            );
            self.give_up_all(c"the store failed");
            self.event(Event::Invalid);
        }
        match broken {
            Err(_) if self.is_failing() && is_first => {
                pr_err!(
                    "{}: not even a superblock can be written: writes wait until one can, or until on_error=continue is loaded\n",
                    self.identity.live
                );
                self.event(Event::Blocked);
                // Tries again.
                self.kick_checkpoint();
            }
            Err(_) if self.is_failing() => (),
            Err(error) => pr_err!(
                "{}: that could not be written to the store ({error:?}): do not use its content again\n",
                self.identity.live
            ),
            Ok(()) => (),
        }
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
