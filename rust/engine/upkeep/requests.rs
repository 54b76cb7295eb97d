// SPDX-License-Identifier: GPL-2.0

//! What users ask for that has consequences: taking and dropping snapshots, vouching for unproven
//! ones.

#![forbid(unsafe_code)]

use crate::dm::NoIo;
use crate::engine::events::Event;
use crate::engine::upkeep::Upkeep;
use crate::uapi::args::ScopeWanted;
use kernel::prelude::*;
use kernel::sync::Arc;

impl Upkeep {
    /// Takes a snapshot and drops the oldest ones, so that `keep` are left with it. Returns its id.
    ///
    /// Errors: `ENOENT` for an unknown base, `EUCLEAN` for an unproven one, `EOVERFLOW` if too many
    /// were taken since, `ENODEV` while a device with a persistent store is not active, `EIO` if
    /// that store has failed, `ENOMEM`, those of a checkpoint and of the origin's flush.
    pub fn take_snapshot(self: &Arc<Self>, scope: ScopeWanted, keep: u32) -> Result<u64> {
        let _noio = NoIo::enter();
        let (id, has_dropped) = self.changes.take_snapshot(scope, keep)?;
        if self.log.is_given_up() {
            // Since it was asked; whoever ended all snapshots may not have seen this one.
            self.give_up_all(c"the store failed");
            return Err(EIO);
        }
        self.start_checkpoint();
        if has_dropped {
            self.events.add(Event::Dropped);
        }
        self.events.add(Event::Snapshot);
        Ok(id)
    }

    /// Drops a snapshot; its bookmark stays.
    ///
    /// Errors: `ENOENT` if there is none with this id, `ENODEV` while a device with a persistent
    /// store is not active, `EIO` if that store has failed, `ENOMEM`, those of a checkpoint.
    pub fn drop_snapshot(&self, id: u64) -> Result {
        self.changes.drop_snapshot(id)?;
        self.events.add(Event::Dropped);
        Ok(())
    }

    /// Makes durable that the unproven snapshots and bookmarks are right, as somebody vouches for
    /// them. Does nothing for a transient store.
    ///
    /// Errors: `ENODEV` while the device is not active, `EIO` if the store has failed, `ENOMEM`;
    /// those of the device, with which the store fails now.
    pub fn trust(self: &Arc<Self>) -> Result {
        let _noio = NoIo::enter();
        self.session.vouch().inspect_err(|error| {
            if *error != ENOMEM && *error != ENODEV {
                self.store_failed(*error);
            }
        })
    }
}
