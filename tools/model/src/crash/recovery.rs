// SPDX-License-Identifier: GPL-2.0

//! A crash, and what recovery makes of the root and the log.
//!
//! Replay is a function of both and writes nothing, so a crash before its checkpoint is durable is
//! one more crash from the same place.

#![forbid(unsafe_code)]

use crate::chunks::each;
use crate::chunks::those;
use crate::chunks::Chunks;
use crate::chunks::Content;
use crate::crash::state::Keeper;
use crate::crash::state::Record;
use crate::crash::state::Root;
use crate::crash::state::State;
use crate::crash::state::Timeline;
use crate::crash::state::Truth;
use crate::crash::state::Write;
use crate::crash::state::ALL;
use crate::crash::state::CHUNKS;
use crate::crash::state::EPOCHS;
use crate::crash::trap::Trap;
use crate::crash::world::Model;
use crate::timeline::Kept;

/// What replay knows of the present epoch besides the timeline.
#[derive(Default)]
struct Present {
    /// Chunks with a copy or gone record.
    recorded: Chunks,
    /// The region is dirty.
    dirty: bool,
}

impl Model {
    /// Every way in which the machine can crash now, recovery's reading and replaying included.
    ///
    /// What is not known to be durable may be lost: any tail of the log, and of each chunk of the
    /// origin any writes since the last flush. A chunk that loses none may still do so in the next
    /// crash: without a power cut, the volatile cache lives on.
    pub(crate) fn crash(&self, state: &State, mut take: impl FnMut(State)) {
        if state.crashes == 0 {
            return;
        }
        let mut origins = vec![state.origin];
        for chunk in 0..CHUNKS {
            let older = state.origin[chunk].possible().split_last();
            let older = older.map_or(&[][..], |(_, older)| older);
            for origin in origins.clone() {
                for &content in older {
                    let mut lost = origin;
                    lost[chunk].settle(content);
                    origins.push(lost);
                }
            }
        }
        for read in state.log.durable..=state.log.len {
            let recovered = self.recover(state, read);
            for &origin in &origins {
                take(State {
                    origin,
                    ..recovered
                });
            }
        }
    }

    fn recover(&self, state: &State, read: u8) -> State {
        let mut next = *state;
        next.crashes -= 1;
        next.dirty = false;
        next.failing = false;
        next.saving = None;
        for writer in &mut next.writers {
            if writer.step != Write::Done {
                *writer = writer.at(Write::Start);
            }
        }
        for record in &state.log.records[read as usize..] {
            if let Record::Order(index) = record {
                next.orders &= !(1 << index);
            }
        }
        // What it does not find is not there, and will not be.
        next.log.truncate(read);
        next.keeper = Keeper::Recovering;
        next.period = state.root.period;
        next.now = self.replay(&state.root, &state.log.records[..read as usize]);
        for truth in &mut next.truth[next.now.count as usize..] {
            *truth = Truth::default();
        }
        next
    }

    fn replay(&self, root: &Root, records: &[Record]) -> Timeline {
        let mut timeline = root.timeline;
        let mut present = Present::default();
        for (number, &record) in records.iter().enumerate() {
            let old = number < root.next as usize && !self.is(Trap::ControlsAgain);
            match record {
                Record::Nothing => {}
                Record::Copy {
                    epoch,
                    chunks,
                    data,
                } => {
                    if epoch as usize == timeline.present() {
                        present.recorded |= self.copy(&mut timeline, chunks, data);
                    } else if self.is(Trap::LateRecord) {
                        let named = &mut timeline.epochs[epoch as usize];
                        named.marks |= chunks;
                        each(chunks)
                            .for_each(|chunk| named.copies[chunk] = Kept::Copy(data[chunk]));
                    }
                }
                Record::Gone { epoch, chunks } => {
                    if epoch as usize == timeline.present() {
                        present.recorded |= chunks;
                    }
                }
                Record::Region { epoch, period } => {
                    let here = epoch as usize == timeline.present();
                    let young = period >= root.period || self.is(Trap::OldPeriod);
                    present.dirty |= here && young;
                }
                _ if old => {}
                Record::Epoch if timeline.count as usize == EPOCHS => {}
                Record::Epoch => {
                    let taking = self.taking(&timeline);
                    if !self.is(Trap::CloseAtEnd) {
                        timeline.close(&present);
                    }
                    timeline.begin(taking);
                    present = Present {
                        dirty: present.dirty && self.is(Trap::RegionCarried),
                        ..Present::default()
                    };
                }
                Record::Order(index) => timeline.obey(self.config.orders[index as usize]),
                Record::GiveUp(number) => timeline.give_up(number as usize),
                Record::Narrow(number) => {
                    timeline.narrow(number as usize, self.base(number as usize));
                }
            }
        }
        timeline.close(&present);
        timeline
    }

    /// Replays a copy for the present epoch; says which chunks it marks.
    fn copy(&self, timeline: &mut Timeline, chunks: Chunks, data: [Content; CHUNKS]) -> Chunks {
        let mut wanted = chunks & timeline.wanted();
        if self.is(Trap::Unwanted) {
            wanted = chunks;
        }
        if self.is(Trap::AskMarks) {
            wanted &= !timeline.marks();
        }
        for chunk in each(wanted) {
            let copy = &mut timeline.last().copies[chunk];
            if !copy.is_copy() {
                *copy = Kept::Copy(data[chunk]);
            }
        }
        match self.is(Trap::UnwantedUnmarked) || self.is(Trap::AskedAgain) {
            true => wanted,
            false => chunks,
        }
    }

    /// Makes the recovered state durable before anybody is let in.
    pub(crate) fn resume(&self, mut state: State) -> Option<State> {
        if state.keeper != Keeper::Recovering {
            return None;
        }
        state.keeper = Keeper::Idle;
        for (epoch, truth) in state.now.epochs.iter().zip(&mut state.truth) {
            truth.sealed = epoch.marks;
        }
        if !self.is(Trap::LetIn) {
            state.period += 1;
            state.root = Root {
                timeline: state.now,
                period: state.period,
                next: 0,
            };
            state.trim(state.log.len);
        }
        Some(state)
    }
}

impl Timeline {
    /// Marks what may have been written in the present epoch: what has a record, and what nobody
    /// needs of a dirty region.
    fn close(&mut self, present: &Present) {
        let free = match present.dirty {
            true => ALL & !self.needed(),
            false => 0,
        };
        let last = self.last();
        let copied = those(CHUNKS, |chunk| last.copies[chunk].is_copy());
        last.marks |= present.recorded | copied | free;
    }
}
