// SPDX-License-Identifier: GPL-2.0

//! What is asked of a device, but for snapshots.

#![forbid(unsafe_code)]

use crate::config::GROWTH;
use crate::users::Users;
use kernel::machine;
use kernel::prelude::*;

impl Users {
    /// Asks for one thing after another.
    pub(super) fn ask(&self) {
        for _ in 0..self.config.get("edits") {
            self.edit();
        }
        for _ in 0..machine::below(self.config.get("requests")) {
            Self::pause(300_000);
            match machine::below(17) {
                0..=4 => self.take(),
                5..=6 => self.drop(),
                7 => self.forget(),
                8..=9 => self.edit(),
                10..=11 => self.release(),
                12..=13 => {
                    let made = self.mapped.engine.upkeep().checkpoint_now();
                    let is_right = made.err().is_none_or(|error| self.may_fail(error));
                    assert!(is_right, "a checkpoint: {made:?}");
                }
                14 if self.config.get("grows") > 0 => self.grow_store(),
                _ => self.suspend(),
            }
        }
    }

    /// Drops snapshots while writes wait for space, for which a suspend may wait.
    pub(super) fn relieve(&self) {
        while self.writing.get() > 0 {
            Self::pause(2_000_000);
            let timeline = self.mapped.engine.state().timeline();
            let oldest = timeline.snapshots().first().map(|oldest| oldest.id);
            if let (true, Some(id)) = (self.mapped.engine.writes().is_blocked(), oldest) {
                self.drop_one(id);
            }
        }
    }

    pub(super) fn suspend(&self) {
        self.mapped.suspend(Self::is_once_in(2));
        pr_info!("user: suspended");
        Self::pause(50_000);
        if self.config.get("grows") > 0 && Self::is_once_in(3) {
            let grown = self.config.origin_blocks() + GROWTH * self.config.chunk_blocks();
            self.origin.grow(grown);
        }
        loop {
            match self
                .mapped
                .resume(self.origin.sectors(), self.config.options)
            {
                Ok(()) => return,
                Err(error) if self.may_fail(error) => Self::pause(50_000),
                Err(error) => panic!("a resume: {error:?}"),
            }
        }
    }

    pub(super) fn grow_store(&self) {
        let blocks = self.store.sectors() / 8 + machine::below(300);
        self.store.grow(blocks);
        match self.mapped.engine.upkeep().grow_store() {
            Ok(()) => (),
            Err(error) if self.may_fail(error) => (),
            Err(error) => panic!("growing the store: {error:?}"),
        }
    }

    pub(super) fn edit(&self) {
        let run = self.some_run();
        let range = self.sectors(&run);
        if range.0 + range.1 > self.mapped.sectors() {
            return;
        }
        if self.oracle.borrow().edited.is_some() {
            // The record of the last one failed, and may be there.
            return;
        }
        let protect = Self::is_once_in(2);
        let mut after = self.oracle.borrow().protected.clone();
        after[run].fill(protect);
        self.oracle.borrow_mut().edited = Some(after.clone());
        pr_info!("user: edit {range:?}, {protect}");
        let edited = self
            .mapped
            .engine
            .changes()
            .edit_designation(&[range], protect);
        match edited {
            Ok(()) => {
                let mut oracle = self.oracle.borrow_mut();
                oracle.edited = None;
                oracle.protected = after;
            }
            Err(ENOMEM) if self.may_fail(ENOMEM) => self.oracle.borrow_mut().edited = None,
            // Its record may be there all the same.
            Err(error) if self.may_fail(error) => (),
            Err(error) => panic!("an edit: {error:?}"),
        }
    }
}
