// SPDX-License-Identifier: GPL-2.0

//! What every step of a write is made of: the gate, the marks, submitting, starting over.

#![forbid(unsafe_code)]

use crate::chunks::Chunks;
use crate::run::state::Gate;
use crate::run::state::State;
use crate::run::state::Write;
use crate::run::state::Writer;
use crate::run::trap::Trap;
use crate::run::world::Model;

/// One writer's view while it takes a step.
pub(crate) struct Turn<'a> {
    pub(crate) model: &'a Model,
    pub(crate) state: State,
    pub(crate) index: usize,
}

impl Turn<'_> {
    pub(crate) fn me(&mut self) -> &mut Writer {
        &mut self.state.writers[self.index]
    }

    pub(crate) fn is(&self, trap: Trap) -> bool {
        self.model.is(trap)
    }

    /// Rule 2: the chunks that some live snapshot needs from the origin.
    pub(crate) fn needed(&self) -> Chunks {
        let timeline = &self.state.timeline;
        match self.is(Trap::NeedOfLatestOnly) {
            true => timeline.wanted_by(timeline.present()) & !timeline.marks(),
            false => timeline.needed(),
        }
    }

    /// Enters the gate, or does not while it is being closed.
    pub(crate) fn enter(&mut self) -> Option<()> {
        if self.state.gate != Gate::Open {
            return None;
        }
        let stay = self.state.timeline.present() as u8;
        let me = self.me();
        me.inside = true;
        me.stay = stay;
        Some(())
    }

    /// The chunks of the bio that are not marked in the present epoch.
    pub(crate) fn missing(&mut self) -> Chunks {
        let marks = self.state.timeline.marks();
        let two_stays = self.is(Trap::TwoStays);
        let me = self.me();
        if two_stays {
            me.seen |= me.chunks & marks;
        }
        me.chunks & !marks & !me.seen
    }

    /// Outside again, with nothing in hand: look anew.
    pub(crate) fn restart(&mut self) {
        let me = self.me();
        *me = Writer {
            chunks: me.chunks,
            seen: me.seen,
            step: Write::Start,
            ..Writer::default()
        };
    }

    /// Submits the bio to the origin, inside the gate.
    pub(crate) fn submit(&mut self) {
        let me = self.me();
        let chunks = me.chunks;
        *me = Writer {
            chunks,
            inside: me.inside,
            step: Write::Flying,
            ..Writer::default()
        };
        self.written(chunks);
    }

    /// For the checker: a write of these chunks was submitted in the present epoch.
    pub(crate) fn written(&mut self, chunks: Chunks) {
        let present = self.state.timeline.present();
        self.state.written[present] |= chunks;
    }
}
