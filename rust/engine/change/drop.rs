// SPDX-License-Identifier: GPL-2.0

//! Dropping snapshots, forgetting bookmarks, and giving snapshots up.
//!
//! What shrinks need from outside (a drop, a release, a narrower scope) is durable before it takes
//! effect. A snapshot is dropped without that in three cases only: in a transient store; when the
//! log is given up; and before a session has begun, in whose first checkpoint it is.

#![forbid(unsafe_code)]

use crate::dm::NoIo;
use crate::engine::events::Event;
use crate::engine::state::Timeline;
use crate::engine::Engine;
use crate::format::Entry;
use crate::history::Change;
use kernel::prelude::*;
use kernel::sync::Arc;

impl Engine {
    /// Drops a snapshot; its bookmark stays.
    ///
    /// Errors: `ENOENT` if there is none with this id, `ENOMEM`, those of [`Engine::make_durable`].
    pub(crate) fn drop_snapshot(self: &Arc<Self>, id: u64) -> Result {
        self.end_snapshot(id)?;
        self.kick();
        self.events.add(Event::Dropped);
        Ok(())
    }

    fn end_snapshot(self: &Arc<Self>, id: u64) -> Result {
        let _noio = NoIo::enter();
        let mut control = self.state.control();
        let now = self.state.timeline();
        let snapshot = now.snapshot(id).ok_or(ENOENT)?;
        let new = now.changed(Change {
            drop: Some(id),
            ..Change::NONE
        })?;
        let new = Arc::new(new, GFP_KERNEL)?;
        self.make_durable(&mut control, &[Entry::Drop(id)])?;
        // Durable, or one of the cases above.
        snapshot.set_dropped();
        self.state.publish(new);
        Ok(())
    }

    /// Forgets a bookmark.
    ///
    /// Errors: `ENOENT` if there is none with this id, `ENOMEM`, those of [`Engine::make_durable`].
    pub(crate) fn forget_bookmark(self: &Arc<Self>, id: u64) -> Result {
        let _noio = NoIo::enter();
        let mut control = self.state.control();
        let new = self.without_bookmark(id)?;
        self.make_durable(&mut control, &[Entry::Forget(id)])?;
        self.state.publish(new);
        Ok(())
    }

    /// Forgets a bookmark without logging that, so that a checkpoint fits: there may be no room in
    /// the log, and only that checkpoint tells of it. A power cut may bring the bookmark back. That
    /// does no harm, as nothing else depends on a bookmark.
    ///
    /// Errors: `ENOENT` if there is none with this id, `ENOMEM`.
    pub(in crate::engine) fn forget_unlogged(&self, id: u64) -> Result {
        let _noio = NoIo::enter();
        let _control = self.state.control();
        let new = self.without_bookmark(id)?;
        self.state.publish(new);
        Ok(())
    }

    /// Returns the timeline without a bookmark. The caller holds the control lock.
    fn without_bookmark(&self, id: u64) -> Result<Arc<Timeline>> {
        let now = self.state.timeline();
        if !now.bookmarks().iter().any(|bookmark| bookmark.id == id) {
            return Err(ENOENT);
        }
        let new = now.changed(Change {
            forget: Some(id),
            ..Change::NONE
        })?;
        Ok(Arc::new(new, GFP_KERNEL)?)
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
