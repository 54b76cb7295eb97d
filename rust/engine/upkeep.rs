// SPDX-License-Identifier: GPL-2.0

//! What becomes of a store that fills, fails, or has no room for its checkpoint: what is given up,
//! when, and who is told. The parts below only return errors.

#![forbid(unsafe_code)]

mod checkpoints;
mod give_up;
mod requests;

use crate::dm;
use crate::engine::change::Changes;
use crate::engine::device::Device;
use crate::engine::events::Event;
use crate::engine::events::EventLog;
use crate::engine::ground::Ground;
use crate::engine::log::Log;
use crate::engine::phase::Phases;
use crate::engine::queues::Queues;
use crate::engine::session::Session;
use crate::engine::space::Space;
use crate::engine::state::State;
use crate::engine::wake::Waker;
use kernel::impl_has_work;
use kernel::new_work;
use kernel::prelude::*;
use kernel::sync::atomic::Atomic;
use kernel::sync::atomic::Full;
use kernel::sync::atomic::Relaxed;
use kernel::sync::Arc;
use kernel::workqueue::Work;

/// What is given up, and who is told. See the [module's documentation](self).
#[pin_data]
pub struct Upkeep {
    device: Arc<Device>,
    state: Arc<State>,
    space: Arc<Space>,
    log: Arc<Log>,
    session: Arc<Session>,
    changes: Arc<Changes>,
    events: Arc<EventLog>,
    phases: Arc<Phases>,
    queues: Arc<Queues>,
    waker: Arc<Waker>,
    /// The store is filled beyond the mark, and that has been told.
    low_space: Atomic<bool>,
    /// The checkpoint's work.
    #[pin]
    work: Work<Upkeep>,
}

impl_has_work! {
    impl HasWork<Self> for Upkeep { self.work }
}

impl Upkeep {
    /// Makes the upkeep of a store in which nothing has failed yet. May sleep.
    ///
    /// Errors: `ENOMEM`.
    pub(super) fn new(
        ground: &Ground,
        log: Arc<Log>,
        session: Arc<Session>,
        changes: Arc<Changes>,
    ) -> Result<Arc<Self>> {
        let init = pin_init!(Self {
            device: ground.device.clone(),
            state: ground.state.clone(),
            space: ground.space.clone(),
            log,
            session,
            changes,
            events: ground.events.clone(),
            phases: ground.phases.clone(),
            queues: ground.queues.clone(),
            waker: ground.waker.clone(),
            low_space: Atomic::new(false),
            work <- new_work!("Upkeep::work"),
        });
        Arc::pin_init(init, GFP_KERNEL)
    }

    /// Starts a checkpoint of a persistent store, in the background. Any context.
    pub(super) fn start_checkpoint(self: &Arc<Self>) {
        if self.device.is_persistent() {
            self.queues.writes.enqueue(self.clone());
        }
    }

    /// Takes dropped snapshots off the timeline, in the background. Any context.
    fn tidy_soon(self: &Arc<Self>) {
        self.queues.writes.enqueue(self.clone());
    }

    /// Waits until the checkpoint's work has nothing to do.
    pub(super) fn flush_work(&self) {
        dm::flush_work(&self.work);
    }

    /// Sends an event when the store has filled beyond the low-space mark. Sends no other before it
    /// has emptied below the mark.
    pub(super) fn watch_space(&self) {
        let (capacity, used) = self.space.sectors(self.device.shape());
        let low =
            used.saturating_mul(100) >= capacity.saturating_mul(self.device.options().low_space);
        // Looked at first, as it hardly ever changes.
        if self.low_space.load(Relaxed) != low && self.low_space.xchg(low, Full) != low && low {
            self.events.add(Event::LowSpace);
        }
    }
}
