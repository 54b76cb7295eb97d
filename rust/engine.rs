// SPDX-License-Identifier: GPL-2.0

//! The engine: all state of one live device, shared by the targets, views and controls that use it.
//!
//! # States ([`Phase`])
//!
//! 1. `Setup`: made by a target's constructor; no write has come yet.
//! 2. `Active`: a target of the engine is resumed, every write passes through it.
//! 3. `Suspended`: nothing is written, or writes no longer pass through here (after a reload to another
//!    target): "unmarked" proves nothing until the engine is active again.
//! 4. `Dead`: the last target is gone.
//!
//! 1 or 3 leads to 2 at resume, 2 to 3 at postsuspend, all to 4 when the last target is destroyed.
//!
//! # Lock order
//!
//! `editor`, or `slow` (the copier's state); then `control`, then the gate (closing it), then `timeline`, `designation`,
//! `incoming` and the locks of [`Copies`]. Whoever is inside the gate must not wait for `slow` or `control`. Neither
//! `control` nor `slow` is held while waiting for a task that needs it, or over sysfs and open calls.

#![forbid(unsafe_code)]

use crate::args::Options;
use crate::bitmap::Bitmap;
use crate::chunk::Geometry;
use crate::copier::Slow;
use crate::copies::Copies;
use crate::copies::Store;
use crate::designation::Designation;
use crate::dm;
use crate::dm::BlockDevice;
use crate::dm::DevT;
use crate::dm::Gate;
use crate::dm::Io;
use crate::dm::IrqStack;
use crate::dm::List;
use crate::dm::WorkQueue;
use crate::events::EventLog;
use crate::live::LiveBio;
use crate::timeline;
use kernel::impl_has_work;
use kernel::new_condvar;
use kernel::new_mutex;
use kernel::new_spinlock;
use kernel::new_work;
use kernel::prelude::*;
use kernel::sync::atomic::Acquire;
use kernel::sync::atomic::Atomic;
use kernel::sync::atomic::Relaxed;
use kernel::sync::atomic::Release;
use kernel::sync::Arc;
use kernel::sync::CondVar;
use kernel::sync::Mutex;
use kernel::sync::SpinLock;
use kernel::workqueue::Work;

/// Epochs with our copies.
pub(crate) type Epoch = timeline::Epoch<Copies>;
/// Timelines with our copies.
pub(crate) type Timeline = timeline::Timeline<Copies>;

/// What a write on the fast path needs: the present epoch.
pub(crate) struct Present {
    /// The epoch's number.
    pub(crate) epoch: u64,
    /// Its marks.
    pub(crate) marks: Arc<Bitmap>,
}

/// What only those who hold the control lock change.
pub(crate) struct Control {
    /// The next snapshot's id.
    pub(crate) next_id: u64,
}

/// See the [module's documentation](self).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// No target has been resumed yet.
    Setup,
    /// Every write passes through the engine.
    Active,
    /// No write passes through the engine.
    Suspended,
    /// The last target is gone.
    Dead,
}

/// Things counted since the engine exists.
pub(crate) struct Counters {
    /// Writes that had to wait.
    pub(crate) waited: Atomic<u64>,
    /// Chunks that could not be read before they were overwritten.
    pub(crate) gone: Atomic<u64>,
    /// Snapshots given up.
    pub(crate) invalidated: Atomic<u64>,
}

/// Which devices an engine belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The live device.
    pub(crate) live: DevT,
    /// The origin.
    pub(crate) origin: DevT,
    /// The store.
    pub(crate) store: DevT,
}

/// The engine. See the [module's documentation](self).
#[pin_data]
pub(crate) struct Engine {
    pub(crate) identity: Identity,
    /// Changes whenever tracking breaks; here: with the engine.
    pub(crate) generation: [u8; 16],
    pub(crate) origin: BlockDevice,
    pub(crate) store_device: BlockDevice,
    /// The chunk size; the length in it is that at the beginning, see [`Engine::geometry`].
    pub(crate) shape: Geometry,
    pub(crate) sectors: Atomic<u64>,
    pub(crate) store: Arc<Store>,
    pub(crate) counters: Counters,

    #[pin]
    pub(crate) gate: Gate<Present>,
    #[pin]
    pub(crate) timeline: SpinLock<Arc<Timeline>>,
    #[pin]
    pub(crate) control: Mutex<Control>,
    /// The designation as it is now; replaced under the editor lock.
    #[pin]
    designation: SpinLock<Arc<Designation>>,
    #[pin]
    options: SpinLock<Options>,

    /// Bios for the copier.
    #[pin]
    pub(crate) incoming: SpinLock<List<LiveBio>>,
    /// Copies that came back.
    pub(crate) finished: IrqStack<KBox<Io<crate::copy::Copy>>>,
    #[pin]
    pub(crate) slow: Mutex<Slow>,
    /// Writes wait for space.
    pub(crate) blocked: Atomic<bool>,
    /// The store is filled beyond the mark, and that has been told.
    pub(crate) low_space: Atomic<bool>,
    /// Bios that wait for space go back to device-mapper: a noflush suspend is under way.
    pub(crate) requeue: Atomic<bool>,

    #[pin]
    phase: Mutex<Phase>,
    #[pin]
    phase_changed: CondVar,

    #[pin]
    pub(crate) log: EventLog,

    /// The module's, so that the engine may be dropped by its own work item.
    queue: Arc<WorkQueue>,
    #[pin]
    work: Work<Engine>,
    /// No copy is in flight; belongs to `slow`.
    #[pin]
    pub(crate) copies_done: CondVar,
    /// Serialises editors of the designation.
    #[pin]
    pub(crate) editor: Mutex<()>,
}

impl_has_work! {
    impl HasWork<Self> for Engine { self.work }
}

impl Engine {
    /// Opens the devices and begins with everything unmarked. Writes nothing. May sleep.
    pub(crate) fn new(
        identity: Identity,
        shape: Geometry,
        options: Options,
        queue: Arc<WorkQueue>,
    ) -> Result<Arc<Self>> {
        let origin = BlockDevice::open(identity.origin, true)?;
        let store_device = BlockDevice::open(identity.store, true)?;
        let store = Store::new(shape.chunk(store_device.sectors()))?;
        let marks = Arc::new(Bitmap::new(shape.chunks())?, GFP_KERNEL)?;
        let first = Epoch {
            id: 0,
            marks: marks.clone(),
            copies: None,
        };
        let timeline = Arc::new(Timeline::new(first)?, GFP_KERNEL)?;
        let designation = Arc::new(Designation::new(options.default_protected), GFP_KERNEL)?;
        let slow = Slow::new(shape.chunk_bytes())?;
        let init = try_pin_init!(Self {
            identity,
            generation: dm::random_uuid(),
            origin,
            store_device,
            shape,
            sectors: Atomic::new(shape.sectors()),
            store,
            counters: Counters {
                waited: Atomic::new(0),
                gone: Atomic::new(0),
                invalidated: Atomic::new(0),
            },
            gate <- Gate::new(Present { epoch: 0, marks }),
            timeline <- new_spinlock!(timeline, "Engine::timeline"),
            control <- new_mutex!(Control { next_id: 1 }, "Engine::control"),
            designation <- new_spinlock!(designation, "Engine::designation"),
            options <- new_spinlock!(options, "Engine::options"),
            incoming <- new_spinlock!(List::new(), "Engine::incoming"),
            finished: IrqStack::new(),
            slow <- new_mutex!(slow, "Engine::slow"),
            blocked: Atomic::new(false),
            low_space: Atomic::new(false),
            requeue: Atomic::new(false),
            phase <- new_mutex!(Phase::Setup, "Engine::phase"),
            phase_changed <- new_condvar!("Engine::phase_changed"),
            log <- EventLog::new(),
            queue,
            work <- new_work!("Engine::work"),
            copies_done <- new_condvar!("Engine::copies_done"),
            editor <- new_mutex!((), "Engine::editor"),
        }? Error);
        Arc::pin_init(init, GFP_KERNEL)
    }

    /// The device's size and chunk size as they are now.
    pub(crate) fn geometry(&self) -> Geometry {
        let now = self.shape.with_sectors(self.sectors.load(Acquire));
        now.unwrap_or(self.shape)
    }

    /// The options of the table that is active.
    pub(crate) fn options(&self) -> Options {
        *self.options.lock()
    }

    /// The timeline as it is now.
    pub(crate) fn timeline(&self) -> Arc<Timeline> {
        self.timeline.lock().clone()
    }

    /// The designation as it is now.
    pub(crate) fn designation(&self) -> Arc<Designation> {
        self.designation.lock().clone()
    }

    /// Replaces the designation. The caller holds the editor lock.
    pub(crate) fn set_designation(&self, new: Arc<Designation>) {
        let old = core::mem::replace(&mut *self.designation.lock(), new);
        drop(old);
    }

    /// Lets the copier run.
    pub(crate) fn kick(self: &Arc<Self>) {
        // When it is queued already it will see what there is to do.
        let _ = self.queue.enqueue(self.clone());
    }

    /// Waits until the copier has nothing to do.
    pub(crate) fn flush_work(&self) {
        self.queue.flush();
    }

    /// What the engine is doing.
    pub(crate) fn phase(&self) -> Phase {
        *self.phase.lock()
    }

    fn set_phase(&self, phase: Phase) {
        *self.phase.lock() = phase;
        self.phase_changed.notify_all();
    }

    /// Waits until writes pass through the engine again; `ENODEV` when they never will.
    pub(crate) fn wait_until_active(&self) -> Result {
        let mut phase = self.phase.lock();
        loop {
            match *phase {
                Phase::Active => return Ok(()),
                Phase::Dead => return Err(ENODEV),
                Phase::Setup | Phase::Suspended => {
                    if self.phase_changed.wait_interruptible(&mut phase) {
                        return Err(EINTR);
                    }
                }
            }
        }
    }

    /// A target is about to become active, with these options and this length. Allocates only when the
    /// device has grown.
    pub(crate) fn bind(self: &Arc<Self>, sectors: u64, options: Options) -> Result {
        *self.options.lock() = options;
        let store_chunks = self.shape.chunk(self.store_device.sectors());
        self.store.pool.lock().grow(store_chunks);
        if sectors > self.sectors.load(Relaxed) {
            self.grow(sectors)?;
        }
        Ok(())
    }

    /// A target is active: writes come.
    pub(crate) fn activate(self: &Arc<Self>) {
        self.store.set_owner(Some(self.clone()));
        self.keep_held();
        self.set_phase(Phase::Active);
    }

    /// A noflush suspend begins: what waits for space goes back.
    pub(crate) fn requeue_held(self: &Arc<Self>) {
        self.requeue.store(true, Release);
        self.kick();
    }

    /// No noflush suspend is under way (any longer): bios wait for space again.
    pub(crate) fn keep_held(self: &Arc<Self>) {
        self.requeue.store(false, Release);
        self.kick();
    }

    /// The active target has been suspended: no bio is in flight. Copies may be, whose bios were submitted
    /// without them as need had shrunk; the devices are left alone only when these have ended.
    pub(crate) fn deactivate(&self) {
        self.set_phase(Phase::Suspended);
        self.wait_for_copies();
        self.flush_work();
    }

    /// The last target is gone. The caller keeps a reference.
    pub(crate) fn shut_down(&self) {
        self.set_phase(Phase::Dead);
        self.store.set_owner(None);
        self.wait_for_copies();
        // A completion that has handed its copy back may still hold a reference.
        kernel::sync::rcu::synchronize_rcu();
        self.flush_work();
        self.log.wake();
    }

    fn wait_for_copies(&self) {
        let mut slow = self.slow.lock();
        while slow.is_copying() {
            self.copies_done.wait(&mut slow);
        }
    }

    /// Publishes a timeline; the old one is freed here at the earliest.
    pub(crate) fn publish(&self, new: Arc<Timeline>) {
        let old = core::mem::replace(&mut *self.timeline.lock(), new);
        drop(old);
    }
}
