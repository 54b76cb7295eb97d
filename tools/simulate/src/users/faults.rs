// SPDX-License-Identifier: GPL-2.0

//! What goes wrong, and what may fail for it.

#![forbid(unsafe_code)]

use crate::config::Faults;
use crate::users::Users;
use kernel::machine;
use kernel::prelude::*;
use std::sync::atomic::Ordering::Relaxed;

impl Users {
    /// Has something go wrong for a while.
    pub(super) fn fail(&self) {
        for _ in 0..1 + machine::below(2) {
            Self::pause(1_500_000);
            if self.config.faults == Faults::Memory && Self::is_once_in(2) {
                self.run_short();
                continue;
            }
            // Now and then, often, or each time.
            self.set_faults(match machine::below(4) {
                0 => 1 + machine::below(3000),
                1 => 1 + machine::below(65536),
                _ => 65536,
            });
            Self::pause(if Self::is_once_in(3) {
                20_000_000
            } else {
                1_500_000
            });
            self.set_faults(0);
        }
    }

    /// Has memory run short until all writes under way have ended, as if they were what memory is
    /// freed by; or wait for a user, who may wait for memory.
    fn run_short(&self) {
        pr_info!("memory is short");
        machine::set_shortage(true);
        Self::pause(1_500_000);
        while self.mapped.is_busy() && !self.mapped.engine.writes().is_blocked() {
            Self::pause(100_000);
        }
        machine::set_shortage(false);
        pr_info!("there is memory");
    }

    pub(super) fn set_faults(&self, odds: u64) {
        pr_info!("faults: {odds} of 65536, {:?}", self.config.faults);
        let faults = match self.config.faults {
            Faults::None => return,
            Faults::Memory => return machine::fail_memory(odds.min(3000)),
            Faults::Origin => &self.origin.faults,
            Faults::Store => &self.store.faults,
        };
        for kind in [&faults.reads, &faults.writes, &faults.flushes] {
            let is_hit = odds == 0 || Self::is_once_in(2);
            if is_hit {
                kind.store(odds, Relaxed);
            }
        }
        let is_store = self.config.faults == Faults::Store;
        faults
            .has_own_errors
            .store(is_store && Self::is_once_in(2), Relaxed);
    }

    /// Returns true if a request may fail like this.
    pub(super) fn may_fail(&self, error: Error) -> bool {
        let has_failed = self.mapped.engine.has_failed() && [EIO, ENODEV].contains(&error);
        match self.config.faults {
            Faults::None => false,
            Faults::Origin => error == EIO || has_failed,
            Faults::Store => error == EIO || has_failed,
            Faults::Memory => error == ENOMEM || has_failed,
        }
    }
}
