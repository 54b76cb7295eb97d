// SPDX-License-Identifier: GPL-2.0

//! Time, which is the [machine](crate::machine)'s.

#![forbid(unsafe_code)]

use crate::machine;
use std::marker::PhantomData;

/// The kernel's small unit of time.
pub type Jiffies = u64;
/// Nanoseconds of a jiffy, with HZ=1000.
pub const NS_PER_JIFFY: u64 = 1_000_000;

/// Returns so many milliseconds in jiffies.
pub fn msecs_to_jiffies(milliseconds: u32) -> Jiffies {
    Jiffies::from(milliseconds)
}

/// `CLOCK_MONOTONIC`
#[derive(Clone, Copy)]
pub struct Monotonic;

/// A moment.
#[derive(Clone, Copy)]
pub struct Instant<C>(u64, PhantomData<C>);

/// A stretch of time.
pub struct Delta(u64);

impl<C> Instant<C> {
    /// This moment.
    pub fn now() -> Self {
        Self(machine::now(), PhantomData)
    }

    /// Returns the time since then.
    pub fn elapsed(&self) -> Delta {
        Delta(machine::now().saturating_sub(self.0))
    }
}

impl Delta {
    /// Returns it in milliseconds.
    pub fn as_millis(self) -> i64 {
        i64::try_from(self.0 / 1_000_000).unwrap_or(i64::MAX)
    }
}
