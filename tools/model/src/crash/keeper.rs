// SPDX-License-Identifier: GPL-2.0

//! Snapshots, orders, narrowing and giving up: one after another, durable before they take effect.

#![forbid(unsafe_code)]

use crate::crash::state::Keeper;
use crate::crash::state::Record;
use crate::crash::state::State;
use crate::crash::state::Timeline;
use crate::crash::trap::Trap;
use crate::crash::world::Model;
use crate::user::Order;
use crate::user::Taking;
use crate::user::FULL;

impl Model {
    /// Closes the gate, waits until it has drained, flushes the origin, and logs the new epoch.
    /// Waiting is no step of its own: that nobody enters while it lasts is a run in which nobody
    /// happens to.
    pub(crate) fn take(&self, mut state: State) -> Option<State> {
        let taking = self.config.snapshots.get(state.now.present())?;
        if !self.free(&state) || state.writers.iter().any(|writer| writer.inside()) {
            return None;
        }
        if !self.is(Trap::NoFlush) {
            for chunk in &mut state.origin {
                chunk.settle(chunk.now());
            }
        }
        let number = state.now.count as usize;
        state.truth[number - 1].sealed = state.now.marks();
        state.truth[number] = state.view().beginning(*taking);
        state.keeper = Keeper::Epoch(state.log.append(Record::Epoch));
        Some(state)
    }

    /// Lets what was logged take effect, once its record is durable.
    pub(crate) fn carry_out(&self, mut state: State) -> Option<(&'static str, State)> {
        let due = state.keeper.due()?;
        if !state.can_see(due) {
            return None;
        }
        state.log.see(due);
        let what = match state.keeper {
            Keeper::Epoch(_) => {
                self.swap(&mut state);
                "swaps in a new epoch"
            }
            Keeper::Order(_, index) => {
                state.now.obey(self.config.orders[index as usize]);
                state.reported |= 1 << index;
                "carries the order out"
            }
            Keeper::Narrow(_, number) => {
                state
                    .now
                    .narrow(number as usize, self.base(number as usize));
                "narrows the scope"
            }
            Keeper::GiveUp(_, number) => {
                state.now.give_up(number as usize);
                "gives the snapshot up"
            }
            Keeper::Idle | Keeper::Recovering => return None,
        };
        state.keeper = Keeper::Idle;
        Some((what, state))
    }

    /// Swaps in the new epoch, and opens the gate.
    fn swap(&self, state: &mut State) {
        state.now.begin(self.taking(&state.now));
        state.begun = state.now.count;
        if !self.is(Trap::RegionKeptEpoch) {
            state.dirty = false;
        }
    }

    /// The store fails: nothing is logged any longer. What nobody has seen durable by now is not
    /// taken for durable later, but a crash may find it all the same.
    pub(crate) fn break_store(&self, state: &State, mut take: impl FnMut(State)) {
        if state.failures == 0 || state.failing || state.keeper == Keeper::Recovering {
            return;
        }
        for durable in state.log.durable..=state.log.len {
            let mut next = *state;
            next.failures -= 1;
            next.failing = true;
            next.log.durable = durable;
            if self.is(Trap::FailingDrops) {
                let snapshots = &mut next.now.snapshots;
                snapshots
                    .iter_mut()
                    .for_each(|snapshot| snapshot.live = false);
            }
            take(next);
        }
    }

    /// The store has failed before something was durable: it does not take effect. But its record
    /// may be on the disk; so a new epoch begins, without its snapshot: a write in it would have to
    /// be logged, and waits.
    pub(crate) fn miss(&self, mut state: State) -> Option<State> {
        if state.can_see(state.keeper.due()?) {
            return None;
        }
        let is_epoch = matches!(state.keeper, Keeper::Epoch(_));
        if is_epoch && !self.is(Trap::FailingSameEpoch) {
            state.now.begin_alone();
            state.dirty = false;
        }
        state.keeper = Keeper::Idle;
        Some(state)
    }

    /// Carries out at once, and reports, what cannot be logged.
    fn obey_unlogged(&self, mut state: State, index: usize) -> Option<State> {
        if !state.failing || !self.is(Trap::FailingObeys) {
            return None;
        }
        state.now.obey(self.config.orders[index]);
        state.orders |= 1 << index;
        state.reported |= 1 << index;
        Some(state)
    }

    /// Logs one of the user's orders, if it has not been and means anything now.
    pub(crate) fn order(&self, mut state: State, index: usize) -> Option<State> {
        if !self.free(&state) || state.orders & (1 << index) != 0 {
            return self.obey_unlogged(state, index);
        }
        let order = self.config.orders[index];
        if !state.now.allows(order) {
            return None;
        }
        state.orders |= 1 << index;
        let due = state.log.append(Record::Order(index as u8));
        state.keeper = Keeper::Order(due, index as u8);
        let early = match order {
            Order::Drop(_) => self.is(Trap::DropEarly),
            Order::Release(..) => self.is(Trap::ReleaseEarly),
            Order::Protect(_) | Order::Unprotect(_) => self.is(Trap::ProtectEarly),
        };
        if early {
            state.now.obey(order);
        }
        Some(state)
    }

    /// Logs that an incremental snapshot's scope narrows, when the root has its epochs as closed.
    pub(crate) fn begin_to_narrow(&self, mut state: State) -> Option<State> {
        if !self.free(&state) {
            return None;
        }
        let number = (1..state.now.count as usize).find(|&number| {
            let snapshot = state.now.snapshots[number];
            let saved = number < state.root.timeline.count as usize;
            let ready = saved || self.is(Trap::NarrowUnsaved);
            let incremental = self.config.snapshots[number - 1].base.is_some();
            snapshot.live && !snapshot.narrowed && incremental && ready
        })?;
        let due = state.log.append(Record::Narrow(number as u8));
        state.keeper = Keeper::Narrow(due, number as u8);
        if self.is(Trap::NarrowEarly) {
            state.now.narrow(number, self.base(number));
        }
        Some(state)
    }

    /// Logs that the oldest snapshot is given up, for a write that finds the store full; the write
    /// looks again.
    pub(crate) fn begin_to_give_up(&self, mut state: State) -> Option<State> {
        if !self.config.scarce || !self.free(&state) {
            return None;
        }
        let number = state.now.oldest()?;
        let due = state.log.append(Record::GiveUp(number as u8));
        state.keeper = Keeper::GiveUp(due, number as u8);
        if self.is(Trap::GiveUpEarly) {
            state.now.give_up(number);
        }
        Some(state)
    }

    /// The snapshot that begins the epoch after the present one.
    pub(crate) fn taking(&self, timeline: &Timeline) -> Taking {
        let taking = self.config.snapshots.get(timeline.present());
        taking.copied().unwrap_or(FULL)
    }

    /// Returns true if something new may begin that is not to run beside anything else.
    fn free(&self, state: &State) -> bool {
        let beside = state.saving.is_none() || self.config.beside;
        state.keeper == Keeper::Idle && beside && !state.failing
    }

    pub(crate) fn base(&self, number: usize) -> usize {
        self.config.snapshots[number - 1]
            .base
            .map_or(0, usize::from)
    }
}
