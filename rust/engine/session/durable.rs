// SPDX-License-Identifier: GPL-2.0

//! Makes what changes history durable, before it takes effect.

#![forbid(unsafe_code)]

use crate::engine::log::pending::Lane;
use crate::engine::session::Session;
use crate::engine::state::Control;
use crate::format::Entry;
use crate::format::STATE_OPEN;
use crate::store::RING_RESERVE;
use kernel::prelude::*;

impl Session {
    /// Makes entries durable that belong together, before what they say takes effect. Does nothing
    /// for a transient store, or one that is given up, whose superblock says so. The caller holds
    /// the control lock.
    ///
    /// Errors: `ENODEV` while the device is not active, `EIO` if the store has failed and is not
    /// given up, those of a checkpoint, which a short ring needs first.
    pub(in crate::engine) fn make_durable(
        &self,
        control: &mut Control,
        entries: &[Entry],
    ) -> Result {
        if !self.is_logging()? {
            return Ok(());
        }
        self.ensure_ring_room(control)?;
        match self.log.append(Lane::Control, entries) {
            Some(ticket) => self.log.wait(Lane::Control, ticket),
            None => Err(EIO),
        }
    }

    /// Makes a checkpoint before control entries are logged if the ring is short of blocks. The
    /// caller holds the control lock.
    ///
    /// Errors: those of `checkpoint`, such as `ENOSPC`.
    pub(in crate::engine) fn ensure_ring_room(&self, control: &mut Control) -> Result {
        let is_logging = self.device.is_persistent() && !self.log.has_failed();
        if is_logging && self.log.ring().0 <= RING_RESERVE / 2 {
            // What failed here is seen to by the checkpoint's work.
            self.checkpoint(control, STATE_OPEN)
                .inspect_err(|_| self.waker.start_checkpoint())?;
        }
        Ok(())
    }
}
