// SPDX-License-Identifier: GPL-2.0

//! All steps that a state allows, whoever takes them.

#![forbid(unsafe_code)]

use std::fmt;

use crate::config::Config;
use crate::explore::Machine;
use crate::invariant::broken;
use crate::invariant::Broken;
use crate::keeper;
use crate::reader;
use crate::state::Epoch;
use crate::state::Frozen;
use crate::state::Gate;
use crate::state::Reader;
use crate::state::Snapshot;
use crate::state::State;
use crate::state::Write;
use crate::state::Writer;
use crate::state::EPOCHS;
use crate::state::READERS;
use crate::state::WRITERS;
use crate::trap::Trap;
use crate::writer;

/// A world, and the mistake that is made in it, if any.
#[derive(Clone, Copy, Debug)]
pub struct Model {
    /// The world.
    pub config: Config,
    /// The mistake.
    pub trap: Option<Trap>,
    /// Take states that differ only in the names of writers and contents for one. Switched off for
    /// traces, in which the names must stay.
    pub fold: bool,
}

/// Who takes a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The write of that number.
    Writer(usize),
    /// The frozen read of that number.
    Reader(usize),
    /// Carries on with a snapshot under way.
    Swap,
    /// Begins a snapshot.
    Close,
    /// The configuration's order of that number.
    User(usize),
}

/// A step.
#[derive(Clone, Copy, Debug)]
pub struct Action {
    /// Who takes it.
    pub who: Who,
    /// What it does.
    pub what: &'static str,
}

impl Action {
    /// Whether the others may count on it: nobody has to begin a snapshot or to drop one.
    pub fn is_due(&self) -> bool {
        !matches!(self.who, Who::Close | Who::User(_))
    }
}

impl Model {
    /// The model of a world, states folded.
    pub fn new(config: &Config, trap: Option<Trap>) -> Self {
        let config = *config;
        assert!(config.writers.len() <= WRITERS && config.readers.len() <= READERS);
        assert!(config.snapshots.len() < EPOCHS);
        Model {
            config,
            trap,
            fold: true,
        }
    }
}

impl Machine for Model {
    type State = State;
    type Action = Action;

    /// Snapshot 0 has just been taken of a device on which every chunk holds content 0.
    fn first(&self) -> State {
        let mut writers = [Writer::default(); WRITERS];
        for (writer, &chunks) in writers.iter_mut().zip(self.config.writers) {
            *writer = Writer {
                chunks,
                step: Write::Start,
                ..Writer::default()
            };
        }
        let mut readers = [Reader::default(); READERS];
        for (reader, &(snapshot, chunk)) in readers.iter_mut().zip(self.config.readers) {
            *reader = Reader {
                snapshot,
                chunk,
                step: Frozen::Start,
                ..Reader::default()
            };
        }
        let protected = self.config.protected;
        let mut snapshots = [Snapshot::default(); EPOCHS];
        snapshots[0] = Snapshot {
            live: true,
            protected,
            keeps: protected,
            released: 0,
            owed: protected,
        };
        State {
            origin: Default::default(),
            epochs: [Epoch::default(); EPOCHS],
            snapshots,
            count: 1,
            gate: Gate::Open,
            designation: protected,
            orders: 0,
            writers,
            readers,
        }
    }

    fn steps(&self, state: &State, out: &mut Vec<(Action, State)>) {
        let mut some = Vec::new();
        for index in 0..WRITERS {
            writer::steps(self, state, index, &mut some);
            let who = Who::Writer(index);
            out.extend(
                some.drain(..)
                    .map(|(what, next)| (Action { who, what }, next)),
            );
        }
        for index in 0..READERS {
            let who = Who::Reader(index);
            let step = reader::step(self, state, index);
            out.extend(step.map(|(what, next)| (Action { who, what }, next)));
        }
        let mut add = |who, what, next: Option<State>| {
            out.extend(next.map(|next| (Action { who, what }, next)));
        };
        add(
            Who::Close,
            "begins to close the gate",
            keeper::close(self, state),
        );
        add(
            Who::Swap,
            "swaps in a new epoch, opens the gate",
            keeper::swap(self, state),
        );
        for index in 0..self.config.orders.len() {
            add(
                Who::User(index),
                "is done",
                keeper::order(self, state, index),
            );
        }
        if self.fold {
            out.iter_mut().for_each(|(_, next)| next.fold());
        }
    }

    fn broken(&self, state: &State, steps: &[(Action, State)]) -> Option<Broken> {
        broken(self, state, steps)
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Who::Writer(index) => write!(f, "writer {index}"),
            Who::Reader(index) => write!(f, "reader {index}"),
            Who::Swap | Who::Close => write!(f, "snapshot"),
            Who::User(index) => write!(f, "order {index}"),
        }
    }
}
