// SPDX-License-Identifier: GPL-2.0

//! Sessions of a persistent store: from an activation to the suspend that ends it, and growing
//! meanwhile.
//!
//! # States of a store
//!
//! 1. *New*: blank, or nothing in it can be relied on any longer. Formatted by the first
//!    checkpoint.
//! 2. *Recovered*: what it holds is known; nothing has been written yet.
//! 3. *Open*: a session is under way; the superblocks say so.
//! 4. *Closed*: everything is in the checkpoint, and the origin's fingerprint in the superblock.
//! 5. *Failing*: not even a superblock can be written, and `on_error=block` holds back writes that
//!    should be logged. Writing is tried again once a second. Snapshots stay; see
//!    [`upkeep`](crate::engine::upkeep).
//! 6. *Broken*: writes that could not be logged pass. The superblocks say so, if they could be
//!    written.
//!
//! 1, 2 or 4 leads to 3 at preresume, 3 to 4 at postsuspend, 3 to 5 or 6 when a write to the store
//! fails, 5 to 6 when a superblock could be written, or `on_error=continue` is loaded.
//!
//! The next activation finds a store that vanished while it was failing in state 3: its log has
//! every write that passed. A store that vanished while it was broken, before a superblock could
//! say so, is found in state 3 too, or in 4 if its session could not be begun. Whether to believe
//! such a store is decided in [`trust`](crate::store::trust).
//!
//! # Lock order
//!
//! `control`, then `superblocks`, then the gate, then the log.

#![forbid(unsafe_code)]

pub(super) mod checkpoint;
pub(crate) mod disk;
pub(super) mod open;
pub(super) mod superblocks;

use crate::dm::errors::EUCLEAN;
use crate::dm::NoIo;
use crate::engine::boot;
use crate::engine::log::pending::Lane;
use crate::engine::session::open::was_written;
use crate::engine::session::superblocks::Superblocks;
use crate::engine::state::Control;
use crate::engine::Engine;
use crate::format::Entry;
use crate::format::BLOCK_SECTORS;
use crate::format::ON_ERROR_BLOCK;
use crate::format::ON_ERROR_CONTINUE;
use crate::format::STATE_CLOSED;
use crate::format::STATE_OPEN;
use crate::store::LogEnd;
use crate::store::Segments;
use crate::uapi::args::OnError;
use kernel::prelude::*;
use kernel::sync::Arc;
use zerocopy::little_endian::U32;
use zerocopy::little_endian::U64;

impl Engine {
    /// Begins a session; whether the image on disk is all there is to know, and the superblocks say
    /// that the store is open.
    ///
    /// Errors: `EUCLEAN` if others have written to the origin, those of writing superblocks, `EFBIG`,
    /// `ENOMEM`.
    pub(super) fn begin_session(&self, superblocks: &mut Superblocks) -> Result<bool> {
        superblocks.has_tried = true;
        // Since the table was loaded, or the device suspended, others may have written to the
        // origin.
        if superblocks.image_is_exact
            && was_written(
                self.device.origin(),
                &superblocks.superblock,
                &mut superblocks.io,
            )
        {
            return Err(EUCLEAN);
        }
        let grown = superblocks
            .layout
            .grown(self.device.store().sectors() / BLOCK_SECTORS);
        if grown != superblocks.layout {
            let installed = self.store.with_segments(|segments| segments.grow(grown));
            installed.unwrap_or(Ok(()))?;
            superblocks.layout = grown;
            superblocks.layout.store(&mut superblocks.superblock);
        } else if self.store.with_segments(|_| ()).is_none() {
            self.store.set_segments(Segments::new(grown, &[])?);
        }
        let session = superblocks.superblock.session.get() + 1;
        superblocks.superblock.session = U64::new(session);
        superblocks.superblock.state = U32::new(STATE_OPEN);
        superblocks.superblock.boot = boot::id();
        superblocks.superblock.on_error = U32::new(match self.device.options().on_error {
            OnError::Continue => ON_ERROR_CONTINUE,
            OnError::Block => ON_ERROR_BLOCK,
        });
        let end = LogEnd::new(
            superblocks.superblock.store,
            session,
            superblocks.layout,
            superblocks.place,
        );
        let epoch = self.state.timeline().present().map_or(0, |epoch| epoch.id);
        self.log.begin(end, epoch);
        superblocks.is_open = true;
        superblocks.has_begun = false;
        self.store.with_segments(Segments::close_current);
        if !superblocks.image_is_exact {
            return Ok(false);
        }
        superblocks.image_is_exact = false;
        superblocks.write_superblocks(self.device.store())?;
        superblocks.has_begun = true;
        Ok(true)
    }

    /// Makes the closing checkpoint of a session. The device has been suspended, and no copy is in
    /// flight.
    pub(super) fn close_store(self: &Arc<Self>) {
        let _noio = NoIo::enter();
        self.log.wait_until_idle();
        let mut control = self.state.control();
        let saved = match self.log.has_failed() {
            true => {
                self.say_again_that_it_failed();
                Ok(())
            }
            false => self.checkpoint(&mut control, STATE_CLOSED),
        };
        let mut guard = self.superblocks.lock();
        if let Some(superblocks) = (*guard).as_mut() {
            superblocks.is_open = false;
        }
        drop(guard);
        drop(control);
        if let Err(error) = saved {
            // The superblocks still say that it is open, and the log is there: as after a power
            // cut.
            pr_err!(
                "{}: the checkpoint failed ({error:?}); the next activation replays the log\n",
                self.device.live()
            );
        }
    }

    /// Returns true if changes have to be logged. False for a store that has no log or is given up,
    /// and for a session that the disk does not know yet: no write passes before the checkpoint
    /// that begins it, and that has the changes. The caller holds the control lock.
    ///
    /// Errors: `ENODEV` while the device is not active: then the checkpoint that closed the last
    /// session is all that the next one looks at. `EIO` while the store is failing: a change that
    /// the next activation would not find must not be made.
    pub(super) fn is_logging(&self) -> Result<bool> {
        if !self.device.is_persistent() || self.log.is_given_up() {
            return Ok(false);
        }
        let guard = self.superblocks.lock();
        let session = (*guard).as_ref().filter(|superblocks| superblocks.is_open);
        let has_begun = session
            .map(|superblocks| superblocks.has_begun)
            .ok_or(ENODEV)?;
        match self.log.has_failed() {
            true => Err(EIO),
            false => Ok(has_begun),
        }
    }

    pub(super) fn has_session(&self) -> bool {
        let guard = self.superblocks.lock();
        (*guard)
            .as_ref()
            .is_some_and(|superblocks| superblocks.is_open)
    }

    /// Makes entries durable that belong together, before what they say takes effect. Does nothing
    /// for a transient store, or one that is given up, whose superblock says so. The caller holds
    /// the control lock.
    ///
    /// Errors: `ENODEV` while the device is not active, `EIO` if the store has failed and is not
    /// given up, those of a checkpoint, which a short ring needs first.
    pub(super) fn make_durable(
        self: &Arc<Self>,
        control: &mut Control,
        entries: &[Entry],
    ) -> Result {
        if !self.is_logging()? {
            return Ok(());
        }
        self.ensure_ring_room(control)?;
        match self.append(Lane::Control, entries) {
            Some(ticket) => self.log.wait(Lane::Control, ticket),
            None => Err(EIO),
        }
    }

    /// Extends the layout by what the device of the store has become larger by. The caller holds the control lock.
    ///
    /// Errors: `EIO` when the store has failed, those of writing superblocks, `ENOMEM`.
    pub(super) fn grow_layout(&self, superblocks: &mut Superblocks) -> Result {
        if self.log.has_failed() {
            return Err(EIO);
        }
        let blocks = self.device.store().sectors() / BLOCK_SECTORS;
        let grown = superblocks.layout.grown(blocks);
        if grown == superblocks.layout {
            return Ok(());
        }
        // A record that names a new segment must find it in the superblock.
        grown.store(&mut superblocks.superblock);
        superblocks.write_superblocks(self.device.store())?;
        let installed = self.store.with_segments(|segments| segments.grow(grown));
        installed.unwrap_or(Ok(()))?;
        self.log.set_layout(&grown);
        superblocks.layout = grown;
        Ok(())
    }

    /// Writes the broken state to a superblock for the last time: the store may be back.
    fn say_again_that_it_failed(&self) {
        let mut guard = self.superblocks.lock();
        if let Some(superblocks) = (*guard).as_mut().filter(|_| self.log.is_given_up()) {
            // If it is not, that has been told, and is remembered.
            let _ = superblocks.write_broken(self.device.store());
        }
    }
}
