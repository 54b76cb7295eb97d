// SPDX-License-Identifier: GPL-2.0

//! The life of an engine: what device-mapper's calls to its targets do to it.
//!
//! Its states are in [`phase`](crate::engine::phase).

#![forbid(unsafe_code)]

use crate::dm;
use crate::dm::Events;
use crate::dm::NoIo;
use crate::engine::phase::TargetNumber;
use crate::engine::Engine;
use crate::uapi::args::Options;
use kernel::prelude::*;
use kernel::sync::Arc;

impl Engine {
    /// Waits until the engine's work has nothing to do. Must not be called from another device's
    /// work, for which this one may be waiting.
    pub fn flush_work(&self) {
        // Each may let the next run.
        self.log.flush_work();
        self.upkeep.flush_work();
        self.writes.flush_work();
    }

    /// Prepares the engine for a target that is about to become active, with these options and this
    /// length. Allocates only if the device has grown.
    ///
    /// Errors: `EBUSY` if the engine was bypassed, those of growing.
    pub fn bind(&self, target: TargetNumber, sectors: u64, options: Options) -> Result {
        self.ground.phases.begin(target).inspect_err(|_| {
            pr_err!(
                "{}: writes have gone past this table since it was loaded: load it again\n",
                self.ground.device.live()
            );
        })?;
        self.ground.waker.set(Some(self.writes.clone()));
        self.ground.device.set_options(options);
        if self.ground.device.is_persistent() {
            self.upkeep.open_store();
        } else {
            let device = &self.ground.device;
            let chunks = device.shape().chunk(device.store().sectors());
            if let Err(error) = self.ground.space.grow_pool(chunks) {
                pr_warn!(
                    "{}: what the store has grown by is not used ({error:?}): send the message \
                     grow\n",
                    device.live()
                );
            }
        }
        if sectors > self.ground.device.sectors() {
            self.grow_or_fail_store(sectors)?;
        }
        Ok(())
    }

    /// Lets the device grow. If the store fails at that, it is given up: no failure of the store
    /// may keep the device from being resumed.
    fn grow_or_fail_store(&self, sectors: u64) -> Result {
        let grown = self.changes.grow(sectors);
        if !self.log.has_failed() {
            // If it was an error, it was the origin that could not be flushed.
            return grown;
        }
        self.upkeep.store_failed(EIO);
        grown.or_else(|_| self.changes.grow(sectors))
    }

    /// Makes the engine active: from now on writes come.
    pub fn activate(&self) {
        self.keep_held();
        self.ground.phases.activate();
        if self.log.is_failing() {
            self.upkeep.start_checkpoint();
        }
    }

    /// Gives back to device-mapper what waits for space, as a noflush suspend of `target` begins.
    pub fn requeue_held(&self, target: &Arc<Events>) {
        self.ground.phases.set_suspending(Some(target.clone()));
        self.ground.waker.look_again();
    }

    /// Makes bios wait for space again, as no noflush suspend is under way.
    pub fn keep_held(&self) {
        self.ground.phases.set_suspending(None);
        self.ground.waker.look_again();
    }

    /// Suspends the engine after its target: no bio is in flight. Waits until no copy is in flight
    /// either, then closes a persistent store. Copies may outlive their bios, which are submitted
    /// without them if need shrinks.
    pub fn deactivate(&self) {
        self.ground.phases.suspend();
        self.writes.wait_for_copies();
        self.flush_work();
        if self.ground.device.is_persistent() {
            self.session.close();
        }
    }

    /// Takes note that a target is destroyed, and whether that is because its device is removed. If
    /// a foreign table has its place, the store says from now on that it must not be believed. May
    /// sleep.
    pub fn note_destroyed(&self, target: TargetNumber, is_removed: bool) {
        if self.ground.phases.note_destroyed(target, is_removed) {
            let _noio = NoIo::enter();
            self.upkeep.store_bypassed();
            // What is remembered counts if the store could not be told.
            self.session.remember_end();
            self.ground.phases.leave();
        }
    }

    /// Ends the engine after its last target. The caller keeps a reference.
    pub fn shut_down(&self) {
        self.ground.phases.end();
        self.writes.wait_for_copies();
        // A completion that has handed its copy back may still hold a reference.
        dm::synchronize_rcu();
        self.flush_work();
        // Not before: copies that are under way need it.
        self.ground.waker.set(None);
        // What was woken until then. A task that is just waking may still queue the copier, which
        // finds nothing to do.
        self.flush_work();
        self.ground.events.close();
    }

    /// Remembers what to believe of a store that is not closed. Nothing is written to the store any
    /// longer, and nobody else has opened it yet.
    pub fn remember_end(&self) {
        // The registry's lock is held, which other devices' preresume waits for.
        let _noio = NoIo::enter();
        self.session.remember_end();
    }
}
