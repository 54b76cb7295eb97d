// SPDX-License-Identifier: GPL-2.0

//! Begins and ends [sessions](crate::engine::session), and grows the store meanwhile.

#![forbid(unsafe_code)]

use crate::dm::errors::EUCLEAN;
use crate::dm::NoIo;
use crate::engine::boot;
use crate::engine::session::open::was_written;
use crate::engine::session::superblocks::Superblocks;
use crate::engine::session::Session;
use crate::format::BLOCK_SECTORS;
use crate::format::ON_ERROR_BLOCK;
use crate::format::ON_ERROR_CONTINUE;
use crate::format::STATE_CLOSED;
use crate::format::STATE_OPEN;
use crate::store::LogEnd;
use crate::store::Segments;
use crate::uapi::args::OnError;
use kernel::prelude::*;
use zerocopy::little_endian::U32;
use zerocopy::little_endian::U64;

impl Session {
    /// Begins a session. Returns true if the image on disk is all there is to know, and the
    /// superblocks say that the store is open; false if a checkpoint has to follow. Does nothing
    /// for a transient store.
    ///
    /// Errors: `EUCLEAN` if others have written to the origin, those of writing superblocks,
    /// `EFBIG`, `ENOMEM`.
    pub(in crate::engine) fn begin(&self) -> Result<bool> {
        let _control = self.state.control_at_rest();
        let mut guard = self.superblocks.lock();
        match (*guard).as_mut() {
            Some(superblocks) => self.begin_with(superblocks),
            None => Ok(true),
        }
    }

    fn begin_with(&self, superblocks: &mut Superblocks) -> Result<bool> {
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
            let installed = self.space.with_segments(|segments| segments.grow(grown));
            installed.unwrap_or(Ok(()))?;
            superblocks.layout = grown;
            superblocks.layout.store(&mut superblocks.superblock);
        } else if self.space.with_segments(|_| ()).is_none() {
            self.space.set_segments(Segments::new(grown, &[])?);
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
        self.space.with_segments(Segments::close_current);
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
    pub(in crate::engine) fn close(&self) {
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

    /// Extends the layout by what the device of the store has become larger by.
    ///
    /// Errors: `ENODEV` while the device is not active, `EIO` when the store has failed, those of
    /// writing superblocks, `ENOMEM`.
    pub(in crate::engine) fn grow(&self) -> Result {
        let _control = self.state.control();
        let mut guard = self.superblocks.lock();
        let session = (*guard).as_mut().filter(|superblocks| superblocks.is_open);
        let superblocks = session.ok_or(ENODEV)?;
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
        // The log must know where a new segment is before it gets one.
        self.log.set_layout(&grown);
        let installed = self.space.with_segments(|segments| segments.grow(grown));
        installed.unwrap_or(Ok(()))?;
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
