// SPDX-License-Identifier: GPL-2.0

//! Which phase an engine is in, and waiting until it is active. [`life`](crate::engine::life) leads
//! from one to the next, and has their states.
//!
//! # Lock order
//!
//! `suspending`, then the target's in [`Events`]. `phase` is taken alone.

#![forbid(unsafe_code)]

use crate::dm;
use crate::dm::Events;
use kernel::new_condvar;
use kernel::new_mutex;
use kernel::new_spinlock;
use kernel::prelude::*;
use kernel::sync::atomic::Acquire;
use kernel::sync::atomic::Atomic;
use kernel::sync::atomic::Release;
use kernel::sync::Arc;
use kernel::sync::CondVar;
use kernel::sync::CondVarTimeoutResult;
use kernel::sync::Mutex;
use kernel::sync::SpinLock;
use kernel::time::msecs_to_jiffies;

/// How long a read of frozen content waits for the live device's resume, in milliseconds. The task
/// of one from a view cannot be killed meanwhile, so it is well below what the kernel calls hung.
const READ_WAITS_MS: u32 = 30_000;
const NS_PER_MS: u64 = 1_000_000;

/// What an engine is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// No target has been resumed yet.
    Setup,
    /// Every write passes through the engine.
    Active,
    /// No write passes through the engine.
    Suspended,
    /// The last target is gone.
    Dead,
}

/// Returns the time up to which a read of frozen content that begins now waits for a resume.
pub fn read_deadline() -> u64 {
    dm::monotonic_ns() + u64::from(READ_WAITS_MS) * NS_PER_MS
}

/// The phase of an engine, and who waits for the next.
#[pin_data]
pub struct Phases {
    #[pin]
    phase: Mutex<Phase>,
    #[pin]
    changed: CondVar,
    /// Writes have gone past the engine: it does not become active any longer.
    was_bypassed: Atomic<bool>,
    /// Another table took the device's place, and was active: writes went past for certain.
    was_replaced: Atomic<bool>,
    /// The target that is being suspended noflush.
    #[pin]
    suspending: SpinLock<Option<Arc<Events>>>,
}

impl Phases {
    /// Begins with [`Phase::Setup`].
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            phase <- new_mutex!(Phase::Setup, "Phases::phase"),
            changed <- new_condvar!("Phases::changed"),
            was_bypassed: Atomic::new(false),
            was_replaced: Atomic::new(false),
            suspending <- new_spinlock!(None, "Phases::suspending"),
        })
    }

    /// Returns the phase. May sleep.
    pub fn now(&self) -> Phase {
        *self.phase.lock()
    }

    /// Changes the phase.
    pub(super) fn set(&self, phase: Phase) {
        *self.phase.lock() = phase;
        self.changed.notify_all();
    }

    /// Returns true if writes have gone past the engine.
    pub fn was_bypassed(&self) -> bool {
        self.was_bypassed.load(Acquire)
    }

    /// Takes note that writes may go past the engine from now on, or do if its table `is_replaced`.
    pub(super) fn set_bypassed(&self, is_replaced: bool) {
        self.was_bypassed.store(true, Release);
        if is_replaced {
            self.was_replaced.store(true, Release);
        }
    }

    /// Returns true if another table was active in the engine's place.
    pub(super) fn was_replaced(&self) -> bool {
        self.was_replaced.load(Acquire)
    }

    /// Waits until writes pass through the engine again, at most until `deadline` (of
    /// [`dm::monotonic_ns`]).
    ///
    /// Errors: `ENODEV` when they never will, `ETIMEDOUT` at the deadline, `EINTR` for a signal.
    pub fn wait_until_active(&self, deadline: u64) -> Result {
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
            let waited = self.changed.wait_interruptible_timeout(&mut phase, left);
            if matches!(waited, CondVarTimeoutResult::Signal { .. }) {
                return Err(EINTR);
            }
        }
    }

    /// Takes note of the target that is being suspended noflush; `None` when none is any longer.
    pub(super) fn set_suspending(&self, target: Option<Arc<Events>>) {
        let old = core::mem::replace(&mut *self.suspending.lock(), target);
        drop(old);
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
}
