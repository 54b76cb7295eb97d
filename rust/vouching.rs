// SPDX-License-Identifier: GPL-2.0

//! Unproven snapshots and bookmarks, and vouching for them; see [`trust`](crate::trust).

#![forbid(unsafe_code)]

use crate::dm::NoIo;
use crate::engine::Engine;
use crate::errors::EUCLEAN;
use kernel::prelude::*;
use kernel::sync::atomic::Acquire;
use kernel::sync::atomic::Release;
use kernel::sync::Arc;
use zerocopy::little_endian::U64;

impl Engine {
    /// The highest id that is unproven; 0 for none.
    pub(crate) fn unproven(&self) -> u64 {
        self.unproven_up_to.load(Acquire)
    }

    /// Refuses an unproven snapshot or bookmark with `EUCLEAN`. An id of 0 stands for none.
    pub(crate) fn ensure_proven(&self, id: u64) -> Result {
        match id > 0 && id <= self.unproven() {
            true => Err(EUCLEAN),
            false => Ok(()),
        }
    }

    /// Makes durable that the unproven snapshots and bookmarks are right, as somebody vouches for
    /// them. Nothing to do for a transient store. `ENODEV` while the device is not active, `EIO`
    /// when the store has failed or now does.
    pub(crate) fn trust(self: &Arc<Self>) -> Result {
        let _noio = NoIo::enter();
        let told = {
            let _control = self.control.lock();
            self.write_trust()
        };
        // Without the lock: it ends the snapshots.
        told.inspect_err(|error| {
            if *error != ENOMEM && *error != ENODEV {
                self.store_failed(*error);
            }
        })
    }

    /// The caller holds the control lock.
    fn write_trust(&self) -> Result {
        let mut guard = self.persist.lock();
        let Some(persist) = (*guard).as_mut() else {
            return Ok(());
        };
        if !persist.is_open || !persist.has_begun {
            return Err(ENODEV);
        }
        if self.journal.has_failed() {
            return Err(EIO);
        }
        let unproven = core::mem::replace(&mut persist.superblock.unproven, U64::new(0));
        if unproven.get() == 0 {
            return Ok(());
        }
        let written = persist.write_superblocks(&self.store_device);
        if written.is_err() {
            persist.superblock.unproven = unproven;
            return written;
        }
        self.unproven_up_to.store(0, Release);
        pr_info!(
            "{}: the snapshots and bookmarks up to {} are vouched for\n",
            self.identity.live,
            unproven.get()
        );
        Ok(())
    }
}
