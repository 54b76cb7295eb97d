// SPDX-License-Identifier: GPL-2.0

//! Dropping snapshots, forgetting bookmarks, and giving snapshots up.
//!
//! What shrinks need from outside (a drop, a release, a narrower scope) is durable before it takes
//! effect. A snapshot is dropped without that in three cases only: in a transient store; when the
//! log is given up; and before a session has begun, in whose first checkpoint it is.

#![forbid(unsafe_code)]

use crate::dm::NoIo;
use crate::engine::change::Changes;
use crate::engine::state::Timeline;
use crate::format::Entry;
use crate::history::Change;
use kernel::prelude::*;
use kernel::sync::Arc;

impl Changes {
    /// Drops a snapshot, behind its durable record; its bookmark stays.
    ///
    /// Errors: `ENOENT` if there is none with this id, `ENOMEM`, those of `Session::make_durable`.
    pub(in crate::engine) fn drop_snapshot(&self, id: u64) -> Result {
        let _noio = NoIo::enter();
        let mut control = self.state.control();
        let now = self.state.timeline();
        let snapshot = now.snapshot(id).ok_or(ENOENT)?;
        let new = now.changed(Change {
            drop: Some(id),
            ..Change::NONE
        })?;
        let new = Arc::new(new, GFP_KERNEL)?;
        self.session
            .make_durable(&mut control, &[Entry::Drop(id)])?;
        // Durable, or one of the cases above.
        snapshot.set_dropped();
        drop(self.state.publish(new));
        // Writes may wait that it needs no longer.
        self.waker.look_again();
        Ok(())
    }

    /// Drops a snapshot like [`Changes::drop_snapshot`], but without memory if there is none: it
    /// stays in the timeline then, where nobody heeds it, and its copies with it, up to the next
    /// change or checkpoint. Returns true if it does not.
    ///
    /// Errors: `ENOENT` if there is none with this id, those of `Session::make_durable`; `ENOMEM`
    /// if that needs a checkpoint first.
    pub(in crate::engine) fn give_up_snapshot(&self, id: u64) -> Result<bool> {
        let _noio = NoIo::enter();
        let mut control = self.state.control();
        let now = self.state.timeline();
        let snapshot = now.snapshot(id).filter(|snapshot| !snapshot.is_dropped());
        let snapshot = snapshot.ok_or(ENOENT)?;
        self.session
            .make_durable(&mut control, &[Entry::Drop(id)])?;
        // Durable, or one of the cases above.
        snapshot.set_dropped();
        let is_tidy = self.state.tidy_timeline().is_ok();
        // Writes may wait that it needs no longer.
        self.waker.look_again();
        Ok(is_tidy)
    }

    /// Forgets a bookmark.
    ///
    /// Errors: `ENOENT` if there is none with this id, `ENOMEM`, those of `Session::make_durable`.
    pub fn forget_bookmark(&self, id: u64) -> Result {
        let _noio = NoIo::enter();
        let mut control = self.state.control();
        let new = self.without_bookmark(id)?;
        self.session
            .make_durable(&mut control, &[Entry::Forget(id)])?;
        drop(self.state.publish(new));
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
        drop(self.state.publish(new));
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
}
