// SPDX-License-Identifier: GPL-2.0

//! The log and the origin: what is begun, what is durable, what a crash leaves.

#![forbid(unsafe_code)]

use crate::chunks::Content;
use crate::crash::state::Cached;
use crate::crash::state::Keeper;
use crate::crash::state::Log;
use crate::crash::state::Record;
use crate::crash::state::State;
use crate::crash::state::CACHE;
use crate::crash::state::LOG;

impl Log {
    /// Begins a record; returns how many have to be durable for it to be.
    pub(crate) fn append(&mut self, record: Record) -> u8 {
        assert!((self.len as usize) < LOG, "the world is too large");
        self.records[self.len as usize] = record;
        self.len += 1;
        self.len
    }

    /// Somebody goes on because so many records are durable. Completions that nobody looks at are
    /// no steps: a crash keeps at least what was seen, and as much more as it likes.
    pub(crate) fn see(&mut self, due: u8) {
        self.durable = self.durable.max(due);
    }

    pub(crate) fn truncate(&mut self, len: u8) {
        self.records[len as usize..].fill(Record::Nothing);
        self.len = len;
    }
}

impl State {
    /// Forgets the records before `cut`. What was waited for before it no longer has to be.
    pub(crate) fn trim(&mut self, cut: u8) {
        let gone = cut as usize;
        self.log.records.copy_within(gone.., 0);
        self.log.records[LOG - gone..].fill(Record::Nothing);
        self.log.len -= cut;
        self.log.durable = self.log.durable.saturating_sub(cut);
        for writer in &mut self.writers {
            writer.due = writer.due.saturating_sub(cut);
        }
        match &mut self.keeper {
            Keeper::Epoch(due)
            | Keeper::Order(due, _)
            | Keeper::Narrow(due, _)
            | Keeper::GiveUp(due, _) => *due = due.saturating_sub(cut),
            Keeper::Idle | Keeper::Recovering => {}
        }
    }

    /// Returns true if so many records are durable, or may become so: not while the store is
    /// failing.
    pub(crate) fn can_see(&self, due: u8) -> bool {
        !self.failing || due <= self.log.durable
    }

    /// Returns true if writes may enter and the user may ask for something.
    pub(crate) fn open(&self) -> bool {
        !matches!(self.keeper, Keeper::Epoch(_) | Keeper::Recovering)
    }
}

impl Keeper {
    /// How many records have to be durable for what it has logged to take effect.
    pub(crate) fn due(&self) -> Option<u8> {
        match *self {
            Keeper::Epoch(due)
            | Keeper::Order(due, _)
            | Keeper::Narrow(due, _)
            | Keeper::GiveUp(due, _) => Some(due),
            Keeper::Idle | Keeper::Recovering => None,
        }
    }
}

impl Cached {
    /// What a read returns.
    pub fn now(&self) -> Content {
        self.holds[self.writes as usize - 1]
    }

    /// Everything it may hold after a power cut.
    pub fn possible(&self) -> &[Content] {
        &self.holds[..self.writes as usize]
    }

    pub(crate) fn write(&mut self, content: Content) {
        assert!((self.writes as usize) < CACHE, "the world is too large");
        self.holds[self.writes as usize] = content;
        self.writes += 1;
    }

    /// Only this content is left.
    pub(crate) fn settle(&mut self, content: Content) {
        *self = Cached::default();
        self.write(content);
    }
}
