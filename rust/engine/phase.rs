// SPDX-License-Identifier: GPL-2.0

//! Which phase an engine is in, which of its targets brought it there, and waiting until it is
//! active.
//!
//! # States
//!
//! 1. `Setup`: made by a target's constructor; no write has come yet.
//! 2. `Active`: a target of the engine is resumed, every write passes through it.
//! 3. `Suspended`: nothing is written, or writes no longer pass through here (after a reload to
//!    another target): "unmarked" proves nothing until the engine is active again.
//! 4. `Bypassed`: a foreign table has the place of the engine's, and writes pass that the engine
//!    does not see. It never becomes active again: the next table gets an engine of its own.
//! 5. `Dead`: the last target is gone.
//!
//! 1 or 3 leads to 2 at resume, 2 to 3 at postsuspend, all to 5 when the last target is destroyed.
//!
//! Each target has a number, and the *turn* is that of the last one that began to become active. A
//! target that is destroyed while it has the turn has been taken out of its device's place: if the
//! device is not being removed, 1, 2 and 3 lead to 4. One that has not the turn has never been in
//! that place, or another of the engine's has taken it.
//!
//! An engine is *left* when it is bypassed and its store has been told so: not before that may the
//! store be looked at by another engine.
//!
//! [`life`](crate::engine::life) says what an engine does then.
//!
//! # Lock order
//!
//! `suspending`, then the target's in [`Events`]. `now` is taken alone.

#![forbid(unsafe_code)]

use crate::dm;
use crate::dm::Events;
use kernel::new_condvar;
use kernel::new_mutex;
use kernel::new_spinlock;
use kernel::prelude::*;
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
    /// Writes go past the engine.
    Bypassed,
    /// The last target is gone.
    Dead,
}

/// Returns the time up to which a read of frozen content that begins now waits for a resume.
pub fn read_deadline() -> u64 {
    dm::monotonic_ns() + u64::from(READ_WAITS_MS) * NS_PER_MS
}

/// The number of a target of an engine, from 1 on.
pub type TargetNumber = u64;

/// Where an engine is in its states.
struct Now {
    phase: Phase,
    /// The target that has the turn; 0 for none yet.
    turn: TargetNumber,
    /// The last target that was made.
    last: TargetNumber,
    /// See the module's documentation.
    is_left: bool,
}

impl Now {
    /// Returns true if the engine never becomes active again.
    fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Bypassed | Phase::Dead)
    }
}

/// The phase of an engine, and who waits for the next.
#[pin_data]
pub struct Phases {
    #[pin]
    now: Mutex<Now>,
    #[pin]
    changed: CondVar,
    /// The target that is being suspended noflush.
    #[pin]
    suspending: SpinLock<Option<Arc<Events>>>,
}

impl Phases {
    /// Begins with [`Phase::Setup`].
    pub(super) fn new() -> impl PinInit<Self> {
        let now = Now {
            phase: Phase::Setup,
            turn: 0,
            last: 0,
            is_left: false,
        };
        pin_init!(Self {
            now <- new_mutex!(now, "Phases::now"),
            changed <- new_condvar!("Phases::changed"),
            suspending <- new_spinlock!(None, "Phases::suspending"),
        })
    }

    /// Returns the phase. May sleep.
    pub fn now(&self) -> Phase {
        self.now.lock().phase
    }

    /// Returns the number of a new target. May sleep.
    pub fn new_target(&self) -> TargetNumber {
        let mut now = self.now.lock();
        now.last += 1;
        now.last
    }

    /// Gives the turn to a target that begins to become active.
    ///
    /// Errors: `EBUSY` if the engine was bypassed, or has ended.
    pub(super) fn begin(&self, target: TargetNumber) -> Result {
        let mut now = self.now.lock();
        if now.has_ended() {
            return Err(EBUSY);
        }
        now.turn = target;
        Ok(())
    }

    /// Writes pass through the engine from now on: the target that has the turn is active.
    pub(super) fn activate(&self) {
        self.change(Phase::Active);
    }

    /// The target that has the turn is suspended.
    pub(super) fn suspend(&self) {
        self.change(Phase::Suspended);
    }

    /// The last target is gone.
    pub(super) fn end(&self) {
        self.now.lock().phase = Phase::Dead;
        self.changed.notify_all();
    }

    /// Takes note that a target is destroyed, and whether that is because its device is removed.
    /// Returns true if the engine is bypassed from now on.
    pub(super) fn note_destroyed(&self, target: TargetNumber, is_removed: bool) -> bool {
        let mut now = self.now.lock();
        if now.turn != target || is_removed || now.has_ended() {
            return false;
        }
        now.phase = Phase::Bypassed;
        drop(now);
        self.changed.notify_all();
        true
    }

    /// Takes note that the store of a bypassed engine has been told.
    pub(super) fn leave(&self) {
        self.now.lock().is_left = true;
    }

    /// Returns true if the engine is bypassed, and its store knows. May sleep.
    pub fn is_left(&self) -> bool {
        self.now.lock().is_left
    }

    /// Changes the phase of an engine that is neither bypassed nor dead.
    fn change(&self, phase: Phase) {
        let mut now = self.now.lock();
        if !now.has_ended() {
            now.phase = phase;
        }
        drop(now);
        self.changed.notify_all();
    }

    /// Waits until writes pass through the engine again, at most until `deadline` (of
    /// [`dm::monotonic_ns`]).
    ///
    /// Errors: `ENODEV` when they never will, `ETIMEDOUT` at the deadline, `EINTR` for a signal.
    pub fn wait_until_active(&self, deadline: u64) -> Result {
        let mut now = self.now.lock();
        loop {
            match now.phase {
                Phase::Active => return Ok(()),
                Phase::Bypassed | Phase::Dead => return Err(ENODEV),
                Phase::Setup | Phase::Suspended => (),
            }
            let left = deadline.saturating_sub(dm::monotonic_ns());
            if left == 0 {
                return Err(ETIMEDOUT);
            }
            let left = u32::try_from(left.div_ceil(NS_PER_MS)).unwrap_or(u32::MAX);
            let left = msecs_to_jiffies(left);
            let waited = self.changed.wait_interruptible_timeout(&mut now, left);
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
