// SPDX-License-Identifier: GPL-2.0

//! Sessions of a persistent store: from an activation to the suspend that ends it, and growing
//! meanwhile.
//!
//! # States of a store
//!
//! 1. *New*: blank, or nothing in it can be relied on any longer. Formatted by the first
//!    checkpoint.
//! 2. *Recovered*: what it holds is known; nothing has been written yet.
//! 3. *Open*: a session is under way; the superblocks say so.
//! 4. *Closed*: everything is in the checkpoint, and the origin's fingerprint in the superblock.
//! 5. *Failing*: not even a superblock can be written, and `on_error=block` holds back writes that
//!    should be logged. Writing is tried again once a second. Snapshots stay; see
//!    [`upkeep`](crate::engine::upkeep).
//! 6. *Broken*: writes pass that could not be logged, or that were not seen, as a foreign table has
//!    the live device's place. The superblocks say so, if they could be written.
//!
//! 1, 2 or 4 leads to 3 at preresume, 3 to 4 at postsuspend, 3 to 5 or 6 when a write to the store
//! fails, 5 to 6 when a superblock could be written, or `on_error=continue` is loaded, and all to 6
//! when the table is replaced by a foreign one.
//!
//! The next activation finds a store that vanished while it was failing in state 3: its log has
//! every write that passed. A store that vanished while it was broken, before a superblock could
//! say so, is found in state 3 too, or in 4 if its session could not be begun. Whether to believe
//! such a store is decided in [`trust`](crate::store::trust).
//!
//! # Lock order
//!
//! `control`, then `superblocks`, then the gate, then the log.

#![forbid(unsafe_code)]

mod begin;
mod checkpoint;
pub(super) mod disk;
mod durable;
pub(super) mod open;
pub(super) mod superblocks;
mod vouch;

use crate::engine::boot;
use crate::engine::device::Device;
use crate::engine::ground::Ground;
use crate::engine::log::Log;
use crate::engine::session::superblocks::Superblocks;
use crate::engine::space::Space;
use crate::engine::state::State;
use crate::engine::wake::Waker;
use kernel::new_mutex;
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::sync::Mutex;

/// The sessions of a store. See the [module's documentation](self).
#[pin_data]
pub(super) struct Session {
    device: Arc<Device>,
    state: Arc<State>,
    space: Arc<Space>,
    log: Arc<Log>,
    waker: Arc<Waker>,
    /// `None` with a transient store.
    #[pin]
    superblocks: Mutex<Option<Superblocks>>,
}

/// What came of writing the broken state.
pub(super) struct Broken {
    /// Whether a superblock says so.
    pub(super) written: Result,
    /// The log is given up.
    pub(super) is_given_up: bool,
    /// The store has not failed before.
    pub(super) is_first: bool,
}

impl Session {
    /// Makes the sessions of a store: none is under way. May sleep.
    ///
    /// Errors: `ENOMEM`.
    pub(super) fn new(
        ground: &Ground,
        log: Arc<Log>,
        superblocks: Option<Superblocks>,
    ) -> Result<Arc<Self>> {
        let init = pin_init!(Self {
            device: ground.device.clone(),
            state: ground.state.clone(),
            space: ground.space.clone(),
            log,
            waker: ground.waker.clone(),
            superblocks <- new_mutex!(superblocks, "Session::superblocks"),
        });
        Arc::pin_init(init, GFP_KERNEL)
    }

    /// Returns true if changes have to be logged. False for a store that has no log or is given up,
    /// and for a session that the disk does not know yet: no write passes before the checkpoint
    /// that begins it, and that has the changes. The caller holds the control lock.
    ///
    /// Errors: `ENODEV` while the device is not active: then the checkpoint that closed the last
    /// session is all that the next one looks at. `EIO` while the store is failing: a change that
    /// the next activation would not find must not be made.
    pub(super) fn is_logging(&self) -> Result<bool> {
        if !self.device.is_persistent() || self.log.is_given_up() {
            return Ok(false);
        }
        let guard = self.superblocks.lock();
        let session = (*guard).as_ref().filter(|superblocks| superblocks.is_open);
        let has_begun = session
            .map(|superblocks| superblocks.has_begun)
            .ok_or(ENODEV)?;
        match self.log.has_failed() {
            true => Err(EIO),
            false => Ok(has_begun),
        }
    }

    /// Returns true if a session is under way.
    pub(super) fn is_open(&self) -> bool {
        let guard = self.superblocks.lock();
        (*guard)
            .as_ref()
            .is_some_and(|superblocks| superblocks.is_open)
    }

    /// Writes the broken state to a superblock. Gives the log up if that could be done, or else if
    /// writes are to pass `regardless`, which is asked then. Returns `None` if there is nothing to
    /// do: the store is transient, or the log is given up already.
    pub(super) fn write_broken(&self, regardless: impl FnOnce() -> bool) -> Option<Broken> {
        let mut guard = self.superblocks.lock();
        let superblocks = (*guard).as_mut()?;
        if self.log.is_given_up() {
            return None;
        }
        let written = superblocks.write_broken(self.device.store());
        let is_given_up = written.is_ok() || regardless();
        if is_given_up {
            self.log.give_up();
        }
        let is_first = !core::mem::replace(&mut superblocks.is_failing, true);
        Some(Broken {
            written,
            is_given_up,
            is_first,
        })
    }

    /// Remembers what to believe of a store that is not closed. Nothing is written to the store any
    /// longer, and nobody else has opened it yet.
    pub(super) fn remember_end(&self) {
        let is_intact = !self.log.is_given_up();
        let guard = self.superblocks.lock();
        let ended = (*guard)
            .as_ref()
            .and_then(|superblocks| superblocks.ended(is_intact));
        if let Some(ended) = ended {
            boot::remember(ended);
        }
    }
}
