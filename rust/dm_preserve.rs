// SPDX-License-Identifier: GPL-2.0

//! dm-preserve: freezes a point in time of the selected chunks of a block device.
//!
//! Two device-mapper targets and a misc device:
//!
//! - `preserve` ([`interface::Live`]): the device that users mount and write;
//! - `preserve-view` ([`interface::View`]): a read-only device that shows a snapshot;
//! - `/dev/preserve-control` ([`interface::ControlFile`]): ioctls for backup tools.
//!
//! A write goes from `interface/live.rs` to `engine/write/map.rs`, which lets it pass or gives it
//! to the copier, `engine/write/copier.rs`. A read of frozen content goes from `interface/view.rs`
//! or `interface/control.rs` to `engine/read.rs`. Both decide by the timeline,
//! `history/timeline.rs`.
//! `Documentation/design.rst` tells more.
//!
//! All unsafe code is in `bindings.rs` and [`dm`]. The crate's root denies it for everybody; these
//! two allow it for themselves; every other file says `#![forbid(unsafe_code)]`, which nothing can
//! lift.

#![deny(unsafe_code)]

mod bindings;
mod dm;

mod interface;

// The simulator compiles the same files as a library, `engine_lib.rs`, which shows what is `pub`.
#[allow(unreachable_pub)]
mod engine;

// What needs no kernel. User space compiles the same files as a library, `lib.rs`, which offers
// more than the module uses.
#[allow(unreachable_pub, dead_code, unused_imports)]
mod store;

#[allow(unreachable_pub, dead_code, unused_imports)]
mod format;

#[allow(unreachable_pub, dead_code, unused_imports)]
mod history;

#[allow(unreachable_pub, dead_code, unused_imports)]
mod uapi;

#[allow(unreachable_pub, dead_code, unused_imports)]
mod maps;

#[allow(unreachable_pub)]
mod base;

use kernel::miscdevice::MiscDeviceOptions;
use kernel::miscdevice::MiscDeviceRegistration;
use kernel::prelude::*;

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
    _control: MiscDeviceRegistration<interface::ControlFile>,
    #[pin]
    _view: dm::Registration<interface::View>,
    #[pin]
    _live: dm::Registration<interface::Live>,
    _registry: RegistryGuard,
}

/// The registry is there while this lives.
struct RegistryGuard;

impl RegistryGuard {
    fn new() -> Result<Self> {
        engine::boot::begin()?;
        // From here on it is taken down again.
        let registered = Self;
        interface::registry::REGISTRY.set(Some(interface::registry::Registry::new()?));
        Ok(registered)
    }
}

impl Drop for RegistryGuard {
    fn drop(&mut self) {
        // Nobody uses it: the targets and the device are unregistered. Only work may still run.
        if let Some(registry) = interface::registry::REGISTRY.get() {
            registry.end_work();
        }
        // The queues go with it, before what their work may use.
        interface::registry::REGISTRY.set(None);
        engine::boot::end();
    }
}

impl kernel::InPlaceModule for DmPreserve {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        let options = MiscDeviceOptions {
            name: c"preserve-control",
        };
        try_pin_init!(Self {
            _registry: RegistryGuard::new()?,
            _live <- dm::Registration::new(module),
            _view <- dm::Registration::new(module),
            _control <- MiscDeviceRegistration::register(options),
        }? Error)
    }
}
