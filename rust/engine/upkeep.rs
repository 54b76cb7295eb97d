// SPDX-License-Identifier: GPL-2.0

//! What happens when a persistent store cannot be written: states 5 and 6 of
//! [`session`](crate::engine::session).
//!
//! # While a store is failing
//!
//! Nothing can be logged, and the store does not say so: the next activation may find its log, and
//! takes it for all that has happened. So only what is durable takes effect in memory. Above all,
//! no snapshot is dropped: need stays as it is, and a write that needs a copy or an announcement
//! waits. Other writes pass, since the log covers them: those of marked chunks, and those of
//! unneeded chunks in regions whose announcement is durable.
//!
//! A record whose write has failed may be on the disk all the same, or not. Memory must agree with
//! the disk in both cases. An entry that shrinks need takes no effect in memory: preserving more
//! than the disk asks for is right. An epoch, in contrast, does begin in memory: no chunk is marked
//! and no region announced in it, so every write waits, and it makes no difference whether the disk
//! has it.

#![forbid(unsafe_code)]

mod checkpoints;

use crate::dm;
use crate::dm::NoIo;
use crate::engine::events::Event;
use crate::engine::phase::Phase;
use crate::engine::Engine;
use crate::uapi::args::OnError;
use crate::uapi::args::ScopeWanted;
use kernel::prelude::*;
use kernel::sync::atomic::Full;
use kernel::sync::atomic::Relaxed;
use kernel::sync::Arc;

/// How long to wait before trying again to write to a store that fails, in milliseconds.
const FAILING_MS: u32 = 1000;

impl Engine {
    /// Returns true while writes wait that should be logged, as the store cannot be written.
    pub(crate) fn is_failing(&self) -> bool {
        self.log.has_failed() && !self.log.is_given_up()
    }

    /// Handles a store that cannot be written. Writes the broken state to a superblock; then the
    /// store is given up: all snapshots end, and writes pass that should have been logged.
    ///
    /// If no superblock can be written, `on_error=` decides: the store is given up too, or it is
    /// *failing*: writes wait, and it keeps its snapshots.
    pub(super) fn store_failed(self: &Arc<Self>, error: Error) {
        self.log.fail();
        // Contents that wait for a record come back, also when none is in flight that would see to
        // that.
        self.form_appended();
        let (broken, is_given_up, is_first) = {
            let mut guard = self.superblocks.lock();
            let Some(superblocks) = (*guard).as_mut() else {
                return;
            };
            if self.log.is_given_up() {
                return;
            }
            let written = superblocks.write_broken(self.device.store());
            let is_given_up =
                written.is_ok() || self.device.options().on_error == OnError::Continue;
            if is_given_up {
                self.log.give_up();
            }
            let is_first = !core::mem::replace(&mut superblocks.is_failing, true);
            (written, is_given_up, is_first)
        };
        match is_given_up {
            true => self.end_snapshots(error, broken),
            false if is_first => self.hold_writes(error),
            false => (),
        }
        // Writes may go on, or learn that they have to wait for something else.
        self.kick();
    }

    /// Gives up all snapshots, as the log is given up: no write waits for the store any longer, and
    /// nobody has what it preserved.
    fn end_snapshots(self: &Arc<Self>, error: Error, broken: Result) {
        pr_err!(
            "{}: THE STORE FAILED ({error:?}): all snapshots are lost, and changes are tracked in memory only; once the store is mended, remove and create the device, and make a full backup\n",
            self.device.live()
        );
        self.give_up_all(c"the store failed");
        self.events.add(Event::Invalid);
        self.events.add(Event::Failed);
        if let Err(error) = broken {
            pr_err!(
                "{}: that could not be written to the store ({error:?}): do not use its content again\n",
                self.device.live()
            );
        }
    }

    /// Tells that the store is failing from now on, and starts the checkpoint's work, which tries
    /// again.
    fn hold_writes(self: &Arc<Self>, error: Error) {
        pr_err!(
            "{}: THE STORE FAILED ({error:?}), and not even a superblock can be written: writes wait until one can, or until on_error=continue is loaded, and that ends all snapshots; they stay if the device is removed (without force), or the machine restarted, before the store is mended\n",
            self.device.live()
        );
        self.events.add(Event::Blocked);
        self.kick_checkpoint();
    }

    /// Writes the broken state to a superblock; retries while writes are blocked on it.
    pub(super) fn give_up_store(self: &Arc<Self>) {
        self.store_failed(EIO);
        if self.is_failing() && self.phases.now() == Phase::Active {
            dm::sleep_ms(FAILING_MS);
            self.kick_checkpoint();
        }
    }

    /// Takes a snapshot and drops the oldest ones, so that `keep` are left with it. Returns its id.
    ///
    /// Errors: `ENOENT` for an unknown base, `EUCLEAN` for an unproven one, `EOVERFLOW` if too many
    /// were taken since, `ENODEV` while a device with a persistent store is not active, `EIO` if
    /// that store has failed, `ENOMEM`, those of a checkpoint and of the origin's flush.
    pub(crate) fn take_snapshot(self: &Arc<Self>, scope: ScopeWanted, keep: u32) -> Result<u64> {
        let _noio = NoIo::enter();
        let (id, has_dropped) = self.begin_snapshot(scope, keep)?;
        if self.log.is_given_up() {
            // Since it was asked; whoever ended all snapshots may not have seen this one.
            self.give_up_all(c"the store failed");
            return Err(EIO);
        }
        self.kick_checkpoint();
        if has_dropped {
            self.events.add(Event::Dropped);
        }
        self.events.add(Event::Snapshot);
        Ok(id)
    }

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

    /// Gives up the oldest snapshot, so that writes can go on. Does nothing while the store is
    /// failing: writes wait for it.
    pub(super) fn give_up_oldest(self: &Arc<Self>, why: &CStr) {
        let timeline = self.state.timeline();
        let mut live = timeline
            .snapshots()
            .iter()
            .filter(|snapshot| !snapshot.is_dropped());
        let Some(oldest) = live.next() else {
            return;
        };
        let id = oldest.id;
        if let Err(error) = self.end_snapshot(id) {
            if error == ENOENT || error == ENODEV {
                // Somebody else was quicker; or the device has just been suspended, with a
                // checkpoint that has what is here.
                return;
            }
            if self.device.is_persistent() && !self.log.is_given_up() {
                // It cannot be logged, and must not take effect before it is: the store is given
                // up, and with it all snapshots.
                return self.store_failed(error);
            }
            // The store is transient or given up; there was no memory. The flag needs none. Freeing
            // its copies has to wait for the next change.
            oldest.set_dropped();
        }
        self.device.counters().invalidated.add(1);
        let advice = match self.log.is_given_up() {
            true => "",
            false => "; take another one",
        };
        pr_warn!(
            "{}: snapshot {id} is given up: {}{advice}\n",
            self.device.live(),
            why.to_str().unwrap_or("")
        );
        // Writes may wait that it needs no longer.
        self.kick();
        self.events.add(Event::Invalid);
    }

    /// Gives up all snapshots. The store must be transient or given up.
    pub(super) fn give_up_all(self: &Arc<Self>, why: &CStr) {
        let live = self.state.timeline();
        for _ in live
            .snapshots()
            .iter()
            .filter(|snapshot| !snapshot.is_dropped())
        {
            self.give_up_oldest(why);
        }
    }

    /// Sends an event when the store has filled beyond the low-space mark. Sends no other before it
    /// has emptied below the mark.
    pub(super) fn watch_space(self: &Arc<Self>) {
        let (capacity, used) = self.store_space();
        let low =
            used.saturating_mul(100) >= capacity.saturating_mul(self.device.options().low_space);
        // Looked at first, as it hardly ever changes.
        if self.low_space.load(Relaxed) != low && self.low_space.xchg(low, Full) != low && low {
            self.events.add(Event::LowSpace);
        }
    }
}
