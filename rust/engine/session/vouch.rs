// SPDX-License-Identifier: GPL-2.0

//! Vouching for unproven snapshots and bookmarks; see [`trust`](crate::store::trust).

#![forbid(unsafe_code)]

use crate::engine::session::Session;
use kernel::prelude::*;
use zerocopy::little_endian::U64;

impl Session {
    /// Makes durable that nothing is unproven. Does nothing for a transient store.
    ///
    /// Errors: `ENODEV` while the device is not active, `EIO` when the store has failed, those of
    /// writing superblocks.
    pub(in crate::engine) fn vouch(&self) -> Result {
        let _control = self.state.control();
        let mut guard = self.superblocks.lock();
        let Some(superblocks) = (*guard).as_mut() else {
            return Ok(());
        };
        if !superblocks.is_open || !superblocks.has_begun {
            return Err(ENODEV);
        }
        if self.log.has_failed() {
            return Err(EIO);
        }
        let unproven = core::mem::replace(&mut superblocks.superblock.unproven, U64::new(0));
        if unproven.get() == 0 {
            return Ok(());
        }
        let written = superblocks.write_superblocks(self.device.store());
        if written.is_err() {
            superblocks.superblock.unproven = unproven;
            return written;
        }
        self.state.set_proven();
        pr_info!(
            "{}: the snapshots and bookmarks up to {} are vouched for\n",
            self.device.live(),
            unproven.get()
        );
        Ok(())
    }
}
