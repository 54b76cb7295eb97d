// SPDX-License-Identifier: GPL-2.0

//! dm-preserve: freezes a point in time of the selected chunks of a block device.
//!
//! Two device-mapper targets and a misc device:
//!
//! - `preserve` ([`live`]): the device that users mount and write;
//! - `preserve-view` ([`view`]): a read-only device that shows a snapshot;
//! - `/dev/preserve-control` ([`control`]): ioctls for backup tools.
//!
//! The way of a write: [`live`] hands it to [`write`], which lets it go, or gives it to the [`copier`] and its [`copy`]. The
//! way of a frozen read: [`view`] (or [`control`]), then [`frozen`]. What both decide by: the
//! [`timeline`]. `Documentation/design.rst` is the long version.
//!
//! All unsafe code is in `bindings.rs` and [`dm`]. The crate's root denies it for everybody; these two
//! allow it for themselves; every other file says `#![forbid(unsafe_code)]`, which nothing can lift.

#![deny(unsafe_code)]

mod announce;
mod args;
mod argument;
mod attributes;
mod beyond;
mod bindings;
mod bitmap;
mod boot;
mod checkpoint;
mod checksum;
mod chunk;
mod claims;
mod control;
mod copier;
mod copies;
mod copy;
mod designation;
mod disk;
mod dm;
mod dropping;
mod editing;
mod engine;
mod entry;
mod events;
mod extents;
mod failing;
mod figures;
mod fingerprint;
mod frozen;
mod headers;
mod image;
mod index;
mod instant;
mod journal;
mod layout;
mod live;
mod loaded;
mod logbook;
mod ondisk;
mod persist;
mod phases;
mod queue;
mod queues;
mod quiesce;
mod records;
mod recover;
mod region;
mod registry;
mod replay;
mod runs;
mod saved;
mod segments;
mod session;
mod snapshot;
mod space;
mod store_disk;
mod superblock;
mod timeline;
mod trust;
#[expect(
    unreachable_pub,
    dead_code,
    reason = "user space compiles the same file"
)]
mod uapi;
mod view;
mod vouching;
mod write;

use dm::errors;
use kernel::miscdevice::MiscDeviceOptions;
use kernel::miscdevice::MiscDeviceRegistration;
use kernel::prelude::*;

/// Version of the targets and of the module's interface: major, minor, patch.
const VERSION: [u32; 3] = [0, 1, 0];

module! {
    type: DmPreserve,
    name: "dm_preserve",
    authors: ["The dm-preserve developers"],
    description: "device-mapper target that preserves and tracks selected chunks",
    license: "GPL",
}

/// The loaded module.
///
/// Fields are dropped in declaration order: first nobody can come any more, then the registry goes.
#[pin_data]
struct DmPreserve {
    #[pin]
    _control: MiscDeviceRegistration<control::Control>,
    #[pin]
    _view: dm::Registration<view::View>,
    #[pin]
    _live: dm::Registration<live::Live>,
    _registry: Registered,
}

/// The registry is there while this lives.
struct Registered;

impl Registered {
    fn new() -> Result<Self> {
        boot::begin()?;
        // From here on it is taken down again.
        let registered = Self;
        registry::REGISTRY.set(Some(registry::Registry::new()?));
        Ok(registered)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        // Nobody uses it: the targets and the device are unregistered. Only work may still run.
        if let Some(registry) = registry::REGISTRY.get() {
            registry.flush();
        }
        registry::REGISTRY.set(None);
        boot::end();
    }
}

impl kernel::InPlaceModule for DmPreserve {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        let options = MiscDeviceOptions {
            name: c"preserve-control",
        };
        try_pin_init!(Self {
            _registry: Registered::new()?,
            _live <- dm::Registration::new(module),
            _view <- dm::Registration::new(module),
            _control <- MiscDeviceRegistration::register(options),
        }? Error)
    }
}
