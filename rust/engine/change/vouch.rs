// SPDX-License-Identifier: GPL-2.0

//! Vouching for unproven snapshots and bookmarks; see [`trust`](crate::store::trust).

#![forbid(unsafe_code)]

use crate::dm::NoIo;
use crate::engine::Engine;
use kernel::prelude::*;
use kernel::sync::Arc;
use zerocopy::little_endian::U64;

impl Engine {
    /// Makes durable that the unproven snapshots and bookmarks are right, as somebody vouches for
    /// them. Does nothing for a transient store.
    ///
    /// Errors: `ENODEV` while the device is not active, `EIO` if the store has failed, `ENOMEM`;
    /// those of the device, with which the store fails now.
    pub(crate) fn trust(self: &Arc<Self>) -> Result {
        let _noio = NoIo::enter();
        let told = {
            let _control = self.state.control();
            self.write_trust()
        };
        // Without the lock: it ends the snapshots.
        told.inspect_err(|error| {
            if *error != ENOMEM && *error != ENODEV {
                self.store_failed(*error);
            }
        })
    }

    /// Writes a superblock in which nothing is unproven. The caller holds the control lock.
    fn write_trust(&self) -> Result {
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
