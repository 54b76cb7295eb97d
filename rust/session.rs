// SPDX-License-Identifier: GPL-2.0

//! Sessions of a persistent store: from an activation to the suspend that ends it, and growing meanwhile.
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
//! write has passed that it does not know of. One that goes while it is broken, and could not be
//! told so, is found as 3 too, or as 4 if its session could not be begun: whether to believe it is
//! decided in [`trust`](crate::trust).
//!
//! # Lock order
//!
//! `control`, then `persist`, then the gate, then the journal.

#![forbid(unsafe_code)]

use crate::args::OnError;
use crate::boot;
use crate::checkpoint::NO_MEMORY_MS;
use crate::dm;
use crate::dm::NoIo;
use crate::engine::Engine;
use crate::errors::EUCLEAN;
use crate::logbook::Logbook;
use crate::ondisk::BLOCK_SECTORS;
use crate::ondisk::ON_ERROR_BLOCK;
use crate::ondisk::ON_ERROR_CONTINUE;
use crate::ondisk::STATE_CLOSED;
use crate::ondisk::STATE_OPEN;
use crate::persist::was_written;
use crate::persist::Persist;
use crate::segments::Segments;
use kernel::prelude::*;
use kernel::sync::Arc;
use zerocopy::little_endian::U32;
use zerocopy::little_endian::U64;

/// How often a checkpoint that lacks memory is tried while a device waits to be resumed.
const NO_MEMORY_TIMES: u32 = 100;

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
        persist.has_tried = true;
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
        persist.superblock.boot = boot::id();
        persist.superblock.on_error = U32::new(match self.options().on_error {
            OnError::Continue => ON_ERROR_CONTINUE,
            OnError::Block => ON_ERROR_BLOCK,
        });
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

    /// The device has been suspended, and no copy is in flight: everything is saved, and the store closed.
    pub(crate) fn close_store(self: &Arc<Self>) {
        let _noio = NoIo::enter();
        self.journal.wait_until_idle();
        let mut control = self.control.lock();
        let saved = match self.journal.has_failed() {
            true => {
                self.say_again_that_it_failed();
                Ok(())
            }
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

    pub(crate) fn has_session(&self) -> bool {
        let guard = self.persist.lock();
        (*guard).as_ref().is_some_and(|persist| persist.is_open)
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
}
