// SPDX-License-Identifier: GPL-2.0

//! What was done in histories.

#![forbid(unsafe_code)]

use std::fmt;
use std::ops::AddAssign;

/// See the [module's documentation](self).
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    /// Times that a device was made, used and removed.
    pub lives: u64,
    /// Blocks written.
    pub writes: u64,
    /// Snapshots taken.
    pub snapshots: u64,
    /// Crashes that the engine has recovered from, each compared.
    pub recoveries: u64,
    /// Of these, those in which a write was torn, or the order of writes was not kept.
    pub hard: u64,
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.lives += other.lives;
        self.writes += other.writes;
        self.snapshots += other.snapshots;
        self.recoveries += other.recoveries;
        self.hard += other.hard;
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} lives, {} blocks written, {} snapshots, {} recoveries ({} after torn or reordered \
             writes)",
            self.lives, self.writes, self.snapshots, self.recoveries, self.hard
        )
    }
}
