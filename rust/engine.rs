// SPDX-License-Identifier: GPL-2.0

//! One live device at work: all its state, shared by the targets, views and controls that use it.
//!
//! # Parts
//!
//! Calls go down this list; what is below knows nothing of what is above.
//!
//! - [`life`]: what device-mapper's calls do to an engine;
//! - [`write`]: a write's way, and the copier;
//! - [`upkeep`]: what is given up when space or the store fails;
//! - [`read`]: frozen content (rule 5); [`change`]: what changes history;
//! - [`session`]: a persistent store in use, its superblocks and checkpoints;
//! - [`log`]: records on their way to the store;
//! - [`state`]: what is known now; [`device`]: which devices these are;
//! - [`space`]: an epoch's copies; [`events`]: what user space is told; [`boot`]: stores that have
//!   failed since boot;
//! - [`queues`]: where all of them work.
//!
//! # Lock order
//!
//! `editor`, or `copier` (the copier's state); then `control`, `superblocks`, the gate (closing
//! it), the log, and then `timeline`, `designation`, `incoming` and the locks of
//! [`Copies`](space::Copies). Whoever is inside the gate must not wait for `copier` or `control`.
//! Neither `control` nor `copier` is held while waiting for a task that needs it, or over sysfs and
//! open calls.

#![forbid(unsafe_code)]

pub(crate) mod boot;
mod change;
mod device;
mod events;
mod life;
mod log;
mod phase;
mod queues;
mod read;
mod session;
mod space;
mod state;
mod upkeep;
mod wake;
mod write;

pub(crate) use device::Device;
pub(crate) use device::Identity;
pub(crate) use phase::read_deadline;
pub(crate) use phase::Phase;
pub(crate) use queues::Queues;
pub(crate) use read::Kind;
pub(crate) use read::Piece;
pub(crate) use read::ReadBuffer;
pub(crate) use read::Source;
pub(crate) use space::Copies;
pub(crate) use state::Epoch;
pub(crate) use state::State;
pub(crate) use state::Timeline;

use crate::dm;
use crate::dm::Io;
use crate::dm::IrqStack;
use crate::dm::List;
use crate::dm::WorkQueue;
use crate::format::BLOCK_SECTORS;
use crate::maps::Geometry;
use crate::store::Checkpoint;
use crate::store::Trouble;
use crate::uapi::args::Options;
use device::Opened;
use device::Uuids;
use events::EventLog;
use kernel::impl_has_work;
use kernel::new_condvar;
use kernel::new_mutex;
use kernel::new_spinlock;
use kernel::new_work;
use kernel::prelude::*;
use kernel::sync::atomic::Acquire;
use kernel::sync::atomic::Atomic;
use kernel::sync::atomic::Release;
use kernel::sync::Arc;
use kernel::sync::CondVar;
use kernel::sync::Mutex;
use kernel::sync::SpinLock;
use kernel::workqueue::Work;
use log::Log;
use phase::Phases;
use session::open;
use session::superblocks::Superblocks;
use space::Store;
use state::no_regions;
use state::Known;
use state::Present;
use wake::Wake;
use write::waiting::Copier;
use write::waiting::HeldBio;

/// The engine. See the [module's documentation](self).
#[pin_data]
pub(crate) struct Engine {
    #[pin]
    device: Device,
    #[pin]
    state: State,
    store: Arc<Store>,

    /// Bios for the copier.
    #[pin]
    incoming: SpinLock<List<HeldBio>>,
    /// Copies that came back.
    finished: IrqStack<KBox<Io<write::copy::Copy>>>,
    #[pin]
    copier: Mutex<Copier>,
    /// Something has happened that those who wait in the copier may wait for; see [`Engine::kick`].
    woken: Atomic<bool>,
    /// Writes wait for space.
    blocked: Atomic<bool>,
    /// The store is filled beyond the mark, and that has been told.
    low_space: Atomic<bool>,
    #[pin]
    phases: Phases,
    /// A target has begun to become active since one was last suspended.
    is_bound: Atomic<bool>,

    events: Arc<EventLog>,

    /// The log of a persistent store.
    #[pin]
    log: Log,
    /// Its superblocks; `None` with a transient store.
    #[pin]
    superblocks: Mutex<Option<Superblocks>>,
    #[pin]
    log_work: Work<Engine, LOG>,
    #[pin]
    checkpoint_work: Work<Engine, CHECKPOINT>,

    queues: Arc<Queues>,
    #[pin]
    work: Work<Engine, COPIER>,
    /// No copy is in flight; belongs to `copier`.
    #[pin]
    copies_done: CondVar,
}

/// Number of the copier's work among the engine's.
const COPIER: u64 = 0;
/// Number of the log's.
const LOG: u64 = 1;
/// Number of the checkpoint's.
const CHECKPOINT: u64 = 2;

impl_has_work! {
    impl HasWork<Self, COPIER> for Engine { self.work }
    impl HasWork<Self, LOG> for Engine { self.log_work }
    impl HasWork<Self, CHECKPOINT> for Engine { self.checkpoint_work }
}

/// Refuses a persistent store for a table with `transient`. A transient store overwrites what is
/// there, and snapshots that were meant to last must not vanish unnoticed.
///
/// Errors: a text if there is a persistent store, `ENOMEM`, both as [`Trouble`].
fn refuse_persistent(opened: &Opened) -> Result<(), Trouble> {
    match open::holds_a_store(opened.store())? {
        true => Err(Trouble::Because(
            c"The store holds persistent snapshots: if they may go, wipe its first 8 KiB",
        )),
        false => Ok(()),
    }
}

/// What a table's devices hold.
struct Holdings {
    space: Arc<Store>,
    /// `None` with a transient store.
    superblocks: Option<Superblocks>,
    checkpoint: Checkpoint<Copies>,
}

/// Finds out what the devices of a table hold. Reads only. May sleep, and take long.
///
/// Errors: a text if the store cannot be used, `ENOMEM`, both as [`Trouble`].
fn find(opened: &Opened, shape: Geometry, options: &Options) -> Result<Holdings, Trouble> {
    let default = options.default_protected;
    if options.transient {
        refuse_persistent(opened)?;
        return Ok(Holdings {
            space: Store::transient(shape.chunk(opened.store().sectors()))?,
            superblocks: None,
            checkpoint: open::blank_checkpoint(shape, default)?,
        });
    }
    let space = Store::persistent(shape.chunk_sectors() / BLOCK_SECTORS)?;
    let recovered = open::open_store(opened.store(), opened.origin(), &space, shape, default)
        .map_err(Trouble::while_reading)?;
    Ok(Holdings {
        space,
        superblocks: Some(recovered.superblocks),
        checkpoint: recovered.checkpoint,
    })
}

/// Returns the state to begin with. May sleep.
///
/// Errors: `ENOMEM`; `EINVAL` for a checkpoint without an epoch, which cannot be.
fn known(found: &Holdings, shape: Geometry) -> Result<Known> {
    let checkpoint = &found.checkpoint;
    let epoch = checkpoint.timeline.present().ok_or(EINVAL)?;
    Ok(Known {
        present: Present {
            epoch: epoch.id,
            marks: epoch.marks.clone(),
            generation: checkpoint.generation,
            // Until the first checkpoint no region is announced.
            regions: match found.superblocks {
                Some(_) => Some(no_regions(shape.chunks())?),
                None => None,
            },
        },
        timeline: checkpoint.timeline.clone(),
        designation: checkpoint.designation.clone(),
        next_id: checkpoint.next_id,
        unproven: found.superblocks.as_ref().map_or(0, Superblocks::unproven),
    })
}

impl Engine {
    /// Opens the devices, and finds out what a persistent store holds. Writes nothing. May sleep,
    /// and take long.
    ///
    /// Errors, as [`Trouble`]: a text if the devices cannot be used, otherwise those of opening and
    /// reading them, `ENOMEM`.
    pub(crate) fn new(
        identity: Identity,
        shape: Geometry,
        options: Options,
        queues: Arc<Queues>,
    ) -> Result<Arc<Self>, Trouble> {
        let opened = Opened::new(identity)?;
        let found = find(&opened, shape, &options)?;
        let known = known(&found, shape)?;
        let superblocks = found.superblocks;
        let uuids = Uuids {
            generation: superblocks
                .as_ref()
                .map_or_else(dm::random_uuid, Superblocks::generation),
            store: superblocks.as_ref().map(Superblocks::store),
        };
        // What was saved; `bind` sees to it that the device has grown since.
        let sectors = found.checkpoint.sectors;
        let copier = Copier::new(shape.chunk_bytes())?;
        let slots = copier.slots();
        let events = EventLog::new(queues.clone())?;
        let init = try_pin_init!(Self {
            device <- Device::new(opened, uuids, shape, sectors, options),
            state <- State::new(known),
            store: found.space,
            incoming <- new_spinlock!(List::new(), "Engine::incoming"),
            finished: IrqStack::new(),
            copier <- new_mutex!(copier, "Engine::copier"),
            woken: Atomic::new(false),
            blocked: Atomic::new(false),
            low_space: Atomic::new(false),
            phases <- Phases::new(),
            is_bound: Atomic::new(false),
            events,
            log <- Log::new(slots),
            superblocks <- new_mutex!(superblocks, "Engine::superblocks"),
            log_work <- new_work!("Engine::log_work"),
            checkpoint_work <- new_work!("Engine::checkpoint_work"),
            queues,
            work <- new_work!("Engine::work"),
            copies_done <- new_condvar!("Engine::copies_done"),
        }? Error);
        Ok(Arc::pin_init(init, GFP_KERNEL)?)
    }

    /// Returns the device: which devices these are, and their sizes and options.
    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    /// Returns which phase the engine is in.
    pub(crate) fn phases(&self) -> &Phases {
        &self.phases
    }

    /// Returns what is known now.
    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// Returns the number of sectors of the store that can hold contents, and how many of them are
    /// in use.
    pub(crate) fn store_space(&self) -> (u64, u64) {
        let segments = self
            .store
            .with_segments(|segments| (segments.capacity(), segments.used()));
        match segments {
            Some((capacity, used)) => (capacity * BLOCK_SECTORS, used * BLOCK_SECTORS),
            None => {
                let pool = self.store.pool.lock();
                (
                    self.device.shape().sector(pool.capacity()),
                    self.device.shape().sector(pool.used()),
                )
            }
        }
    }

    /// Makes the copier look again at everything that waits in it. To be called after anything that
    /// it may wait for: the gate has opened, space has come back, need has shrunk, a suspend has
    /// begun or ended, the store has been given up.
    pub(crate) fn kick(self: &Arc<Self>) {
        self.woken.store(true, Release);
        self.kick_copier();
    }

    /// Makes the copier take what has come for it: bios, copies, durable entries of the log.
    pub(crate) fn kick_copier(self: &Arc<Self>) {
        // When it is queued already it will see what there is to do.
        let _ = self.queues.writes.enqueue::<_, COPIER>(self.clone());
    }

    /// Makes the log take in the records that have been written.
    pub(crate) fn kick_log(self: &Arc<Self>) {
        let _ = self.queues.log.enqueue::<_, LOG>(self.clone());
    }

    /// Starts a checkpoint of a persistent store, in the background.
    pub(crate) fn kick_checkpoint(self: &Arc<Self>) {
        if self.device.is_persistent() {
            let _ = self.queues.writes.enqueue::<_, CHECKPOINT>(self.clone());
        }
    }

    /// Returns true if the persistent store has failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.log.has_failed()
    }

    /// Returns true if writes wait for space.
    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked.load(Acquire)
    }

    /// Returns the events of the device.
    pub(crate) fn events(&self) -> &Arc<EventLog> {
        &self.events
    }

    /// Returns the work queue in which reads of frozen content wait for the live device's resume.
    pub(crate) fn waits(&self) -> &WorkQueue {
        &self.queues.waits
    }
}

impl Wake for Engine {
    fn wake(self: Arc<Self>) {
        self.kick();
    }
}
