// SPDX-License-Identifier: GPL-2.0

//! When checkpoints are made, and what goes when one does not fit or cannot be written. How one is
//! made is in [`checkpoint`](crate::engine::session::checkpoint).

#![forbid(unsafe_code)]

use crate::dm;
use crate::dm::NoIo;
use crate::engine::phase::Phase;
use crate::engine::state::Control;
use crate::engine::state::Timeline;
use crate::engine::upkeep::Upkeep;
use crate::format::Entry;
use crate::format::STATE_OPEN;
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::workqueue::WorkItem;

/// How long to wait for memory, in milliseconds.
const CHECKPOINT_RETRY_MS: u32 = 100;
/// How often what lacks memory is tried while a device waits to be resumed.
const CHECKPOINT_RETRIES: u32 = 100;

/// Tries something again while it lacks memory, [`CHECKPOINT_RETRIES`] times at most: what has been
/// recovered is worth the wait. May sleep.
///
/// Errors: those of `what`.
fn retried<T>(what: impl Fn() -> Result<T>) -> Result<T> {
    for _ in 0..CHECKPOINT_RETRIES {
        match what() {
            Err(ENOMEM) => {
                dm::sleep_ms(CHECKPOINT_RETRY_MS);
            }
            done => return done,
        }
    }
    what()
}

impl Upkeep {
    /// A table becomes active: what is known is made durable, if it is not, and a session begins.
    /// An error means that the store cannot be used; writes will pass all the same.
    pub(in crate::engine) fn open_store(self: &Arc<Self>) {
        let begun = retried(|| self.session.begin());
        let saved = begun.and_then(|exact| match exact {
            true => Ok(()),
            false => retried(|| self.checkpoint_now()),
        });
        if let Err(error) = saved {
            self.store_failed(error);
        }
    }

    /// Starts using the space that was added to the store's device. Does not interrupt I/O.
    ///
    /// Errors: `EIO` if the store has failed or now does, `ENODEV` while the device is not active,
    /// `EFBIG`, `ENOMEM`.
    pub fn grow_store(self: &Arc<Self>) -> Result {
        let _noio = NoIo::enter();
        let grown = match self.device.is_persistent() {
            true => self.grow_segments(),
            false => {
                let chunks = self.device.shape().chunk(self.device.store().sectors());
                self.space.grow_pool(chunks)
            }
        };
        self.watch_space();
        // Writes that wait for space.
        self.waker.look_again();
        grown
    }

    fn grow_segments(self: &Arc<Self>) -> Result {
        // Without its locks: a failure ends the snapshots.
        self.session.grow().inspect_err(|error| {
            if *error != ENOMEM && *error != ENODEV {
                self.store_failed(*error);
            }
        })
    }

    /// Makes a checkpoint, waits for it, and puts incremental scopes into effect. Forgets bookmarks
    /// and gives up snapshots until the checkpoint fits. Does nothing for a transient store.
    ///
    /// Errors: `ENODEV` while the device is not active, `EIO` if the store has failed, `ENOMEM`;
    /// others, such as those of the device, with which the store fails now.
    pub fn checkpoint_now(self: &Arc<Self>) -> Result {
        let _noio = NoIo::enter();
        if !self.device.is_persistent() {
            return Ok(());
        }
        loop {
            let mut control = self.state.control();
            if !self.session.is_open() {
                return Err(ENODEV);
            }
            let saved = self
                .session
                .checkpoint(&mut control, STATE_OPEN)
                .and_then(|()| self.narrow_scopes(&mut control));
            drop(control);
            match saved {
                // Each round there is one bookmark or snapshot less.
                Err(ENOSPC | EFBIG) if self.forget_something() => (),
                Err(error) if error != ENOMEM => {
                    self.store_failed(error);
                    return saved;
                }
                saved => return saved,
            }
        }
    }

    /// Takes off the timeline what could not be before for want of memory. Asks to be called again
    /// if it still cannot.
    fn tidy(self: &Arc<Self>) {
        if !self.state.has_dropped() {
            return;
        }
        let control = self.state.control();
        let tidied = self.state.tidy_timeline();
        drop(control);
        if tidied.is_err() && self.phases.now() == Phase::Active {
            dm::sleep_ms(CHECKPOINT_RETRY_MS);
            self.tidy_soon();
        }
    }

    /// Makes a checkpoint in the background, or writes to a failed store that it has failed.
    fn run_checkpoint(self: &Arc<Self>) {
        self.tidy();
        if self.log.has_failed() {
            return self.give_up_store();
        }
        let mut control = self.state.control();
        if !self.session.is_open() {
            return;
        }
        let result = self
            .session
            .checkpoint(&mut control, STATE_OPEN)
            .and_then(|()| self.narrow_scopes(&mut control));
        drop(control);
        match result {
            Ok(()) => (),
            Err(ENOSPC | EFBIG) if self.forget_something() => self.start_checkpoint(),
            Err(ENOMEM) => {
                // Writes may wait for the room that it makes.
                dm::sleep_ms(CHECKPOINT_RETRY_MS);
                self.start_checkpoint();
            }
            Err(error) => self.store_failed(error),
        }
    }

    /// Makes a checkpoint smaller that does not fit into its area: forgets the oldest bookmark, or
    /// gives up the oldest snapshot if there is no bookmark. Returns false if there is neither.
    fn forget_something(self: &Arc<Self>) -> bool {
        let timeline = self.state.timeline();
        if timeline.latest().is_none() {
            return false;
        }
        let oldest = timeline.bookmarks().first().map(|bookmark| bookmark.id);
        drop(timeline);
        match oldest {
            Some(id) => {
                pr_warn!(
                    "{}: the store has no room for all marks: bookmark {id} is forgotten\n",
                    self.device.live()
                );
                // Somebody else may have been quicker.
                if self.changes.forget_unlogged(id) == Err(ENOMEM) {
                    dm::sleep_ms(CHECKPOINT_RETRY_MS);
                }
            }
            None => self.give_up_oldest(c"the store has no room for its checkpoint"),
        }
        true
    }

    /// Puts those incremental scopes into effect whose epochs a checkpoint has saved as closed. The
    /// caller holds the control lock, and has just made the checkpoint.
    fn narrow_scopes(self: &Arc<Self>, control: &mut Control) -> Result {
        let timeline: Arc<Timeline> = self.state.timeline();
        for snapshot in timeline.snapshots() {
            if !snapshot.is_narrowed() {
                self.session
                    .make_durable(control, &[Entry::Narrow(snapshot.id)])?;
                snapshot.narrow();
                // Writes may wait that it needs no longer.
                self.waker.look_again();
            }
        }
        Ok(())
    }
}

impl WorkItem for Upkeep {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        let _noio = NoIo::enter();
        this.run_checkpoint();
    }
}
