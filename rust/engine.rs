// SPDX-License-Identifier: GPL-2.0

//! One live device at work: all its state, shared by the targets, views and controls that use it.
//!
//! # Parts
//!
//! Each owns its fields, and shares what is below. Calls go down this list; what is below knows
//! nothing of what is above, but for the one thing that goes up: the [waker](wake).
//!
//! - [`life`]: what device-mapper's calls do to an engine;
//! - [`write`]: a write's way, and the copier;
//! - [`upkeep`]: what is given up when space or the store fails;
//! - [`read`]: frozen content (rule 5); [`change`]: what changes history;
//! - [`session`]: a persistent store in use, its superblocks and checkpoints;
//! - [`log`]: records on their way to the store;
//! - [`ground`]: what all of these stand on: [`state`] (what is known now), [`device`] (which
//!   devices these are), [`space`] (an epoch's copies), [`events`] (what user space is told),
//!   [`phase`], [`queues`] (where work is done), [`boot`] (stores that have failed since boot), and
//!   [`reserves`] (how much memory is set aside).
//!
//! # Lock order
//!
//! `editor`, or `copier` (the copier's state); then `control`, `superblocks`, the gate (closing
//! it), the log, and then `designation`, `incoming`, `phase`, and the locks of [`Copies`] and of
//! the waker. Whoever is inside the gate must not wait for `copier` or `control`. Neither `control`
//! nor `copier` is held while waiting for a task that needs it, or over sysfs and open calls.

#![forbid(unsafe_code)]

pub mod boot;
mod change;
mod device;
mod events;
mod ground;
mod life;
mod log;
mod phase;
mod queues;
mod read;
mod reserves;
mod session;
mod space;
mod state;
mod upkeep;
mod wake;
mod write;

pub use device::Device;
pub use device::Identity;
pub use phase::read_deadline;
pub use phase::Phase;
pub use phase::TargetNumber;
pub use queues::SharedQueues;
pub use read::Kind;
pub use read::Piece;
pub use read::ReadBuffer;
pub use read::Source;
pub use reserves::Reserves;
pub use space::Copies;
pub use state::Epoch;
pub use state::State;
pub use state::Timeline;

use crate::dm;
use crate::dm::WorkQueue;
use crate::format::BLOCK_SECTORS;
use crate::maps::Geometry;
use crate::store::Checkpoint;
use crate::store::Trouble;
use crate::uapi::args::Options;
use change::Changes;
use device::Opened;
use device::Uuids;
use events::EventLog;
use ground::Ground;
use kernel::prelude::*;
use kernel::sync::Arc;
use log::contents::Returned;
use log::Log;
use phase::Phases;
use queues::Queues;
use read::Frozen;
use session::open;
use session::superblocks::Superblocks;
use session::Session;
use space::Space;
use state::no_regions;
use state::Known;
use state::Present;
use upkeep::Upkeep;
use wake::Waker;
use write::Copier;
use write::Writes;

/// The engine. See the [module's documentation](self).
pub struct Engine {
    ground: Ground,
    log: Arc<Log>,
    session: Arc<Session>,
    changes: Arc<Changes>,
    frozen: Frozen,
    upkeep: Arc<Upkeep>,
    writes: Arc<Writes>,
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
    space: Arc<Space>,
    /// `None` with a transient store.
    superblocks: Option<Superblocks>,
    checkpoint: Checkpoint<Copies>,
}

/// Finds out what the devices of a table hold. Reads only. May sleep, and take long.
///
/// Errors: a text if the store cannot be used, `ENOMEM`, both as [`Trouble`].
fn find(
    opened: &Opened,
    shape: Geometry,
    options: &Options,
    waker: &Arc<Waker>,
) -> Result<Holdings, Trouble> {
    let default = options.default_protected;
    if options.transient {
        refuse_persistent(opened)?;
        return Ok(Holdings {
            space: Space::transient(shape.chunk(opened.store().sectors()), waker.clone())?,
            superblocks: None,
            checkpoint: open::blank_checkpoint(shape, default)?,
        });
    }
    let space = Space::persistent(shape.chunk_sectors() / BLOCK_SECTORS, waker.clone())?;
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
            period: checkpoint.period,
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

/// Returns the UUIDs of what was found. Those of a transient store are new.
fn uuids(found: &Holdings) -> Uuids {
    let superblocks = found.superblocks.as_ref();
    Uuids {
        generation: superblocks.map_or_else(dm::random_uuid, Superblocks::generation),
        store: superblocks.map(Superblocks::store),
    }
}

impl Engine {
    /// Opens the devices, and finds out what a persistent store holds. Writes nothing. May sleep,
    /// and take long.
    ///
    /// Errors, as [`Trouble`]: a text if the devices cannot be used, otherwise those of opening and
    /// reading them, `ENOMEM`.
    pub fn new(
        identity: Identity,
        shape: Geometry,
        options: Options,
        reserves: Reserves,
        shared: Arc<SharedQueues>,
    ) -> Result<Arc<Self>, Trouble> {
        let opened = Opened::new(identity)?;
        let waker = Waker::new()?;
        let found = find(&opened, shape, &options, &waker)?;
        let known = known(&found, shape)?;
        // What was saved; `bind` sees to it that the device has grown since.
        let sectors = found.checkpoint.sectors;
        let device = Device::new(opened, uuids(&found), shape, sectors, options);
        let ground = Ground {
            device: Arc::pin_init(device, GFP_KERNEL)?,
            state: Arc::pin_init(State::new(known), GFP_KERNEL)?,
            space: found.space,
            events: EventLog::new(shared.clone())?,
            phases: Arc::pin_init(Phases::new(), GFP_KERNEL)?,
            queues: Queues::new(identity.live, &shared)?,
            shared,
            waker,
        };
        Ok(Self::on(ground, found.superblocks, reserves)?)
    }

    /// Puts the parts on their ground, the lowest first. May sleep.
    ///
    /// Errors: `ENOMEM`.
    fn on(
        ground: Ground,
        superblocks: Option<Superblocks>,
        reserves: Reserves,
    ) -> Result<Arc<Self>> {
        let returned = Arc::new(Returned::new(), GFP_KERNEL)?;
        let copier = Copier::new(ground.device.shape().chunk_bytes(), reserves, &returned)?;
        let log = Log::new(&ground, returned.clone(), copier.slots())?;
        let session = Session::new(&ground, log.clone(), superblocks)?;
        let changes = Changes::new(&ground, log.clone(), session.clone())?;
        let frozen = Frozen::new(&ground);
        let upkeep = Upkeep::new(&ground, log.clone(), session.clone(), changes.clone())?;
        let writes = Writes::new(
            &ground,
            log.clone(),
            upkeep.clone(),
            returned,
            copier,
            reserves.map_pages,
        )?;
        let engine = Self {
            ground,
            log,
            session,
            changes,
            frozen,
            upkeep,
            writes,
        };
        Ok(Arc::new(engine, GFP_KERNEL)?)
    }

    /// Returns the device: which devices these are, and their sizes and options.
    pub fn device(&self) -> &Device {
        &self.ground.device
    }

    /// Returns what is known now.
    pub fn state(&self) -> &State {
        &self.ground.state
    }

    /// Returns which phase the engine is in.
    pub fn phases(&self) -> &Phases {
        &self.ground.phases
    }

    /// Returns the events of the device.
    pub fn events(&self) -> &Arc<EventLog> {
        &self.ground.events
    }

    /// Returns the writes of the device.
    pub fn writes(&self) -> &Arc<Writes> {
        &self.writes
    }

    /// Returns what users ask for, and what becomes of the store.
    pub fn upkeep(&self) -> &Arc<Upkeep> {
        &self.upkeep
    }

    /// Returns the changes of history for which nothing is given up and nobody is told.
    pub fn changes(&self) -> &Changes {
        &self.changes
    }

    /// Returns the frozen content.
    pub fn frozen(&self) -> &Frozen {
        &self.frozen
    }

    /// Returns the number of sectors of the store that can hold contents, and how many of them are
    /// in use.
    pub fn store_sectors(&self) -> (u64, u64) {
        self.ground.space.sectors(self.ground.device.shape())
    }

    /// Returns true if the persistent store has failed.
    pub fn has_failed(&self) -> bool {
        self.log.has_failed()
    }

    /// Returns true while writes wait that should be logged, as the store cannot be written.
    pub fn is_failing(&self) -> bool {
        self.log.is_failing()
    }

    /// Returns the work queue in which reads of frozen content wait for the live device's resume.
    pub fn waits(&self) -> &WorkQueue {
        &self.ground.shared.waits
    }
}
