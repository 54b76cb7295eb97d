// SPDX-License-Identifier: GPL-2.0

//! The usual set of devices of a test: an origin, a store, and the live device over them.

#![forbid(unsafe_code)]

use std::ops::Deref;

use anyhow::Result;

use crate::dm::Dm;
use crate::live::Live;
use crate::loopdev::Loop;
use crate::nullblk::NullBlk;

/// What a rig is like.
pub struct Spec<'a> {
    /// Size of the live device in sectors.
    pub sectors: u64,
    /// Sectors per chunk.
    pub chunk: u64,
    /// Size of the store in sectors.
    pub store: u64,
    /// Optional arguments, `transient` apart.
    pub args: &'a [&'a str],
    /// The origin is a loop device, which has write-zeroes and is cheap while zero.
    pub sparse: bool,
}

impl Spec<'_> {
    /// A device of `mb` MiB with 4 KiB chunks, and a store as large.
    pub fn mb(mb: u64) -> Self {
        Spec {
            sectors: mb * 2048,
            chunk: 8,
            store: mb * 2048,
            args: &[],
            sparse: false,
        }
    }
}

/// The devices. They go in this order.
pub struct Rig {
    live: Live,
    /// The store: a linear device over null_blk, so that its size and table can change.
    pub store: Dm,
    /// The origin, the same.
    pub origin: Dm,
    store_disk: NullBlk,
    origin_disk: Backing,
}

/// What the origin is on.
enum Backing {
    Null(NullBlk),
    Loop(Loop),
}

/// Room that the disks have beyond what is used first, in MiB, for growing.
const SPARE_MB: u64 = 8;

impl Backing {
    fn path(&self) -> &str {
        match self {
            Backing::Null(disk) => disk.path(),
            Backing::Loop(disk) => disk.path(),
        }
    }
}

impl Rig {
    /// Makes the devices; the origin's content is zero.
    pub fn new(spec: &Spec<'_>) -> Result<Self> {
        let mb = |sectors: u64| sectors.div_ceil(2048) + SPARE_MB;
        let origin_disk = match spec.sparse {
            false => Backing::Null(NullBlk::new("vt-origin", mb(spec.sectors))?),
            true => Backing::Loop(Loop::new("vt-origin", mb(spec.sectors))?),
        };
        let store_disk = NullBlk::new("vt-store", mb(spec.store))?;
        let origin = Dm::linear("vt-o", origin_disk.path(), 0, spec.sectors)?;
        let store = Dm::linear("vt-s", store_disk.path(), 0, spec.store)?;
        let live = Live::create(
            "vt-live",
            spec.sectors,
            origin.path(),
            store.path(),
            spec.chunk,
            spec.args,
        )?;
        Ok(Rig {
            live,
            store,
            origin,
            store_disk,
            origin_disk,
        })
    }

    /// The live device.
    pub fn live(&self) -> &Live {
        &self.live
    }

    /// The disk under the origin.
    pub fn origin_disk(&self) -> &str {
        self.origin_disk.path()
    }

    /// The disk under the store.
    pub fn store_disk(&self) -> &str {
        self.store_disk.path()
    }

    /// The live device's table line, with other sizes or arguments.
    pub fn table(&self, sectors: u64, args: &[&str]) -> String {
        crate::live::table(
            sectors,
            self.origin.path(),
            self.store.path(),
            self.live.chunk(),
            args,
        )
    }
}

impl Deref for Rig {
    type Target = Live;
    fn deref(&self) -> &Live {
        &self.live
    }
}
