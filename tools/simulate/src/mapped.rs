// SPDX-License-Identifier: GPL-2.0

//! Device-mapper's part: a mapped device whose target is an engine.
//!
//! # States
//!
//! 1. *Suspended*: bios are kept.
//! 2. *Active*: bios are mapped.
//! 3. *Suspending*: bios that come are kept; those under way end, or come back with a noflush
//!    suspend.

#![forbid(unsafe_code)]

use dm_preserve_core::uapi::args::Options;
use dm_preserve_engine::engine::Engine;
use dm_preserve_engine::engine::TargetNumber;
use dm_shim::Bio;
use dm_shim::Events;
use dm_shim::Incoming;
use dm_shim::Owner;
use dm_shim::Parts;
use dm_shim::Status;
use dm_shim::Target;
use dm_shim::Ticket;
use kernel::machine;
use kernel::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::Arc as StdArc;
use std::sync::Mutex;

/// The target `preserve`, as far as the engine knows it.
struct Live;

impl Target for Live {
    type PerBio = Option<Ticket>;
}

/// A bio that is kept, and the I/O that it belongs to.
type Kept = (Parts, StdArc<UserIo>);

/// See the [module's documentation](self).
pub(crate) struct Mapped {
    pub(crate) engine: Arc<Engine>,
    events: Arc<Events>,
    /// The target's number.
    number: TargetNumber,
    is_suspended: AtomicBool,
    under_way: AtomicU64,
    /// The length of the table.
    sectors: AtomicU64,
    kept: Mutex<Vec<Kept>>,
}

impl Mapped {
    /// Makes a device that is suspended.
    pub(crate) fn new(engine: Arc<Engine>, events: Arc<Events>) -> StdArc<Self> {
        StdArc::new(Self {
            number: engine.phases().new_target(),
            engine,
            events,
            is_suspended: AtomicBool::new(true),
            under_way: AtomicU64::new(0),
            sectors: AtomicU64::new(0),
            kept: Mutex::new(Vec::new()),
        })
    }

    /// Makes the table active.
    ///
    /// Errors: those of the target's preresume.
    pub(crate) fn resume(
        self: &StdArc<Self>,
        sectors: u64,
        options: Options,
    ) -> kernel::error::Result {
        self.engine.bind(self.number, sectors, options)?;
        self.engine.events().set_sink(self.events.clone());
        self.engine.activate();
        self.sectors.store(sectors, Relaxed);
        self.is_suspended.store(false, Relaxed);
        let kept = std::mem::take(&mut *self.kept.lock().unwrap());
        for (parts, io) in kept {
            self.map(parts, io);
        }
        Ok(())
    }

    /// Returns the device's length.
    pub(crate) fn sectors(&self) -> u64 {
        self.sectors.load(Relaxed)
    }

    /// Returns true while I/O is under way.
    pub(crate) fn is_busy(&self) -> bool {
        self.under_way.load(Relaxed) > 0
    }

    /// Suspends the device. With `noflush` bios that wait may come back, and are kept.
    pub(crate) fn suspend(&self, noflush: bool) {
        if noflush {
            self.events.set_suspending_noflush(true);
            self.engine.requeue_held(&self.events);
        }
        self.is_suspended.store(true, Relaxed);
        machine::point();
        while self.under_way.load(Relaxed) > 0 {
            machine::park(machine::key(self), None);
        }
        self.engine.deactivate();
        self.events.set_suspending_noflush(false);
    }

    /// Removes a suspended device.
    pub(crate) fn remove(&self) {
        self.events.set_removed();
        self.destroy();
    }

    /// Destroys the target of a suspended device, as the interface does.
    pub(crate) fn destroy(&self) {
        let is_removed = self.events.is_device_removed();
        self.engine.note_destroyed(self.number, is_removed);
        self.engine.remember_end();
        self.engine.shut_down();
    }

    /// Maps a bio, or keeps it while the device is suspended.
    fn map(self: &StdArc<Self>, parts: Parts, io: StdArc<UserIo>) {
        let mut next = Some(parts);
        while let Some(parts) = next {
            if self.is_suspended.load(Relaxed) {
                self.kept.lock().unwrap().push((parts, io.clone()));
            } else {
                self.under_way.fetch_add(1, Relaxed);
                let bio = Bio::new(parts, io.clone());
                self.engine.writes().map(Incoming::<Live>::new(bio));
            }
            next = io.rest.lock().unwrap().pop();
        }
    }
}

/// An I/O of a user: a bio, and what it was divided into.
pub(crate) struct UserIo {
    device: StdArc<Mapped>,
    rest: Mutex<Vec<Parts>>,
    left: AtomicU64,
    has_failed: AtomicBool,
    /// Itself, for bios that are kept.
    this: std::sync::Weak<UserIo>,
}

impl UserIo {
    /// Does an I/O and waits for it. Returns true if all of it has succeeded.
    pub(crate) fn run(device: &StdArc<Mapped>, parts: Parts) -> bool {
        let io = StdArc::new_cyclic(|this| Self {
            device: device.clone(),
            rest: Mutex::new(Vec::new()),
            left: AtomicU64::new(1),
            has_failed: AtomicBool::new(false),
            this: this.clone(),
        });
        device.map(parts, io.clone());
        while io.left.load(Relaxed) > 0 {
            machine::park(machine::key(&*io), None);
        }
        !io.has_failed.load(Relaxed)
    }
}

impl Owner<Option<Ticket>> for UserIo {
    fn ended(&self, mut bio: Bio<Option<Ticket>>) {
        // The target's end_io.
        if let Some(ticket) = bio.state().take() {
            self.device.engine.state().leave(ticket);
        }
        let status = bio.status();
        if status == Status::REQUEUE {
            assert!(
                self.device.events.is_suspending_noflush(),
                "a bio came back although no noflush suspend is under way"
            );
            let this = self.this.upgrade().unwrap();
            let parts = bio.into_parts();
            self.device.kept.lock().unwrap().push((parts, this));
        } else {
            if status != Status::OK {
                self.has_failed.store(true, Relaxed);
            }
            self.left.fetch_sub(1, Relaxed);
            machine::wake(machine::key(self));
        }
        self.device.under_way.fetch_sub(1, Relaxed);
        machine::wake(machine::key(&*self.device));
    }

    fn split(&self, rest: Parts) {
        self.left.fetch_add(1, Relaxed);
        self.rest.lock().unwrap().push(rest);
    }
}
