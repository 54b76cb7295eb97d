// SPDX-License-Identifier: GPL-2.0

//! Snapshots: taken, dropped, released.

#![forbid(unsafe_code)]

use crate::oracle;
use crate::oracle::Instant;
use crate::oracle::Snap;
use crate::users::Users;
use dm_preserve_core::uapi::args::ScopeWanted;
use dm_shim::on_close;
use kernel::machine;
use kernel::prelude::*;
use std::collections::BTreeSet;
use std::rc::Rc;

impl Users {
    pub(super) fn take(&self) {
        let base = self.some_base();
        let scope = match base {
            Some(id) => ScopeWanted::Incremental(Some(id)),
            None => ScopeWanted::Full,
        };
        let keep = 1 + machine::below(self.config.get("keep").max(1));
        self.expect_closing(base);
        {
            // What goes for it may be gone when it is there.
            let mut oracle = self.oracle.borrow_mut();
            let live = oracle.live();
            let too_many = (live.len() as u64 + 1).saturating_sub(keep) as usize;
            for id in &live[..too_many] {
                oracle.snaps.get_mut(id).unwrap().may_be_gone = true;
            }
        }
        // CAST: At most 4.
        let taken = self
            .mapped
            .engine
            .upkeep()
            .take_snapshot(scope, keep as u32);
        on_close(None);
        pr_info!("user: snapshot, {scope:?}: {taken:?}");
        match taken {
            Ok(id) => {
                let mut oracle = self.oracle.borrow_mut();
                assert_eq!(id, oracle.next_id);
                assert!(oracle.taking.is_some(), "the gate was not closed");
                oracle.taken(id, &self.config);
            }
            Err(ENOENT | EOVERFLOW) => self.oracle.borrow_mut().taking = None,
            // Its record may be there all the same, or it was taken and given up at once.
            Err(error) if self.may_fail(error) => {
                if let Some(taking) = self.oracle.borrow_mut().taking.as_mut() {
                    taking.may_be_gone = true;
                }
            }
            Err(error) => panic!("taking a snapshot: {error:?}"),
        }
    }

    /// Returns what a snapshot may be incremental to.
    pub(super) fn some_base(&self) -> Option<u64> {
        let all: Vec<u64> = self.oracle.borrow().snaps.keys().copied().collect();
        match machine::below(3) {
            0 => all
                .get(machine::below(all.len().max(1) as u64) as usize)
                .copied(),
            _ => None,
        }
    }

    /// Has the instant noted when the gate has been closed by the present task.
    pub(super) fn expect_closing(&self, base: Option<u64>) {
        let task = machine::current();
        let (config, origin) = (self.config.clone(), self.origin.clone());
        let oracle = self.oracle.clone();
        let base = base.and_then(|id| Some(self.oracle.borrow().snaps.get(&id)?.at.clone()));
        on_close(Some(Rc::new(move || {
            if machine::current() != task {
                return;
            }
            let protected = oracle.borrow().protected.clone();
            let image = oracle::image(&config, &origin);
            oracle.borrow_mut().taking = Some(Snap {
                at: Rc::new(Instant { image, protected }),
                base: base.clone(),
                released: BTreeSet::new(),
                keep_unprotected: config.options.keep_unprotected,
                may_be_gone: false,
                is_dropped: false,
            });
        })));
    }

    pub(super) fn drop(&self) {
        let live = self.oracle.borrow().live();
        let Some(id) = live.get(machine::below(live.len().max(1) as u64) as usize) else {
            return;
        };
        self.drop_one(*id);
    }

    pub(super) fn drop_one(&self, id: u64) {
        // One that has just been taken may not be known yet.
        let mut oracle = self.oracle.borrow_mut();
        let Some(snap) = oracle.snaps.get_mut(&id) else {
            return;
        };
        snap.may_be_gone = true;
        drop(oracle);
        let dropped = self.mapped.engine.upkeep().drop_snapshot(id);
        pr_info!("user: drop {id}: {dropped:?}");
        match dropped {
            Ok(()) => {
                if let Some(snap) = self.oracle.borrow_mut().snaps.get_mut(&id) {
                    snap.is_dropped = true;
                }
            }
            // Given up already, or there will be another time.
            Err(ENOENT | ENODEV) => (),
            Err(error) if self.may_fail(error) => (),
            Err(error) => panic!("dropping a snapshot: {error:?}"),
        }
    }

    pub(super) fn forget(&self) {
        let oracle = self.oracle.borrow();
        let dropped = oracle.snaps.iter().filter(|(_, snap)| snap.is_dropped);
        let dropped: Vec<u64> = dropped.map(|(id, _)| *id).collect();
        drop(oracle);
        let Some(id) = dropped.first() else {
            return;
        };
        match self.mapped.engine.changes().forget_bookmark(*id) {
            Ok(()) | Err(ENOENT) => {
                self.oracle.borrow_mut().snaps.remove(id);
            }
            Err(error) if self.may_fail(error) => (),
            Err(error) => panic!("forgetting a bookmark: {error:?}"),
        }
    }

    pub(super) fn release(&self) {
        let live = self.oracle.borrow().live();
        let Some(id) = live.get(machine::below(live.len().max(1) as u64) as usize) else {
            return;
        };
        let run = self.some_run();
        let (start, len) = self.sectors(&run);
        if start + len > self.mapped.sectors() {
            return;
        }
        let mut oracle = self.oracle.borrow_mut();
        if let Some(snap) = oracle.snaps.get_mut(id) {
            snap.released.extend(run);
        }
        drop(oracle);
        let released = self.mapped.engine.changes().release(*id, start, len);
        pr_info!("user: release {id}, {start}+{len}: {released:?}");
        match released {
            // It has gone, or the device has been suspended, meanwhile.
            Ok(()) | Err(ENOENT | ENODEV) => (),
            Err(error) if self.may_fail(error) => (),
            Err(error) => panic!("a release: {error:?}"),
        }
    }
}
