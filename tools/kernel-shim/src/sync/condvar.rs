// SPDX-License-Identifier: GPL-2.0

//! Condition variables of the [machine](crate::machine).

#![forbid(unsafe_code)]

use crate::machine;
use crate::sync::lock::MutexGuard;
use crate::time::Jiffies;
use crate::time::NS_PER_JIFFY;

/// A condition variable.
pub struct CondVar {
    // Something that has an address of its own.
    _place: u8,
}

/// How a wait with a bound ended.
#[derive(Debug)]
pub enum CondVarTimeoutResult {
    /// The time was over.
    Timeout,
    /// Somebody woke the caller.
    Woken {
        /// What is left of the time.
        jiffies: Jiffies,
    },
    /// A signal came.
    Signal {
        /// What is left of the time.
        jiffies: Jiffies,
    },
}

impl CondVar {
    /// Nobody waits.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self { _place: 0 }
    }

    /// Lets go of the lock, waits until somebody wakes the caller, and takes the lock again.
    pub fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        machine::might_sleep();
        guard.without(|| machine::park(machine::key(self), None));
    }

    /// As [`Self::wait`], for so long at most. No signal ever comes.
    pub fn wait_interruptible_timeout<T>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        jiffies: Jiffies,
    ) -> CondVarTimeoutResult {
        machine::might_sleep();
        let until = machine::now().saturating_add(jiffies.saturating_mul(NS_PER_JIFFY));
        match guard.without(|| machine::park(machine::key(self), Some(until))) {
            true => CondVarTimeoutResult::Woken {
                jiffies: until.saturating_sub(machine::now()) / NS_PER_JIFFY,
            },
            false => CondVarTimeoutResult::Timeout,
        }
    }

    /// Wakes all who wait.
    pub fn notify_all(&self) {
        machine::wake(machine::key(self));
        machine::point();
    }

    /// Wakes one who waits.
    pub fn notify_one(&self) {
        machine::wake_one(machine::key(self));
        machine::point();
    }
}

/// Initialises a [`CondVar`].
#[macro_export]
macro_rules! new_condvar {
    ($($name:literal)?) => {
        $crate::init::FromFn(move || {
            ::core::result::Result::<_, ::core::convert::Infallible>::Ok(
                $crate::sync::CondVar::new(),
            )
        })
    };
}
