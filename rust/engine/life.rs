// SPDX-License-Identifier: GPL-2.0

//! The life of an engine: what device-mapper's calls to its targets do to it.
//!
//! # States ([`Phase`])
//!
//! 1. `Setup`: made by a target's constructor; no write has come yet.
//! 2. `Active`: a target of the engine is resumed, every write passes through it.
//! 3. `Suspended`: nothing is written, or writes no longer pass through here (after a reload to
//!    another target): "unmarked" proves nothing until the engine is active again.
//! 4. `Dead`: the last target is gone.
//!
//! 1 or 3 leads to 2 at resume, 2 to 3 at postsuspend, all to 4 when the last target is destroyed.
//!
//! An engine is *bypassed* when the target that was active is destroyed, and no other of the engine
//! had begun to become active: a foreign table has taken its place, and writes pass that the engine
//! does not see. A target of the engine that was loaded meanwhile must not become active any
//! longer; the next table gets an engine of its own.
//!
//! # Lock order
//!
//! `suspending`, then the target's in [`Events`]. `phase` is taken alone.

#![forbid(unsafe_code)]

use crate::dm;
use crate::dm::Events;
use crate::dm::NoIo;
use crate::engine::boot;
use crate::engine::Engine;
use crate::uapi::args::Options;
use kernel::prelude::*;
use kernel::sync::atomic::Acquire;
use kernel::sync::atomic::Release;
use kernel::sync::Arc;
use kernel::sync::CondVarTimeoutResult;
use kernel::time::msecs_to_jiffies;

/// How long a read of frozen content waits for the live device's resume, in milliseconds. The task
/// of one from a view cannot be killed meanwhile, so it is well below what the kernel calls hung.
const READ_WAITS_MS: u32 = 30_000;
const NS_PER_MS: u64 = 1_000_000;

/// See the [module's documentation](self).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// No target has been resumed yet.
    Setup,
    /// Every write passes through the engine.
    Active,
    /// No write passes through the engine.
    Suspended,
    /// The last target is gone.
    Dead,
}

impl Engine {
    /// Waits until the engine's work has nothing to do. Must not be called from another device's
    /// work, for which this one may be waiting.
    pub(crate) fn flush_work(&self) {
        // Each may let the next run.
        dm::flush_work(&self.log_work);
        dm::flush_work(&self.checkpoint_work);
        dm::flush_work(&self.work);
    }

    /// Returns the phase that the engine is in.
    pub(crate) fn phase(&self) -> Phase {
        *self.phase.lock()
    }

    fn set_phase(&self, phase: Phase) {
        *self.phase.lock() = phase;
        self.phase_changed.notify_all();
    }

    /// Waits until writes pass through the engine again, at most until `deadline` (of
    /// [`dm::monotonic_ns`]).
    ///
    /// Errors: `ENODEV` when they never will, `ETIMEDOUT` at the deadline, `EINTR` for a signal.
    pub(crate) fn wait_until_active(&self, deadline: u64) -> Result {
        let mut phase = self.phase.lock();
        loop {
            match *phase {
                Phase::Active => return Ok(()),
                Phase::Dead => return Err(ENODEV),
                Phase::Setup | Phase::Suspended if self.was_bypassed() => return Err(ENODEV),
                Phase::Setup | Phase::Suspended => (),
            }
            let left = deadline.saturating_sub(dm::monotonic_ns());
            if left == 0 {
                return Err(ETIMEDOUT);
            }
            let left = u32::try_from(left.div_ceil(NS_PER_MS)).unwrap_or(u32::MAX);
            let left = msecs_to_jiffies(left);
            let waited = self
                .phase_changed
                .wait_interruptible_timeout(&mut phase, left);
            if matches!(waited, CondVarTimeoutResult::Signal { .. }) {
                return Err(EINTR);
            }
        }
    }

    /// Returns the time up to which a read of frozen content that begins now waits for a resume.
    pub(crate) fn read_deadline() -> u64 {
        dm::monotonic_ns() + u64::from(READ_WAITS_MS) * NS_PER_MS
    }

    /// Prepares the engine for a target that is about to become active, with these options and this
    /// length. Allocates only if the device has grown.
    ///
    /// Errors: `EBUSY` if the engine was bypassed, those of [`Engine::grow`].
    pub(crate) fn bind(self: &Arc<Self>, sectors: u64, options: Options) -> Result {
        if self.was_bypassed() {
            pr_err!(
                "{}: writes have gone past this table since it was loaded: load it again\n",
                self.device.live()
            );
            return Err(EBUSY);
        }
        self.is_bound.store(true, Release);
        self.device.set_options(options);
        if self.device.is_persistent() {
            self.open_store();
        } else {
            let store_chunks = self.device.shape().chunk(self.device.store().sectors());
            self.store.pool.lock().grow(store_chunks);
        }
        if sectors > self.device.sectors() {
            self.grow_or_fail_store(sectors)?;
        }
        Ok(())
    }

    /// Lets the device grow. If the store fails at that, it is given up: no failure of the store
    /// may keep the device from being resumed.
    fn grow_or_fail_store(self: &Arc<Self>, sectors: u64) -> Result {
        let grown = self.grow(sectors);
        if !self.log.has_failed() {
            // If it was an error, it was the origin that could not be flushed.
            return grown;
        }
        self.store_failed(EIO);
        grown.or_else(|_| self.grow(sectors))
    }

    /// Makes the engine active: from now on writes come.
    pub(crate) fn activate(self: &Arc<Self>) {
        self.store.set_owner(Some(self.clone()));
        self.keep_held();
        self.set_phase(Phase::Active);
        if self.is_failing() {
            self.kick_checkpoint();
        }
    }

    /// Gives back to device-mapper what waits for space, as a noflush suspend of `target` begins.
    pub(crate) fn requeue_held(self: &Arc<Self>, target: &Arc<Events>) {
        *self.suspending.lock() = Some(target.clone());
        self.kick();
    }

    /// Makes bios wait for space again, as no noflush suspend is under way.
    pub(crate) fn keep_held(self: &Arc<Self>) {
        *self.suspending.lock() = None;
        self.kick();
    }

    /// Returns true if a bio that has to wait can go back to device-mapper instead. To be asked
    /// each time: once the suspend is interrupted, device-mapper ends what comes back with an
    /// error, and tells the target only later.
    pub(super) fn can_requeue(&self) -> bool {
        let suspending = self.suspending.lock();
        (*suspending)
            .as_ref()
            .is_some_and(|target| target.is_suspending_noflush())
    }

    /// Suspends the engine after its target: no bio is in flight. Waits until no copy is in flight
    /// either, then closes a persistent store. Copies may outlive their bios, which are submitted
    /// without them if need shrinks.
    pub(crate) fn deactivate(self: &Arc<Self>) {
        self.set_phase(Phase::Suspended);
        self.is_bound.store(false, Release);
        self.wait_for_copies();
        self.flush_work();
        if self.device.is_persistent() {
            self.close_store();
        }
    }

    /// Takes note that a target that has been active is destroyed: the engine is bypassed if no
    /// other target has begun to become active.
    pub(crate) fn note_destroyed(&self) {
        if self.phase() == Phase::Suspended && !self.is_bound.load(Acquire) {
            self.was_bypassed.store(true, Release);
        }
    }

    /// Returns true if writes have gone past the engine.
    pub(crate) fn was_bypassed(&self) -> bool {
        self.was_bypassed.load(Acquire)
    }

    /// Ends the engine after its last target. The caller keeps a reference.
    pub(crate) fn shut_down(&self) {
        self.set_phase(Phase::Dead);
        self.store.set_owner(None);
        self.wait_for_copies();
        // A completion that has handed its copy back may still hold a reference.
        dm::synchronize_rcu();
        self.flush_work();
        self.events.close();
    }

    /// Remembers what to believe of a store that is not closed. Nothing is written to the store any
    /// longer, and nobody else has opened it yet.
    pub(crate) fn remember_end(&self) {
        // The registry's lock is held, which other devices' preresume waits for.
        let _noio = NoIo::enter();
        let is_intact = !self.log.is_given_up() && !self.was_bypassed();
        let guard = self.superblocks.lock();
        let ended = (*guard)
            .as_ref()
            .and_then(|superblocks| superblocks.ended(is_intact));
        if let Some(ended) = ended {
            boot::remember(ended);
        }
    }

    fn wait_for_copies(&self) {
        let mut copier = self.copier.lock();
        while copier.is_copying() {
            self.copies_done.wait(&mut copier);
        }
    }
}
