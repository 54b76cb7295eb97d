// SPDX-License-Identifier: GPL-2.0

//! The engine: all state of one live device, shared by the targets, views and controls that use it.
//!
//! What it does is in other files: its [phases](crate::phases), a write's way ([`write`](crate::write), [`copier`](crate::copier),
//! [`copy`](crate::copy)), [snapshots](crate::snapshot), the persistent store ([`session`](crate::session),
//! [`checkpoint`](crate::checkpoint), [`journal`](crate::journal)).
//!
//! # Lock order
//!
//! `editor`, or `slow` (the copier's state); then `control`, `persist`, the gate (closing it), the journal, and then `timeline`,
//! `designation`, `incoming` and the locks of [`Copies`]. Whoever is inside the gate must not wait for `slow` or `control`. Neither
//! `control` nor `slow` is held while waiting for a task that needs it, or over sysfs and open calls.

#![forbid(unsafe_code)]

use crate::args::Options;
use crate::bitmap::Bitmap;
use crate::chunk::Geometry;
use crate::claims::Slow;
use crate::copies::Copies;
use crate::copies::Store;
use crate::designation::Designation;
use crate::dm;
use crate::dm::BlockDevice;
use crate::dm::DevT;
use crate::dm::Events;
use crate::dm::Gate;
use crate::dm::Io;
use crate::dm::IrqStack;
use crate::dm::List;
use crate::events::Event;
use crate::events::EventLog;
use crate::journal::Journal;
use crate::live::LiveBio;
use crate::ondisk::BLOCK_SECTORS;
use crate::persist;
use crate::persist::Persist;
use crate::phases::Phase;
use crate::queues::Queues;
use crate::region;
use crate::superblock::Trouble;
use crate::timeline;
use kernel::impl_has_work;
use kernel::new_condvar;
use kernel::new_mutex;
use kernel::new_spinlock;
use kernel::new_work;
use kernel::prelude::*;
use kernel::sync::atomic::Acquire;
use kernel::sync::atomic::Atomic;
use kernel::sync::atomic::Full;
use kernel::sync::atomic::Relaxed;
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
    /// The checkpoint generation; stays 0 with a transient store.
    pub(crate) generation: u64,
    /// The regions announced in the log for this epoch and generation, with a persistent store.
    pub(crate) regions: Option<Arc<Bitmap>>,
}

/// What only those who hold the control lock change.
pub(crate) struct Control {
    /// The checkpoint generation.
    pub(crate) generation: u64,
}

/// Things counted since the engine exists.
pub(crate) struct Counters {
    /// Writes that had to wait.
    pub(crate) waited: Atomic<u64>,
    /// Chunks that could not be read before they were overwritten.
    pub(crate) gone: Atomic<u64>,
    /// Snapshots given up.
    pub(crate) invalidated: Atomic<u64>,
    /// Reads of frozen content that found the store damaged.
    pub(crate) damaged: Atomic<u64>,
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
    /// Changes whenever tracking breaks; with a transient store that is with the engine.
    pub(crate) generation: [u8; 16],
    /// The persistent store's.
    pub(crate) store_uuid: [u8; 16],
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
    /// The next snapshot's id; changed with the control lock held.
    pub(crate) next_id: Atomic<u64>,
    /// The designation as it is now; replaced under the editor lock.
    #[pin]
    designation: SpinLock<Arc<Designation>>,
    #[pin]
    pub(crate) options: SpinLock<Options>,

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
    /// The target that is being suspended noflush.
    #[pin]
    pub(crate) suspending: SpinLock<Option<Arc<Events>>>,

    #[pin]
    pub(crate) phase: Mutex<Phase>,
    #[pin]
    pub(crate) phase_changed: CondVar,

    /// A target has begun to become active since one was last suspended.
    pub(crate) is_bound: Atomic<bool>,
    /// Writes have gone past: see [`phases`](crate::phases).
    pub(crate) was_bypassed: Atomic<bool>,

    #[pin]
    pub(crate) log: EventLog,

    /// The log of a persistent store.
    #[pin]
    pub(crate) journal: Journal,
    /// Its superblocks; `None` with a transient store.
    #[pin]
    pub(crate) persist: Mutex<Option<Persist>>,
    /// Snapshots and bookmarks up to this id are unproven, as the superblocks say too.
    pub(crate) unproven_up_to: Atomic<u64>,
    persistent: bool,
    #[pin]
    pub(crate) journal_work: Work<Engine, JOURNAL>,
    #[pin]
    pub(crate) checkpoint_work: Work<Engine, CHECKPOINT>,

    queues: Arc<Queues>,
    #[pin]
    pub(crate) work: Work<Engine, COPIER>,
    #[pin]
    pub(crate) events_work: Work<Engine, EVENTS>,
    /// No copy is in flight; belongs to `slow`.
    #[pin]
    pub(crate) copies_done: CondVar,
    /// Serialises editors of the designation.
    #[pin]
    pub(crate) editor: Mutex<()>,
}

/// Number of the copier's work among the engine's.
pub(crate) const COPIER: u64 = 0;
/// Number of the journal's.
pub(crate) const JOURNAL: u64 = 1;
/// Number of the checkpoint's.
pub(crate) const CHECKPOINT: u64 = 2;
/// Number of that which tells of events.
pub(crate) const EVENTS: u64 = 3;

impl_has_work! {
    impl HasWork<Self, COPIER> for Engine { self.work }
    impl HasWork<Self, JOURNAL> for Engine { self.journal_work }
    impl HasWork<Self, CHECKPOINT> for Engine { self.checkpoint_work }
    impl HasWork<Self, EVENTS> for Engine { self.events_work }
}

/// A map of regions, none of which is announced.
pub(crate) fn no_regions(chunks: u64) -> Result<Arc<Bitmap>> {
    Ok(Arc::new(Bitmap::new(region::count(chunks))?, GFP_KERNEL)?)
}

/// A transient store overwrites what is there; snapshots that were meant to last are not to go unnoticed.
fn refuse_persistent(store: &BlockDevice) -> Result<(), Trouble> {
    match persist::holds_a_store(store)? {
        true => Err(Trouble::Because(
            c"The store holds persistent snapshots: if they may go, wipe its first 8 KiB",
        )),
        false => Ok(()),
    }
}

/// Another mapped device on the same device may be harmless, as one that only reads is, or not.
fn warn_if_shared(identity: &Identity, device: &BlockDevice, what: &str) {
    if device.is_shared() {
        pr_warn!(
            "{}: another mapped device uses the {what} {} too: what it writes there is neither tracked nor preserved; see dmsetup ls --tree\n",
            identity.live,
            device.devt()
        );
    }
}

impl Engine {
    /// Opens the devices, and finds out what a persistent store holds. Writes nothing. May sleep, and take long.
    pub(crate) fn new(
        identity: Identity,
        shape: Geometry,
        options: Options,
        queues: Arc<Queues>,
    ) -> Result<Arc<Self>, Trouble> {
        let origin = BlockDevice::open(identity.origin, true)?;
        let store_device = BlockDevice::open(identity.store, true)?;
        warn_if_shared(&identity, &origin, "origin");
        warn_if_shared(&identity, &store_device, "store");
        let default = options.default_protected;
        let (store, recovered) = match options.transient {
            true => {
                refuse_persistent(&store_device)?;
                (Store::new(shape.chunk(store_device.sectors()), 1)?, None)
            }
            false => {
                let store = Store::new(0, shape.chunk_sectors() / BLOCK_SECTORS)?;
                let found = persist::recover(&store_device, &origin, &store, shape, default)
                    .map_err(Trouble::while_reading)?;
                (store, Some(found))
            }
        };
        let (known, state) = match recovered {
            Some(recovered) => (Some(recovered.persist), recovered.state),
            None => (None, persist::new_state(shape, default)?),
        };
        let (epoch, marks) = match state.timeline.present() {
            Some(present) => (present.id, present.marks.clone()),
            None => return Err(EINVAL.into()),
        };
        let generation = known
            .as_ref()
            .map_or_else(dm::random_uuid, Persist::generation);
        let unproven = known.as_ref().map_or(0, Persist::unproven);
        let store_uuid = known.as_ref().map_or([0; 16], Persist::store);
        let persistent = known.is_some();
        let slow = Slow::new(shape.chunk_bytes())?;
        let slots = slow.slots();
        let control = Control {
            generation: state.generation,
        };
        let present = Present {
            epoch,
            marks,
            generation: state.generation,
            // Until the first checkpoint no region is announced.
            regions: match persistent {
                true => Some(no_regions(shape.chunks())?),
                false => None,
            },
        };
        let init = try_pin_init!(Self {
            identity,
            generation,
            store_uuid,
            origin,
            store_device,
            shape,
            // What was saved; `bind` sees to it that the device has grown since.
            sectors: Atomic::new(state.sectors),
            store,
            counters: Counters {
                waited: Atomic::new(0),
                gone: Atomic::new(0),
                invalidated: Atomic::new(0),
                damaged: Atomic::new(0),
            },
            gate <- Gate::new(present),
            timeline <- new_spinlock!(state.timeline, "Engine::timeline"),
            control <- new_mutex!(control, "Engine::control"),
            next_id: Atomic::new(state.next_id),
            designation <- new_spinlock!(state.designation, "Engine::designation"),
            options <- new_spinlock!(options, "Engine::options"),
            incoming <- new_spinlock!(List::new(), "Engine::incoming"),
            finished: IrqStack::new(),
            slow <- new_mutex!(slow, "Engine::slow"),
            blocked: Atomic::new(false),
            low_space: Atomic::new(false),
            suspending <- new_spinlock!(None, "Engine::suspending"),
            phase <- new_mutex!(Phase::Setup, "Engine::phase"),
            phase_changed <- new_condvar!("Engine::phase_changed"),
            is_bound: Atomic::new(false),
            was_bypassed: Atomic::new(false),
            log <- EventLog::new(),
            journal <- Journal::new(slots),
            persist <- new_mutex!(known, "Engine::persist"),
            unproven_up_to: Atomic::new(unproven),
            persistent,
            journal_work <- new_work!("Engine::journal_work"),
            checkpoint_work <- new_work!("Engine::checkpoint_work"),
            queues,
            work <- new_work!("Engine::work"),
            events_work <- new_work!("Engine::events_work"),
            copies_done <- new_condvar!("Engine::copies_done"),
            editor <- new_mutex!((), "Engine::editor"),
        }? Error);
        Ok(Arc::pin_init(init, GFP_KERNEL)?)
    }

    /// Whether snapshots and the record of changes survive.
    pub(crate) fn is_persistent(&self) -> bool {
        self.persistent
    }

    /// First sector in the store of the content at a position.
    pub(crate) fn store_sector(&self, position: u64) -> u64 {
        match self.persistent {
            true => position * BLOCK_SECTORS,
            false => self.shape.sector(position),
        }
    }

    /// Sectors of the store that can hold contents, and how many of them are in use.
    pub(crate) fn store_space(&self) -> (u64, u64) {
        let segments = self
            .store
            .with_segments(|segments| (segments.capacity(), segments.used()));
        match segments {
            Some((capacity, used)) => (capacity * BLOCK_SECTORS, used * BLOCK_SECTORS),
            None => {
                let pool = self.store.pool.lock();
                (
                    self.shape.sector(pool.capacity()),
                    self.shape.sector(pool.used()),
                )
            }
        }
    }

    /// Sends an event when the store has filled beyond the mark, once until it has emptied below it.
    pub(crate) fn watch_space(self: &Arc<Self>) {
        let (capacity, used) = self.store_space();
        let low = used.saturating_mul(100) >= capacity.saturating_mul(self.options().low_space);
        // Looked at first, as it hardly ever changes.
        if self.low_space.load(Relaxed) != low && self.low_space.xchg(low, Full) != low && low {
            self.event(Event::LowSpace);
        }
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
        let _ = self.queues.writes.enqueue::<_, COPIER>(self.clone());
    }

    /// Lets the journal take in what has been written.
    pub(crate) fn kick_journal(self: &Arc<Self>) {
        let _ = self.queues.journal.enqueue::<_, JOURNAL>(self.clone());
    }

    /// Has a checkpoint made.
    pub(crate) fn kick_checkpoint(self: &Arc<Self>) {
        if self.persistent {
            let _ = self.queues.writes.enqueue::<_, CHECKPOINT>(self.clone());
        }
    }

    /// Has events sent.
    pub(crate) fn kick_events(self: &Arc<Self>) {
        let _ = self.queues.events.enqueue::<_, EVENTS>(self.clone());
    }

    /// Publishes a timeline; the old one is freed here at the earliest.
    pub(crate) fn publish(&self, new: Arc<Timeline>) {
        let old = core::mem::replace(&mut *self.timeline.lock(), new);
        drop(old);
    }
}
