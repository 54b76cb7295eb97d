// SPDX-License-Identifier: GPL-2.0

//! A checkpoint: begun with the gate closed and drained, saved while writes go on, made the root in
//! one step.

#![forbid(unsafe_code)]

use crate::chunks::each;
use crate::crash::config::Saves;
use crate::crash::state::Keeper;
use crate::crash::state::Root;
use crate::crash::state::Saving;
use crate::crash::state::State;
use crate::crash::state::Write;
use crate::crash::trap::Trap;
use crate::crash::world::Model;
use crate::timeline::Kept;

impl Model {
    /// A new period, an empty region map, and the cut.
    pub(crate) fn begin(&self, mut state: State) -> Option<State> {
        let inside = state.writers.iter().any(|writer| writer.inside());
        // What is logged but has not taken effect would be missing in the root, and not replayed.
        let amid = matches!(state.keeper, Keeper::Order(..) | Keeper::Narrow(..))
            && self.is(Trap::AmidOrder);
        if (state.keeper != Keeper::Idle && !amid)
            || state.saving.is_some()
            || state.failing
            || state.checkpoints == 0
            || (inside && !self.is(Trap::NoWait))
        {
            return None;
        }
        state.period += 1;
        if !self.is(Trap::RegionKeptPeriod) {
            state.dirty = false;
        }
        let unsettled = state
            .writers
            .iter()
            .filter(|writer| writer.step == Write::Copied);
        let next = state.log.len;
        let cut = match self.is(Trap::CutNext) {
            true => next,
            false => unsettled.fold(next, |cut, writer| cut.min(writer.due - 1)),
        };
        // What is marked is final, and so is what no write is left to touch: that may be saved at
        // any time.
        let left = state
            .writers
            .iter()
            .filter(|writer| writer.step != Write::Done);
        let left = left.fold(0, |left, writer| left | writer.chunks);
        let open = left & !state.now.marks();
        let mut timeline = state.now;
        for chunk in each(open) {
            timeline.last().copies[chunk] = Kept::Nothing;
        }
        state.saving = Some(Saving {
            timeline,
            cut,
            next,
            marks: open,
            index: open,
        });
        Some(state)
    }

    /// Saves something more of the present epoch; at last, all of it becomes the root.
    pub(crate) fn save(&self, state: &State, mut take: impl FnMut(&'static str, State)) {
        let Some(saving) = state.saving else {
            return;
        };
        // The epoch that was present when it began; by now a snapshot may have closed it.
        let now = state.now.epochs[saving.timeline.present()];
        let with = |saving| State {
            saving: Some(saving),
            ..*state
        };
        let (marks, index) = match self.config.saves {
            Saves::Any => (saving.marks, saving.index),
            Saves::MarksFirst if saving.marks != 0 => (saving.marks, 0),
            Saves::MarksFirst => (0, saving.index),
            Saves::IndexFirst if saving.index != 0 => (0, saving.index),
            Saves::IndexFirst => (saving.marks, 0),
        };
        for chunk in each(marks) {
            let mut saving = saving;
            saving.marks &= !(1 << chunk);
            saving.timeline.last().marks |= now.marks & (1 << chunk);
            take("saves whether a chunk is marked", with(saving));
        }
        for chunk in each(index) {
            let mut saving = saving;
            saving.index &= !(1 << chunk);
            saving.timeline.last().copies[chunk] = now.copies[chunk];
            take("saves a chunk's index entry", with(saving));
        }
        if saving.marks | saving.index == 0 {
            let mut next = *state;
            next.saving = None;
            next.checkpoints -= 1;
            next.root = Root {
                timeline: saving.timeline,
                period: state.period,
                next: saving.next - saving.cut,
            };
            next.trim(saving.cut);
            take("makes the checkpoint the root", next);
        }
    }
}
