// SPDX-License-Identifier: GPL-2.0

//! A device's life: from its drives to a live device, and back.

#![forbid(unsafe_code)]

use crate::config::Config;
use crate::mapped::Mapped;
use dm_preserve_core::store::Trouble;
use dm_preserve_engine::engine::boot;
use dm_preserve_engine::engine::Engine;
use dm_preserve_engine::engine::Identity;
use dm_preserve_engine::engine::Queues;
use dm_shim::drive;
use dm_shim::drive::Drive;
use dm_shim::DevT;
use dm_shim::Events;
use kernel::prelude::*;
use kernel::sync::Arc;
use sim::SimDisk;
use std::sync::Arc as StdArc;

const LIVE: DevT = DevT(1);
const ORIGIN: DevT = DevT(2);
const STORE: DevT = DevT(3);

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
            store: SimDisk::new(config.store_blocks),
        }
    }
}

/// A device that is in use.
pub(crate) struct Device {
    pub(crate) mapped: StdArc<Mapped>,
    pub(crate) origin: StdArc<Drive>,
    pub(crate) store: StdArc<Drive>,
    queues: Arc<Queues>,
}

impl Device {
    /// Boots a machine with these drives, loads the module, and makes the device.
    ///
    /// Errors: those of the engine, as text.
    pub(crate) fn create(config: &Config, disks: Disks, boot: u64) -> Result<Self, String> {
        dm_shim::set_boot_id(boot);
        boot::begin().map_err(|error| format!("boot: {error:?}"))?;
        let origin = drive::plug_in(ORIGIN, disks.origin);
        let store = drive::plug_in(STORE, disks.store);
        let queues = Queues::new().and_then(|queues| Ok(Arc::new(queues, GFP_KERNEL)?));
        let queues = queues.map_err(|error| format!("queues: {error:?}"))?;
        let identity = Identity {
            live: LIVE,
            origin: ORIGIN,
            store: STORE,
        };
        let engine = Engine::new(identity, config.shape(), config.options, queues.clone());
        let engine = engine.map_err(|trouble| match trouble {
            Trouble::Because(why) => format!("refused: {}", why.to_string_lossy()),
            Trouble::Error(error) => format!("refused: {error:?}"),
        })?;
        let events = Arc::new(Events::new(), GFP_KERNEL).map_err(|_| "memory")?;
        let mapped = Mapped::new(engine, events);
        let resumed = mapped.resume(config.shape().sectors(), config.options);
        resumed.map_err(|error| format!("resume: {error:?}"))?;
        Ok(Self {
            mapped,
            origin,
            store,
            queues,
        })
    }

    /// Removes the device and unloads the module. Returns what is on the drives then.
    pub(crate) fn remove(self) -> Disks {
        self.mapped.suspend(false);
        self.mapped.remove();
        drop(self.mapped);
        self.queues.flush();
        boot::end();
        let disks = Disks {
            origin: self.origin.disk().clone(),
            store: self.store.disk().clone(),
        };
        disks
    }
}
