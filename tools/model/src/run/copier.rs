// SPDX-License-Identifier: GPL-2.0

//! The slow path's decisions: which claims to take, what to copy, and whether a copy is still good.

#![forbid(unsafe_code)]

use crate::chunks::each;
use crate::run::config::Policy;
use crate::run::state::Write;
use crate::run::state::Writer;
use crate::run::state::ALL;
use crate::run::trap::Trap;
use crate::run::turn::Turn;

impl Turn<'_> {
    fn whole(&self) -> bool {
        self.model.config.policy == Policy::Whole && !self.is(Trap::MarkLeftBehind)
    }

    /// Takes claims; with the last one, decides need.
    pub(crate) fn claim(&mut self) -> Option<&'static str> {
        let index = self.index;
        let none = self.is(Trap::NoClaims) || self.is(Trap::NoClaimsButRecheck);
        let writers = self.state.writers.iter().enumerate();
        let taken = writers
            .filter(|&(other, _)| other != index && !none)
            .fold(0, |taken, (_, writer)| taken | writer.claims);
        let me = *self.me();
        let left = me.want & !me.claims;
        let first = left & left.wrapping_neg();
        let now = match self.model.config.policy {
            Policy::Whole => first & !taken,
            Policy::Piecewise => left & !taken,
        };
        if now == 0 {
            return None;
        }
        self.me().claims |= now;
        if self.model.config.policy == Policy::Whole && now != left {
            return Some("claims a chunk");
        }
        self.decide();
        Some("claims, decides need")
    }

    /// Decides need, outside the gate, for what it has claimed; keeps the claims on what it will
    /// copy.
    fn decide(&mut self) {
        let copy = self.needed();
        let present = self.state.timeline.present() as u8;
        let me = self.me();
        me.claims &= copy;
        me.want = 0;
        me.decided = present;
        me.since = present;
        me.step = Write::Read;
        if me.claims == 0 {
            self.restart();
        }
    }

    /// Enters the gate with the copy, and checks what of it still counts.
    pub(crate) fn copied(&mut self) -> Option<&'static str> {
        if self.is(Trap::NoLook) {
            self.me().stay = self.state.timeline.present() as u8;
        } else {
            self.enter()?;
        }
        let me = *self.me();
        let ignores = [Trap::NoLook, Trap::StaleRecord, Trap::IndexMarkSplit];
        if me.stay != me.decided && !ignores.iter().any(|&trap| self.is(trap)) {
            if self.is(Trap::MarkClosed) {
                self.me().stay = me.decided;
            } else {
                self.me().inside = false;
                self.me().step = Write::Again;
                return Some("enters, finds a new epoch, leaves");
            }
        }
        let rest = self.missing() & !me.claims;
        if self.whole() && rest & self.needed() != 0 {
            // What else the bio covers was marked when it looked, and no longer is: an epoch has
            // begun. Marking its own part now would leave marks in an epoch that never sees the
            // write.
            self.restart();
            return Some(
                "enters, finds other chunks needed meanwhile, leaves, gives up its claims",
            );
        }
        let unmarked = !self.state.timeline.marks();
        // All in one stay, or nothing: the rest is not needed, and within the epoch will not be.
        let free = if self.model.config.policy == Policy::Whole {
            rest & !self.needed()
        } else {
            0
        };
        let blind =
            self.is(Trap::NoRecheck) || self.is(Trap::NoClaims) || self.is(Trap::MarkClosed);
        let swapped = self.is(Trap::MarkBeforeIndex);
        let me = self.me();
        me.want = free;
        me.valid = if blind {
            me.claims
        } else {
            me.claims & unmarked
        };
        me.step = if swapped { Write::Mark } else { Write::Index };
        Some("enters, checks which of its chunks are still unmarked")
    }

    /// A new epoch has begun since need was decided: decides again, for a new record.
    pub(crate) fn again(&mut self) -> Option<&'static str> {
        let needed = self.needed();
        let rest = self.missing() & !self.me().claims & needed;
        if self.whole() && rest != 0 {
            if self.is(Trap::ClaimWhileHolding) {
                let me = self.me();
                me.want = me.claims | rest;
                me.step = Write::Claim;
                return Some("sees more chunks needed, goes on to claim them too");
            }
            // Claiming more while holding these would be out of order.
            self.restart();
            return Some("sees more chunks needed, gives up its claims");
        }
        let present = self.state.timeline.present();
        // Somebody may have marked and written a chunk without a claim, while it was not needed, in
        // an epoch that is closed by now: what was read is then not what this epoch began with. Of
        // the epochs before the record's, the last decision has seen the same.
        let since = match self.is(Trap::StaleContent) {
            true => present,
            false => self.me().decided as usize,
        };
        let stale = self.state.timeline.marked(since, present);
        let me = self.me();
        me.claims &= needed;
        me.failed &= needed;
        me.decided = present as u8;
        if me.claims == 0 {
            self.restart();
            return Some("decides again: nothing left to copy");
        }
        self.clear_unclaimed();
        let me = self.me();
        if me.claims & stale != 0 {
            me.since = present as u8;
            me.failed = 0;
            me.step = Write::Read;
            return Some("decides again: still needed, but written since it was read");
        }
        me.step = Write::Copied;
        Some("decides again: still needed, the content read is good, a new record")
    }

    pub(crate) fn mark(&mut self) -> Option<&'static str> {
        let me = *self.me();
        let stay = me.stay as usize;
        let epoch = &mut self.state.timeline.epochs[stay];
        self.state.truth[stay].lost |= me.valid & me.failed & !epoch.marks;
        epoch.marks |= me.valid | me.want;
        if self.is(Trap::MarkBeforeIndex) {
            self.me().step = Write::Index;
            return Some("marks");
        }
        if self.is(Trap::SubmitBeforeMark) {
            *self.me() = Writer {
                chunks: me.chunks,
                ..Writer::default()
            };
            return Some("marks and leaves");
        }
        Some(self.leave_or_submit())
    }

    /// What was read of chunks that are no longer claimed is forgotten, so that it cannot tell
    /// equal states apart.
    fn clear_unclaimed(&mut self) {
        let me = self.me();
        for chunk in each(ALL & !me.claims) {
            me.data[chunk] = 0;
        }
    }
}
