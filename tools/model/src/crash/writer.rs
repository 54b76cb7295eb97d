// SPDX-License-Identifier: GPL-2.0

//! The way of a write, with its records.
//!
//! ```text
//! Start -+- all marked --------------------------------------------> Flying -> Done
//!        +- none missing is needed -+- region dirty -> Direct -----> Flying
//!        |                          +- else -> Region -> Asked ----> Start
//!        +- else -> Read -+- full -------------------------------> Start
//!                         +- else -> Copied -+- epoch present -> Indexed -> Flying or Start
//!                                            +- a new one -------> Start
//! ```
//!
//! Inside the gate: `Direct`, `Indexed`, `Flying`. Between a decision and its record anything may
//! happen. Reading and logging are one step: what is read early is read while the chunk is
//! unmarked, and right.

#![forbid(unsafe_code)]

use crate::chunks::each;
use crate::crash::state::Record;
use crate::crash::state::State;
use crate::crash::state::Write;
use crate::crash::state::Writer;
use crate::crash::trap::Trap;
use crate::crash::world::Model;
use crate::fold::Fold;
use crate::timeline::Kept;

impl Writer {
    /// Holds the gate.
    pub(crate) fn inside(&self) -> bool {
        matches!(self.step, Write::Direct | Write::Indexed | Write::Flying)
    }

    pub(crate) fn at(&self, step: Write) -> Writer {
        Writer {
            chunks: self.chunks,
            step,
            ..Writer::default()
        }
    }
}

impl Model {
    /// The steps that writer `index` can take: what each is, and the state after it.
    pub(crate) fn write(
        &self,
        state: &State,
        index: usize,
        mut take: impl FnMut(Option<(&'static str, State)>),
    ) {
        if let Some(step) = self.refused(*state, index) {
            return take(Some(step));
        }
        match state.writers[index].step {
            Write::Start => take(self.look(*state, index)),
            Write::Direct => take(self.direct(*state, index)),
            Write::Region => take(self.ask(*state, index)),
            Write::Asked => take(self.asked(*state, index)),
            Write::Read => {
                take(self.read(*state, index));
                take(self.fail(*state, index));
                take(self.full(*state, index));
            }
            Write::Copied => take(self.copied(*state, index)),
            Write::Indexed => take(self.mark(*state, index)),
            Write::Flying => take(self.land(*state, index)),
            Write::Done => {}
        }
    }

    /// The store fails, and with it what a writer has logged or is about to: it looks again.
    fn refused(&self, mut state: State, index: usize) -> Option<(&'static str, State)> {
        let me = state.writers[index];
        let waits = match me.step {
            Write::Region | Write::Read => true,
            Write::Asked | Write::Copied => me.due > state.log.durable,
            Write::Start | Write::Direct | Write::Indexed | Write::Flying | Write::Done => false,
        };
        if !state.failing || !waits {
            return None;
        }
        state.writers[index] = me.at(Write::Start);
        Some((
            "finds that nothing can be logged, gives up its claims",
            state,
        ))
    }

    fn look(&self, mut state: State, index: usize) -> Option<(&'static str, State)> {
        if !state.open() {
            return None;
        }
        let me = state.writers[index];
        let missing = me.chunks & !state.now.marks();
        let needed = missing & state.now.needed();
        // It would have to log something.
        if state.failing && (needed != 0 || missing != 0 && !state.dirty) {
            return None;
        }
        let (what, next) = if missing == 0 {
            ("enters, sees all marked, submits", me.at(Write::Flying))
        } else if needed != 0 {
            let taken = state
                .writers
                .iter()
                .fold(0, |taken, other| taken | other.claims);
            if needed & taken != 0 {
                return None;
            }
            let claims = Writer {
                claims: needed,
                ..me.at(Write::Read)
            };
            ("sees needed chunks, claims them", claims)
        } else if state.dirty {
            let free = Writer {
                claims: 0,
                ..me.at(Write::Direct)
            };
            (
                "enters, sees chunks that nobody needs in a dirty region",
                free,
            )
        } else {
            (
                "sees chunks that nobody needs in a clean region",
                me.at(Write::Region),
            )
        };
        state.writers[index] = next;
        if matches!(next.step, Write::Read | Write::Region) {
            state.writers[index].epoch = state.now.present() as u8;
            state.writers[index].period = state.period;
        }
        Some((what, state))
    }

    fn direct(&self, mut state: State, index: usize) -> Option<(&'static str, State)> {
        let me = &mut state.writers[index];
        let chunks = me.chunks;
        *me = me.at(Write::Flying);
        state.now.last().marks |= chunks;
        Some(("marks without a copy, submits", state))
    }

    fn ask(&self, mut state: State, index: usize) -> Option<(&'static str, State)> {
        let me = &mut state.writers[index];
        let record = Record::Region {
            epoch: me.epoch,
            period: me.period,
        };
        // One that says the same is as good; having to wait for less, it is the worse case, too.
        let log = state.log.records.iter();
        me.due = match log.zip(1..).find(|(same, _)| **same == record) {
            Some((_, due)) => due,
            None => state.log.append(record),
        };
        me.step = Write::Asked;
        Some(("logs that the region is dirty", state))
    }

    fn asked(&self, mut state: State, index: usize) -> Option<(&'static str, State)> {
        if !state.open() {
            return None;
        }
        let me = state.writers[index];
        self.see(&mut state, me.due);
        let epoch = me.epoch as usize == state.now.present() || self.is(Trap::RegionLateEpoch);
        let period = me.period == state.period || self.is(Trap::RegionLatePeriod);
        state.writers[index] = me.at(Write::Start);
        if !epoch || !period {
            return Some(("finds its region record outdated", state));
        }
        state.dirty = true;
        Some(("sets the region's bit", state))
    }

    fn read(&self, mut state: State, index: usize) -> Option<(&'static str, State)> {
        let me = &mut state.writers[index];
        for chunk in each(me.claims) {
            me.data[chunk] = state.origin[chunk].now();
        }
        me.due = state.log.append(Record::Copy {
            epoch: me.epoch,
            chunks: me.claims,
            data: me.data,
        });
        me.step = Write::Copied;
        Some(("reads the old content, logs it", state))
    }

    fn fail(&self, mut state: State, index: usize) -> Option<(&'static str, State)> {
        let me = &mut state.writers[index];
        me.claims &= self.config.fallible;
        if me.claims == 0 {
            return None;
        }
        state.truth[me.epoch as usize].lost |= me.claims;
        me.due = state.log.append(Record::Gone {
            epoch: me.epoch,
            chunks: me.claims,
        });
        me.failed = true;
        me.step = Write::Copied;
        Some(("cannot read the old content, logs that it is gone", state))
    }

    /// No room for a copy.
    fn full(&self, state: State, index: usize) -> Option<(&'static str, State)> {
        let mut state = self.begin_to_give_up(state)?;
        state.writers[index] = state.writers[index].at(Write::Start);
        Some((
            "finds the store full, has the oldest snapshot given up",
            state,
        ))
    }

    fn copied(&self, mut state: State, index: usize) -> Option<(&'static str, State)> {
        if !state.open() {
            return None;
        }
        let me = state.writers[index];
        if !me.failed || !self.is(Trap::GoneEarly) {
            self.see(&mut state, me.due);
        }
        let mut valid = me.claims & !state.now.marks();
        if self.is(Trap::AskedAgain) {
            valid &= state.now.needed();
        }
        if me.epoch as usize != state.now.present() || valid == 0 {
            state.writers[index] = me.at(Write::Start);
            return Some(("finds its record outdated, gives up its claims", state));
        }
        if !me.failed {
            for chunk in each(valid) {
                state.now.last().copies[chunk] = Kept::Copy(me.data[chunk]);
            }
        }
        state.writers[index] = Writer {
            claims: valid,
            ..me.at(Write::Indexed)
        };
        Some(("has its record durable, enters, indexes", state))
    }

    fn mark(&self, mut state: State, index: usize) -> Option<(&'static str, State)> {
        let me = state.writers[index];
        state.now.last().marks |= me.claims;
        let missing = me.chunks & !state.now.marks();
        if missing == 0 {
            state.writers[index] = me.at(Write::Flying);
            return Some(("marks, submits", state));
        }
        state.writers[index] = me.at(Write::Start);
        Some(("marks, leaves", state))
    }

    fn land(&self, mut state: State, index: usize) -> Option<(&'static str, State)> {
        let me = state.writers[index];
        for chunk in each(me.chunks) {
            let content = state.fresh(chunk);
            state.origin[chunk].write(content);
        }
        state.writers[index] = me.at(Write::Done);
        Some(("has overwritten the origin, leaves the gate", state))
    }

    /// A writer goes on because its record is durable.
    fn see(&self, state: &mut State, due: u8) {
        // Out of order, it only knows that its own record is whole.
        if !self.is(Trap::OutOfOrder) {
            state.log.see(due);
        }
    }
}
