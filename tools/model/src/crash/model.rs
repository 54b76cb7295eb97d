// SPDX-License-Identifier: GPL-2.0

//! All steps that a state of the crash model allows, whoever takes them.

#![forbid(unsafe_code)]

use std::fmt;

use crate::crash::config::Config;
use crate::crash::invariant::broken;
use crate::crash::state::Cached;
use crate::crash::state::Keeper;
use crate::crash::state::Log;
use crate::crash::state::Root;
use crate::crash::state::State;
use crate::crash::state::Step;
use crate::crash::state::Timeline;
use crate::crash::state::Truth;
use crate::crash::state::Writer;
use crate::crash::state::CHUNKS;
use crate::crash::state::EPOCHS;
use crate::crash::state::WRITERS;
use crate::crash::trap::Trap;
use crate::explore::Machine;
use crate::invariant::Broken;

/// A world, and the mistake that is made in it, if any.
#[derive(Clone, Copy, Debug)]
pub struct Model {
    /// The world.
    pub config: Config,
    /// The mistake.
    pub trap: Option<Trap>,
    /// Take states that differ only in the names of writers and contents for one.
    pub fold: bool,
}

/// Who takes a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The write of that number.
    Writer(usize),
    /// Begins a snapshot, an order, narrowing or a checkpoint.
    User,
    /// Carries on with what was begun.
    Keeper,
    /// The power, or the kernel.
    Crash,
    /// The store's disk.
    Disk,
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
    /// Whether the others may count on it.
    pub fn is_due(&self) -> bool {
        matches!(self.who, Who::Writer(_) | Who::Keeper)
    }
}

impl Model {
    /// The model of a world, states folded.
    pub fn new(config: &Config, trap: Option<Trap>) -> Self {
        let config = *config;
        assert!(config.writers.len() <= WRITERS && config.snapshots.len() < EPOCHS);
        Model {
            config,
            trap,
            fold: true,
        }
    }

    pub(crate) fn is(&self, trap: Trap) -> bool {
        self.trap == Some(trap)
    }
}

impl Machine for Model {
    type State = State;
    type Action = Action;

    /// Snapshot 0 has just been taken of a device on which every chunk holds content 0, and is in
    /// the root.
    fn first(&self) -> State {
        let mut now = Timeline {
            designation: self.config.protected,
            ..Timeline::default()
        };
        now.begin(crate::config::FULL);
        let mut origin = [Cached::default(); CHUNKS];
        origin.iter_mut().for_each(|chunk| chunk.settle(0));
        let mut writers = [Writer::default(); WRITERS];
        for (writer, &chunks) in writers.iter_mut().zip(self.config.writers) {
            *writer = Writer {
                chunks,
                step: Step::Start,
                ..Writer::default()
            };
        }
        let mut truth = [Truth::default(); EPOCHS];
        truth[0].owed = self.config.protected;
        State {
            origin,
            now,
            dirty: false,
            log: Log::default(),
            root: Root {
                timeline: now,
                next: 0,
            },
            failing: false,
            keeper: Keeper::Idle,
            saving: None,
            writers,
            orders: 0,
            reported: 0,
            begun: 1,
            checkpoints: self.config.checkpoints,
            crashes: self.config.crashes,
            failures: self.config.failures,
            truth,
        }
    }

    fn steps(&self, state: &State, out: &mut Vec<(Action, State)>) {
        let mut add = |who, what, next| out.push((Action { who, what }, next));
        for index in 0..WRITERS {
            self.write(state, index, |step| {
                if let Some((what, next)) = step {
                    add(Who::Writer(index), what, next);
                }
            });
        }
        self.save(state, |what, next| add(Who::Keeper, what, next));
        self.crash(state, |next| add(Who::Crash, "", next));
        self.break_store(state, |next| add(Who::Disk, "", next));
        let mut some = |who, what, next: Option<State>| {
            next.into_iter().for_each(|next| add(who, what, next));
        };
        some(Who::Keeper, "swaps in a new epoch", self.swap(*state));
        some(
            Who::Keeper,
            "finds that its record has failed",
            self.miss(*state),
        );
        some(Who::Keeper, "carries the order out", self.obey(*state));
        some(Who::Keeper, "narrows the scope", self.narrow(*state));
        some(Who::Keeper, "gives the snapshot up", self.give_up(*state));
        some(
            Who::Keeper,
            "has recovered, makes that durable, opens",
            self.resume(*state),
        );
        some(
            Who::User,
            "closes the gate, flushes, logs a snapshot",
            self.take(*state),
        );
        some(
            Who::User,
            "logs that a scope narrows",
            self.begin_to_narrow(*state),
        );
        some(Who::User, "begins a checkpoint", self.begin(*state));
        for index in 0..self.config.orders.len() {
            some(Who::User, "logs an order", self.order(*state, index));
        }
        if self.fold {
            out.iter_mut().for_each(|(_, next)| next.fold());
        }
    }

    fn broken(&self, state: &State, steps: &[(Action, State)]) -> Option<Broken> {
        broken(self, state, steps)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.who {
            Who::Writer(index) => write!(f, "writer {index} {}", self.what),
            Who::User | Who::Keeper => write!(f, "keeper {}", self.what),
            Who::Crash => write!(f, "--- crash, replay ---"),
            Who::Disk => write!(f, "--- the store fails ---"),
        }
    }
}
