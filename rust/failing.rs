// SPDX-License-Identifier: GPL-2.0

//! What happens when a persistent store cannot be written: states 5 and 6 of [`session`](crate::session).

#![forbid(unsafe_code)]

use crate::args::OnError;
use crate::dm;
use crate::engine::Engine;
use crate::events::Event;
use crate::phases::Phase;
use kernel::prelude::*;
use kernel::sync::Arc;

/// How long to wait before trying again to write to a store that fails, in milliseconds.
const FAILING_MS: u32 = 1000;

impl Engine {
    /// Whether writes wait that should be logged, as the store cannot be written.
    pub(crate) fn is_failing(&self) -> bool {
        self.journal.has_failed() && !self.journal.is_given_up()
    }

    /// The store cannot be written: all snapshots end, and that nothing in it can be relied on is said in a
    /// superblock, before any write passes that should have been logged. If that is not possible, `on_error=` says
    /// whether these writes go on.
    pub(crate) fn store_failed(self: &Arc<Self>, error: Error) {
        self.journal.fail();
        // Contents that wait for a record come back, also when none is in flight that would see to that.
        self.log_added();
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
                "{}: THE STORE FAILED ({error:?}): all snapshots are lost, and changes are tracked in memory only; once the store is mended, remove and create the device, and make a full backup\n",
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
        if self.journal.is_given_up() {
            self.event(Event::Failed);
        }
        // Writes may go on.
        self.kick();
    }

    /// Tries for the last time to say in the store that it failed: it may be back.
    pub(crate) fn say_again_that_it_failed(&self) {
        let mut guard = self.persist.lock();
        if let Some(persist) = (*guard).as_mut().filter(|_| self.journal.is_given_up()) {
            // If it is not, that has been told, and is remembered.
            let _ = persist.write_broken(&self.store_device);
        }
    }

    /// The store failed before. Says so in it, tried again as long as that holds writes back.
    pub(crate) fn give_up_store(self: &Arc<Self>) {
        self.store_failed(EIO);
        if self.is_failing() && self.phase() == Phase::Active {
            dm::sleep_ms(FAILING_MS);
            self.kick_checkpoint();
        }
    }
}
