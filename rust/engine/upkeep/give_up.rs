// SPDX-License-Identifier: GPL-2.0

//! What is given up when the store is full or cannot be written: states 5 and 6 of
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

use crate::dm;
use crate::engine::events::Event;
use crate::engine::phase::Phase;
use crate::engine::reserves::NO_MEMORY_MS;
use crate::engine::upkeep::Upkeep;
use crate::uapi::args::OnError;
use kernel::prelude::*;
use kernel::sync::Arc;

/// How long to wait before trying again to write to a store that fails, in milliseconds.
const FAILING_MS: u32 = 1000;

impl Upkeep {
    /// Handles a store that cannot be written. Writes the broken state to a superblock; then the
    /// store is given up: all snapshots end, and writes pass that should have been logged.
    ///
    /// If no superblock can be written, `on_error=` decides: the store is given up too, or it is
    /// *failing*: writes wait, and it keeps its snapshots.
    pub(in crate::engine) fn store_failed(self: &Arc<Self>, error: Error) {
        self.log.fail();
        // Contents that wait for a record come back, also when none is in flight that would see to
        // that.
        self.log.give_back_waiting();
        let regardless = || self.device.options().on_error == OnError::Continue;
        let Some(broken) = self.session.write_broken(regardless) else {
            return;
        };
        match broken.is_given_up {
            true => self.end_snapshots(error, broken.written),
            false if broken.is_first => self.hold_writes(error),
            false => (),
        }
        // Writes may go on, or learn that they have to wait for something else.
        self.waker.look_again();
    }

    /// Gives the store up, as a foreign table has the place of the live device's: whoever activates
    /// the device again must find that writes have passed which the store does not know of. The
    /// engine ends.
    pub(in crate::engine) fn store_bypassed(self: &Arc<Self>) {
        self.log.fail();
        let Some(broken) = self.session.write_broken(|| true) else {
            return;
        };
        pr_err!(
            "{}: another table has the place of this one, and writes go past the store: all \
             snapshots are lost; once the table is back, make a full backup\n",
            self.device.live()
        );
        self.tell_unwritten(broken.written);
    }

    /// Gives up all snapshots, as the log is given up: no write waits for the store any longer, and
    /// nobody has what it preserved.
    fn end_snapshots(self: &Arc<Self>, error: Error, written: Result) {
        pr_err!(
            "{}: THE STORE FAILED ({error:?}): all snapshots are lost, and changes are tracked in \
             memory only; once the store is mended, remove and create the device, and make a full \
             backup\n",
            self.device.live()
        );
        self.give_up_all(c"the store failed");
        self.events.add(Event::Invalid);
        self.events.add(Event::Failed);
        self.tell_unwritten(written);
    }

    /// Tells that the store does not say that it is given up, if that is so.
    fn tell_unwritten(&self, written: Result) {
        if let Err(error) = written {
            pr_err!(
                "{}: that could not be written to the store ({error:?}): do not use its content \
                 again\n",
                self.device.live()
            );
        }
    }

    /// Tells that the store is failing from now on, and starts the checkpoint's work, which tries
    /// again.
    fn hold_writes(self: &Arc<Self>, error: Error) {
        pr_err!(
            "{}: THE STORE FAILED ({error:?}), and not even a superblock can be written: writes \
             wait until one can, or until on_error=continue is loaded, and that ends all \
             snapshots; they stay if the device is removed (without force), or the machine \
             restarted, before the store is mended\n",
            self.device.live()
        );
        self.events.add(Event::Blocked);
        self.start_checkpoint();
    }

    /// Writes the broken state to a superblock; retries while writes are blocked on it.
    pub(super) fn give_up_store(self: &Arc<Self>) {
        self.store_failed(EIO);
        if self.log.is_failing() && self.phases.now() == Phase::Active {
            dm::sleep_ms(FAILING_MS);
            self.start_checkpoint();
        }
    }

    /// Gives up the oldest snapshot, so that writes can go on. Does nothing while the store is
    /// failing: writes wait for it.
    pub(in crate::engine) fn give_up_oldest(self: &Arc<Self>, why: &CStr) {
        let timeline = self.state.timeline();
        let mut live = timeline
            .snapshots()
            .iter()
            .filter(|snapshot| !snapshot.is_dropped());
        let Some(oldest) = live.next() else {
            return;
        };
        let id = oldest.id;
        match self.changes.give_up_snapshot(id) {
            Ok(is_tidy) => {
                if !is_tidy {
                    self.tidy_soon();
                }
            }
            // Somebody else was quicker; or the device has just been suspended, with a checkpoint
            // that has what is here.
            Err(ENOENT | ENODEV) => return,
            // The ring is short, and the checkpoint that it needs does not fit, or there is no
            // memory for it. Its work sees to that, and who needs room in the store asks again.
            Err(ENOMEM | ENOSPC | EFBIG) => {
                self.start_checkpoint();
                dm::sleep_ms(NO_MEMORY_MS);
                return;
            }
            // It cannot be logged, and must not take effect before it is: the store is given up,
            // and with it all snapshots.
            Err(error) => return self.store_failed(error),
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
        self.events.add(Event::Invalid);
    }

    /// Gives up all snapshots. The store must be transient or given up.
    pub(in crate::engine) fn give_up_all(self: &Arc<Self>, why: &CStr) {
        let live = self.state.timeline();
        for _ in live
            .snapshots()
            .iter()
            .filter(|snapshot| !snapshot.is_dropped())
        {
            self.give_up_oldest(why);
        }
    }
}
