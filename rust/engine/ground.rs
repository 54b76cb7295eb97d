// SPDX-License-Identifier: GPL-2.0

//! What all parts of an engine stand on.

#![forbid(unsafe_code)]

use crate::engine::device::Device;
use crate::engine::events::EventLog;
use crate::engine::phase::Phases;
use crate::engine::queues::Queues;
use crate::engine::queues::SharedQueues;
use crate::engine::space::Space;
use crate::engine::state::State;
use crate::engine::wake::Waker;
use kernel::sync::Arc;

/// The lowest parts of an engine, which the others share. Each keeps those that it uses.
pub(super) struct Ground {
    /// Which devices these are.
    pub(super) device: Arc<Device>,
    /// What is known now.
    pub(super) state: Arc<State>,
    /// The store's space.
    pub(super) space: Arc<Space>,
    /// What user space is told.
    pub(super) events: Arc<EventLog>,
    /// Which phase the engine is in.
    pub(super) phases: Arc<Phases>,
    /// Where the parts do their work.
    pub(super) queues: Arc<Queues>,
    /// Where reads of frozen content wait.
    pub(super) shared: Arc<SharedQueues>,
    /// The only way up.
    pub(super) waker: Arc<Waker>,
}
