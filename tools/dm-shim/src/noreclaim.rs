// SPDX-License-Identifier: GPL-2.0

//! The scope in which no allocation waits for memory.

#![forbid(unsafe_code)]

use kernel::machine;

/// The scope lasts as long as this lives.
pub struct NoReclaim(());

impl NoReclaim {
    /// Begins it.
    pub fn enter() -> Self {
        machine::enter_no_reclaim();
        Self(())
    }
}

impl Drop for NoReclaim {
    fn drop(&mut self) {
        machine::leave_no_reclaim();
    }
}
