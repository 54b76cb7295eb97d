// SPDX-License-Identifier: GPL-2.0

//! What changes history: taking and dropping snapshots, edits of the protection, growing.
//!
//! What shrinks need from outside (a drop, a release, a narrower scope) is durable before it takes
//! effect. Errors go back to the caller; what is given up for want of space or of a store is
//! decided in [`upkeep`](crate::engine::upkeep).

#![forbid(unsafe_code)]

mod drop;
mod edit;
mod take;

use crate::engine::device::Device;
use crate::engine::ground::Ground;
use crate::engine::log::Log;
use crate::engine::session::Session;
use crate::engine::space::Space;
use crate::engine::state::State;
use crate::engine::wake::Waker;
use kernel::prelude::*;
use kernel::sync::Arc;

/// Changes of history. See the [module's documentation](self).
pub struct Changes {
    device: Arc<Device>,
    state: Arc<State>,
    space: Arc<Space>,
    log: Arc<Log>,
    session: Arc<Session>,
    waker: Arc<Waker>,
}

impl Changes {
    /// Makes what changes history.
    ///
    /// Errors: `ENOMEM`.
    pub(super) fn new(ground: &Ground, log: Arc<Log>, session: Arc<Session>) -> Result<Arc<Self>> {
        let changes = Self {
            device: ground.device.clone(),
            state: ground.state.clone(),
            space: ground.space.clone(),
            log,
            session,
            waker: ground.waker.clone(),
        };
        Ok(Arc::new(changes, GFP_KERNEL)?)
    }
}
