// SPDX-License-Identifier: GPL-2.0

//! The way of a write: rules 3 and 4, the gate, the claims.
//!
//! ```text
//! Start -+- all marked -------------------------------------------> Flying -> Done
//!        +- missing, none of it needed -> Direct -----------------> Flying
//!        +- else -> Claim -> Read -> Copied -+- epoch present -> Index -> Mark -> Flying
//!                                            +- a new one -> Again -> Copied, Read or Start
//! ```
//!
//! Inside the gate: `Direct`, `Index`, `Mark`, `Flying`. A wait is a step that is not enabled.

#![forbid(unsafe_code)]

use crate::chunks::each;
use crate::fold::Fold;
use crate::run::config::Policy;
use crate::run::state::State;
use crate::run::state::Write;
use crate::run::state::Writer;
use crate::run::trap::Trap;
use crate::run::turn::Turn;
use crate::run::world::Model;
use crate::timeline::Kept;

/// Adds the steps that writer `index` can take: what each is, and the state after it.
pub(crate) fn steps<'a>(
    model: &'a Model,
    state: &State,
    index: usize,
    mut add: impl FnMut(&'static str, State),
) {
    let step = state.writers[index].step;
    let mut take = |run: fn(&mut Turn<'a>) -> Option<&'static str>| {
        let mut turn = Turn {
            model,
            state: *state,
            index,
        };
        if let Some(what) = run(&mut turn) {
            add(what, turn.state);
        }
    };
    match step {
        Write::Start => take(Turn::start),
        Write::Direct => take(Turn::direct),
        Write::Claim => take(Turn::claim),
        Write::Read => {
            take(Turn::read);
            take(Turn::fail);
        }
        Write::Copied => take(Turn::copied),
        Write::Again => take(Turn::again),
        Write::Index => take(Turn::index),
        Write::Mark => take(Turn::mark),
        Write::Flying => take(Turn::land),
        Write::Done => {}
    }
}

impl Turn<'_> {
    fn start(&mut self) -> Option<&'static str> {
        if self.is(Trap::StaleNoNeed) && self.missing() & self.needed() == 0 {
            self.me().step = Write::Direct;
            return Some("sees outside the gate that nothing missing is needed");
        }
        self.enter()?;
        let missing = self.missing();
        let needed = missing & self.needed();
        if missing == 0 {
            self.submit();
            return Some("enters, sees all marked, submits");
        }
        if needed == 0 || (self.model.config.policy == Policy::Piecewise && needed != missing) {
            let me = self.me();
            me.valid = missing & !needed;
            me.step = Write::Direct;
            return Some("enters, sees missing chunks that nobody needs");
        }
        let stays = self.is(Trap::WaitInside);
        let me = self.me();
        me.want = needed;
        me.inside = stays;
        me.step = Write::Claim;
        Some("enters, sees missing chunks that are needed, leaves")
    }

    fn direct(&mut self) -> Option<&'static str> {
        if !self.me().inside {
            self.enter()?; // The trap `stale-no-need`.
            let missing = self.missing();
            self.state.timeline.last().marks |= missing;
            self.submit();
            return Some("enters, marks without a copy, submits");
        }
        // Need cannot have grown since: the gate is held, so the epoch is the same (rule 3).
        let free = self.me().valid;
        self.state.timeline.last().marks |= free;
        if self.missing() == 0 {
            self.submit();
            return Some("marks without a copy, submits");
        }
        self.restart();
        Some("marks what nobody needs without a copy, leaves")
    }

    fn read(&mut self) -> Option<&'static str> {
        let origin = self.state.origin;
        let me = self.me();
        for chunk in each(me.claims) {
            me.data[chunk] = origin[chunk];
        }
        me.step = Write::Copied;
        Some("has read and stored the old content")
    }

    fn fail(&mut self) -> Option<&'static str> {
        let failed = self.me().claims & self.model.config.fallible;
        if failed == 0 {
            return None;
        }
        self.read();
        let me = self.me();
        me.failed = failed;
        for chunk in each(failed) {
            me.data[chunk] = 0;
        }
        Some("could not read all of the old content")
    }

    fn index(&mut self) -> Option<&'static str> {
        let split = self.is(Trap::IndexMarkSplit);
        let swapped = self.is(Trap::MarkBeforeIndex);
        let me = *self.me();
        let number = if split { me.decided } else { me.stay };
        for chunk in each(me.valid & !me.failed) {
            self.state.timeline.epochs[number as usize].copies[chunk] = Kept::Copy(me.data[chunk]);
        }
        if swapped {
            self.leave_or_submit();
            return Some("indexes the copy, and goes on");
        }
        if self.is(Trap::SubmitBeforeMark) {
            self.written(me.chunks);
            self.me().step = Write::Flying;
            return Some("indexes the copy, submits");
        }
        self.me().step = Write::Mark;
        Some("indexes the copy")
    }

    /// Submits if all is marked now; gives up the claims in either case.
    pub(crate) fn leave_or_submit(&mut self) -> &'static str {
        if self.missing() == 0 {
            self.submit();
            return "marks, gives up its claims, sees all marked, submits";
        }
        self.restart();
        "marks, gives up its claims, leaves"
    }

    fn land(&mut self) -> Option<&'static str> {
        let late = self.is(Trap::SubmitBeforeMark) && self.me().claims != 0;
        for chunk in each(self.me().chunks) {
            self.state.origin[chunk] = self.state.fresh(chunk);
        }
        if late {
            self.me().step = Write::Mark;
            return Some("has overwritten the origin");
        }
        let me = self.me();
        *me = Writer {
            chunks: me.chunks,
            ..Writer::default()
        };
        Some("has overwritten the origin, leaves the gate")
    }
}
