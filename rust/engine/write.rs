// SPDX-License-Identifier: GPL-2.0

//! Writes of a live device: what lets them go, and what copies the content that they overwrite.
//!
//! A write's way begins in [`map`]; what cannot be decided there goes on in the [`copier`].
//!
//! # Lock order
//!
//! The copier's lock, then what is below this part. `incoming` is taken alone, or under it.

#![forbid(unsafe_code)]

mod copier;
mod copy;
mod decide;
mod map;
mod memory;
mod regions;
mod waiting;

use crate::base::Apart;
use crate::dm;
use crate::dm::List;
use crate::engine::device::Device;
use crate::engine::events::EventLog;
use crate::engine::ground::Ground;
use crate::engine::log::contents::Returned;
use crate::engine::log::Log;
use crate::engine::phase::Phases;
use crate::engine::queues::Queues;
use crate::engine::space::Space;
use crate::engine::state::State;
use crate::engine::upkeep::Upkeep;
use crate::engine::wake::Waker;
use kernel::impl_has_work;
use kernel::new_condvar;
use kernel::new_mutex;
use kernel::new_spinlock;
use kernel::new_work;
use kernel::prelude::*;
use kernel::sync::atomic::Acquire;
use kernel::sync::atomic::Atomic;
use kernel::sync::Arc;
use kernel::sync::CondVar;
use kernel::sync::Mutex;
use kernel::sync::SpinLock;
use kernel::workqueue::Work;
use memory::CopierMemory;
use memory::MapMemory;
pub(super) use waiting::Copier;
use waiting::HeldBio;

/// The writes. See the [module's documentation](self).
#[pin_data]
pub struct Writes {
    /// Apart, as all writes read it.
    device: Apart<Arc<Device>>,
    /// The same.
    state: Apart<Arc<State>>,
    space: Arc<Space>,
    log: Arc<Log>,
    upkeep: Arc<Upkeep>,
    events: Arc<EventLog>,
    phases: Arc<Phases>,
    queues: Arc<Queues>,
    waker: Arc<Waker>,
    /// What marks and indices grow by.
    memory: CopierMemory,
    /// Bios for the copier.
    #[pin]
    incoming: SpinLock<List<HeldBio>>,
    /// Copies that came back.
    returned: Arc<Returned>,
    #[pin]
    copier: Mutex<Copier>,
    /// No copy is in flight; belongs to `copier`.
    #[pin]
    copies_done: CondVar,
    /// Writes wait for space.
    is_blocked: Atomic<bool>,
    /// The copier's work.
    #[pin]
    work: Work<Writes>,
}

impl_has_work! {
    impl HasWork<Self> for Writes { self.work }
}

impl Writes {
    /// Makes the writes of a live device: there are none. May sleep.
    ///
    /// Errors: `ENOMEM`.
    pub(super) fn new(
        ground: &Ground,
        log: Arc<Log>,
        upkeep: Arc<Upkeep>,
        returned: Arc<Returned>,
        copier: Copier,
        map_pages: usize,
    ) -> Result<Arc<Self>> {
        let memory = CopierMemory(MapMemory::new(map_pages, ground.shared.clone())?);
        let init = pin_init!(Self {
            device: Apart(ground.device.clone()),
            state: Apart(ground.state.clone()),
            space: ground.space.clone(),
            log,
            upkeep,
            events: ground.events.clone(),
            phases: ground.phases.clone(),
            queues: ground.queues.clone(),
            waker: ground.waker.clone(),
            memory,
            incoming <- new_spinlock!(List::new(), "Writes::incoming"),
            returned,
            copier <- new_mutex!(copier, "Writes::copier"),
            copies_done <- new_condvar!("Writes::copies_done"),
            is_blocked: Atomic::new(false),
            work <- new_work!("Writes::work"),
        });
        Arc::pin_init(init, GFP_KERNEL)
    }

    /// Returns true if writes wait for space.
    pub fn is_blocked(&self) -> bool {
        self.is_blocked.load(Acquire)
    }

    /// Returns true if a write waits here. Device-mapper does not count it as in flight: it does
    /// when it is submitted. May sleep, as long as a run of the copier's work lasts.
    pub fn holds_bios(&self) -> bool {
        // In this order: the copier takes what is there, and gives nothing back.
        !self.incoming.lock().is_empty() || self.copier.lock().holds_bios()
    }

    /// Waits until no copy is in flight.
    pub(super) fn wait_for_copies(&self) {
        let mut copier = self.copier.lock();
        while copier.is_copying() {
            self.copies_done.wait(&mut copier);
        }
    }

    /// Waits until the copier's work has nothing to do.
    pub(super) fn flush_work(&self) {
        dm::flush_work(&self.work);
    }
}
