// SPDX-License-Identifier: GPL-2.0

//! All steps that a state allows, whoever takes them.

#![forbid(unsafe_code)]

use std::fmt;

use crate::invariant::Broken;
use crate::run::config::Config;
use crate::run::config::LARGE;
use crate::run::config::WORLDS;
use crate::run::invariant::broken;
use crate::run::keeper;
use crate::run::reader;
use crate::run::state::Frozen;
use crate::run::state::Gate;
use crate::run::state::Reader;
use crate::run::state::State;
use crate::run::state::Timeline;
use crate::run::state::Truth;
use crate::run::state::Write;
use crate::run::state::Writer;
use crate::run::state::EPOCHS;
use crate::run::state::READERS;
use crate::run::state::WRITERS;
use crate::run::trace;
use crate::run::trap::Trap;
use crate::run::writer;
use crate::world::places;
use crate::world::Action;
use crate::world::Step;
use crate::world::World;

/// A world, and the mistake that is made in it, if any.
pub type Model = crate::world::Model<Config>;

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

impl Who {
    /// Returns true if the others may count on a step of it: nobody has to begin a snapshot or to
    /// drop one.
    pub fn is_due(&self) -> bool {
        !matches!(self, Who::Close | Who::User(_))
    }
}

impl World for Config {
    type State = State;
    type Who = Who;
    type Trap = Trap;

    const WORLDS: &'static [Config] = WORLDS;
    const LARGE: &'static [Config] = LARGE;

    fn name(&self) -> &'static str {
        self.name
    }

    /// Snapshot 0 has just been taken of a device on which every chunk holds content 0.
    fn first(&self) -> State {
        assert!(self.snapshots.len() < EPOCHS, "the world is too large");
        let writers = self.writers.iter().map(|&chunks| Writer {
            chunks,
            step: Write::Start,
            ..Writer::default()
        });
        let readers = self.readers.iter().map(|&(snapshot, chunk)| Reader {
            snapshot,
            chunk,
            step: Frozen::Start,
            ..Reader::default()
        });
        let mut truth = [Truth::default(); EPOCHS];
        truth[0].owed = self.protected;
        State {
            origin: Default::default(),
            timeline: Timeline::new(self.protected),
            gate: Gate::Open,
            orders: 0,
            writers: places(writers),
            readers: places(readers),
            truth,
            written: Default::default(),
        }
    }

    fn steps(model: &Model, state: &State, mut add: impl FnMut(Who, &'static str, State)) {
        for index in 0..WRITERS {
            writer::steps(model, state, index, |what, next| {
                add(Who::Writer(index), what, next);
            });
        }
        for index in 0..READERS {
            if let Some((what, next)) = reader::step(model, state, index) {
                add(Who::Reader(index), what, next);
            }
        }
        if let Some(next) = keeper::close(model, state) {
            add(Who::Close, "begins to close the gate", next);
        }
        if let Some(next) = keeper::swap(model, state) {
            add(Who::Swap, "swaps in a new epoch, opens the gate", next);
        }
        for index in 0..model.config.orders.len() {
            if let Some(next) = keeper::order(model, state, index) {
                add(Who::User(index), "is done", next);
            }
        }
    }

    fn broken(model: &Model, state: &State, steps: &[Step<Config>]) -> Option<Broken> {
        broken(model, state, steps)
    }

    fn parties(&self) -> String {
        trace::parties(self)
    }

    fn parts(&self, state: &State) -> Vec<String> {
        vec![trace::timeline(state)]
    }

    fn line(&self, action: &Action<Who>) -> String {
        match action.who {
            Who::User(index) => format!("{:?}", self.orders[index]),
            who => format!("{who} {}", action.what),
        }
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
