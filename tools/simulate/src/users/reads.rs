// SPDX-License-Identifier: GPL-2.0

//! What is read while others write: frozen content, and events.

#![forbid(unsafe_code)]

use crate::config::Faults;
use crate::users::Users;
use crate::verify;
use dm_preserve_engine::engine::read_deadline;
use kernel::machine;
use kernel::prelude::*;

/// How the error of a read ends that would have to wait for the device's resume.
const SUSPENDED: &str = "Error(-11)";

impl Users {
    /// Reads snapshots while they may be dropped.
    pub(super) fn read(&self) {
        for _ in 0..machine::below(10) {
            Self::pause(200_000);
            let active = self
                .mapped
                .engine
                .phases()
                .wait_until_active(read_deadline());
            assert!(active.is_ok(), "the device is not resumed: {active:?}");
            let timeline = self.mapped.engine.state().timeline();
            let live = self.oracle.borrow().live();
            let Some(id) = live.get(machine::below(live.len().max(1) as u64) as usize) else {
                continue;
            };
            let Some(entry) = timeline.snapshot(*id).cloned() else {
                continue;
            };
            let snap = self.oracle.borrow().snaps[id].clone();
            let result = verify::snapshot(&self.config, &self.mapped, &timeline, &entry, &snap);
            if let Err(what) = &result {
                assert!(
                    !what.contains(verify::WRONG),
                    "snapshot {id}, read in use: {what}"
                );
            }
            // It may have gone meanwhile, or chunks of it been released.
            let was_there = self
                .oracle
                .borrow()
                .snaps
                .get(id)
                .is_some_and(|now| !now.may_be_gone && now.released == snap.released);
            match result {
                Err(_) if self.config.faults != Faults::None => (),
                Err(what) if was_there && self.is_there(*id) && !what.ends_with(SUSPENDED) => {
                    panic!("snapshot {id}, read in use: {what}");
                }
                _ => (),
            }
        }
    }

    pub(super) fn is_there(&self, id: u64) -> bool {
        let timeline = self.mapped.engine.state().timeline();
        timeline
            .snapshot(id)
            .is_some_and(|entry| !entry.is_dropped())
    }

    /// Waits for events.
    pub(super) fn listen(&self) {
        let mut seen = 0;
        for _ in 0..machine::below(5) {
            match self.mapped.engine.events().wait(seen, 1) {
                Ok((number, kinds)) => {
                    assert!(
                        number > seen && kinds != 0,
                        "event {number} after {seen}: {kinds}"
                    );
                    seen = number;
                }
                Err(error) => assert_eq!(error, ETIMEDOUT),
            }
        }
    }
}
