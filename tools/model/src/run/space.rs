// SPDX-License-Identifier: GPL-2.0

//! The space that dropped snapshots give back (rule 1).

#![forbid(unsafe_code)]

use crate::run::state::Frozen;
use crate::run::state::State;
use crate::run::trap::Trap;
use crate::timeline::Kept;

impl State {
    /// Gives back what only a snapshot that was just dropped could refer to.
    pub(crate) fn dropped(&mut self, number: usize, trap: Option<Trap>) {
        if trap == Some(Trap::DropFreesEpoch) {
            self.reuse(number);
        }
        self.give_back(trap);
    }

    /// Lets the copies of every epoch go that no live snapshot and no frozen read can refer to.
    pub(crate) fn give_back(&mut self, trap: Option<Trap>) {
        let oldest = self.timeline.oldest();
        for number in 0..self.timeline.count as usize {
            let wanted = oldest.is_some_and(|oldest| oldest <= number);
            let referred = trap != Some(Trap::FreeUnderReader)
                && self.readers.iter().any(|reader| {
                    reader.snapshot as usize <= number
                        && !matches!(reader.step, Frozen::Start | Frozen::Done)
                });
            if !wanted && !referred {
                self.reuse(number);
            }
        }
    }

    fn reuse(&mut self, number: usize) {
        for copy in &mut self.timeline.epochs[number].copies {
            if copy.is_copy() {
                *copy = Kept::Reused;
            }
        }
    }
}
