// SPDX-License-Identifier: GPL-2.0

//! A device's life: from its drives to a live device, and back.

#![forbid(unsafe_code)]

use crate::config::Config;
use crate::mapped::Mapped;
use dm_preserve_core::store::Trouble;
use dm_preserve_engine::engine::boot;
use dm_preserve_engine::engine::Engine;
use dm_preserve_engine::engine::Identity;
use dm_preserve_engine::engine::SharedQueues;
use dm_shim::drive;
use dm_shim::drive::Drive;
use dm_shim::BlockDevice;
use dm_shim::DevT;
use dm_shim::Direction;
use dm_shim::Events;
use dm_shim::Io;
use kernel::prelude::*;
use kernel::sync::Arc;
use sim::SimDisk;
use std::sync::Arc as StdArc;

const LIVE: DevT = DevT(1);
const ORIGIN: DevT = DevT(2);
const STORE: DevT = DevT(3);
/// What is written past the module.
const PAST: [u8; 4096] = [0xaa; 4096];

/// The two drives' content.
#[derive(Clone)]
pub(crate) struct Disks {
    pub(crate) origin: SimDisk,
    pub(crate) store: SimDisk,
}

impl Disks {
    /// Those of a new device, all zero.
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            origin: SimDisk::new(config.origin_blocks()),
            store: SimDisk::new(config.get("store_blocks")),
        }
    }
}

/// The drives of a machine that has booted, and the module.
pub(crate) struct Machine {
    pub(crate) origin: StdArc<Drive>,
    pub(crate) store: StdArc<Drive>,
    queues: Arc<SharedQueues>,
}

impl Machine {
    /// Boots a machine with these drives, and loads the module.
    ///
    /// Errors: those of loading the module, as text.
    pub(crate) fn boot(disks: Disks, boot: u64) -> Result<Self, String> {
        dm_shim::set_boot_id(boot);
        boot::begin().map_err(|error| format!("boot: {error:?}"))?;
        let queues = SharedQueues::new();
        Ok(Self {
            origin: drive::plug_in(ORIGIN, disks.origin),
            store: drive::plug_in(STORE, disks.store),
            queues: queues.map_err(|error| format!("queues: {error:?}"))?,
        })
    }

    /// Makes the device.
    ///
    /// Errors: those of the engine, as text.
    pub(crate) fn create(&self, config: &Config) -> Result<StdArc<Mapped>, String> {
        let identity = Identity {
            live: LIVE,
            origin: ORIGIN,
            store: STORE,
        };
        let sectors = self.origin.sectors();
        let shape = config.shape(sectors);
        let engine = Engine::new(
            identity,
            shape,
            config.options,
            config.reserves(),
            self.queues.clone(),
        );
        let engine = engine.map_err(|trouble| match trouble {
            Trouble::Because(why) => format!("refused: {}", why.to_string_lossy()),
            Trouble::Error(error) => format!("refused: {error:?}"),
        })?;
        let events = Arc::new(Events::new(), GFP_KERNEL).map_err(|_| "memory")?;
        let mapped = Mapped::new(engine, events);
        let resumed = mapped.resume(sectors, config.options);
        resumed.map_err(|error| format!("resume: {error:?}"))?;
        Ok(mapped)
    }

    /// Removes the device. Nobody uses it any longer.
    pub(crate) fn remove(&self, mapped: StdArc<Mapped>) {
        mapped.suspend(false);
        mapped.remove();
        drop(mapped);
    }

    /// Lets a foreign table take the device's place. Nobody uses it any longer.
    pub(crate) fn replace(&self, mapped: StdArc<Mapped>) {
        mapped.suspend(false);
        mapped.destroy();
        drop(mapped);
    }

    /// Writes to the origin, past the module.
    ///
    /// Errors: those of the drive.
    pub(crate) fn write_past(&self) -> kernel::error::Result {
        let mut io = Io::new(PAST.len(), ())?;
        io.copy_in(0, &PAST)?;
        let origin = BlockDevice::open(ORIGIN, true)?;
        // CAST: A block's size.
        io.run(&origin, Direction::Write, 0, PAST.len() as u32)
    }

    /// Unloads the module. Returns what is on the drives.
    pub(crate) fn shut_down(self) -> Disks {
        self.queues.drain_all();
        boot::end();
        let (origin, store) = (self.origin.disk().clone(), self.store.disk().clone());
        Disks { origin, store }
    }
}
