// SPDX-License-Identifier: GPL-2.0

//! All steps that a state with a log allows, whoever takes them.

#![forbid(unsafe_code)]

use crate::crash::config::Config;
use crate::crash::config::LARGE;
use crate::crash::config::WORLDS;
use crate::crash::invariant::broken;
use crate::crash::state::Cached;
use crate::crash::state::Keeper;
use crate::crash::state::Log;
use crate::crash::state::Root;
use crate::crash::state::State;
use crate::crash::state::Timeline;
use crate::crash::state::Truth;
use crate::crash::state::Write;
use crate::crash::state::Writer;
use crate::crash::state::CHUNKS;
use crate::crash::state::EPOCHS;
use crate::crash::state::WRITERS;
use crate::crash::trace;
use crate::crash::trap::Trap;
use crate::invariant::Broken;
use crate::trace::writers;
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
    /// Begins a snapshot, an order, narrowing or a checkpoint.
    User,
    /// Carries on with what was begun.
    Keeper,
    /// The power, or the kernel.
    Crash,
    /// The store's disk.
    Disk,
}

impl Who {
    /// Returns true if the others may count on a step of it.
    pub fn is_due(&self) -> bool {
        matches!(self, Who::Writer(_) | Who::Keeper)
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

    /// Snapshot 0 has just been taken of a device on which every chunk holds content 0, and is in
    /// the root.
    fn first(&self) -> State {
        assert!(self.snapshots.len() < EPOCHS, "the world is too large");
        let now = Timeline::new(self.protected);
        let mut origin = [Cached::default(); CHUNKS];
        origin.iter_mut().for_each(|chunk| chunk.settle(0));
        let writers = self.writers.iter().map(|&chunks| Writer {
            chunks,
            step: Write::Start,
            ..Writer::default()
        });
        let mut truth = [Truth::default(); EPOCHS];
        truth[0].owed = self.protected;
        State {
            origin,
            now,
            period: 0,
            dirty: false,
            log: Log::default(),
            root: Root {
                timeline: now,
                period: 0,
                next: 0,
            },
            failing: false,
            keeper: Keeper::Idle,
            saving: None,
            writers: places(writers),
            orders: 0,
            reported: 0,
            begun: 1,
            checkpoints: self.checkpoints,
            crashes: self.crashes,
            failures: self.failures,
            truth,
        }
    }

    fn steps(model: &Model, state: &State, mut add: impl FnMut(Who, &'static str, State)) {
        for index in 0..WRITERS {
            model.write(state, index, |step| {
                if let Some((what, next)) = step {
                    add(Who::Writer(index), what, next);
                }
            });
        }
        model.save(state, |what, next| add(Who::Keeper, what, next));
        model.crash(state, |next| add(Who::Crash, "", next));
        model.break_store(state, |next| add(Who::Disk, "", next));
        if let Some((what, next)) = model.carry_out(*state) {
            add(Who::Keeper, what, next);
        }
        let mut some = |who, what, next: Option<State>| {
            if let Some(next) = next {
                add(who, what, next);
            }
        };
        let failed = "finds that its record has failed";
        some(Who::Keeper, failed, model.miss(*state));
        let recovered = "has recovered, makes that durable, opens";
        some(Who::Keeper, recovered, model.resume(*state));
        let taken = "closes the gate, flushes, logs a snapshot";
        some(Who::User, taken, model.take(*state));
        let narrows = "logs that a scope narrows";
        some(Who::User, narrows, model.begin_to_narrow(*state));
        some(Who::User, "begins a checkpoint", model.begin(*state));
        for index in 0..model.config.orders.len() {
            some(Who::User, "logs an order", model.order(*state, index));
        }
    }

    fn broken(model: &Model, state: &State, steps: &[Step<Config>]) -> Option<Broken> {
        broken(model, state, steps)
    }

    fn parties(&self) -> String {
        writers(self.writers)
    }

    fn parts(&self, state: &State) -> Vec<String> {
        trace::parts(self, state)
    }

    fn line(&self, action: &Action<Who>) -> String {
        match action.who {
            Who::Writer(index) => format!("writer {index} {}", action.what),
            Who::User | Who::Keeper => format!("keeper {}", action.what),
            Who::Crash => "--- crash, replay ---".into(),
            Who::Disk => "--- the store fails ---".into(),
        }
    }

    fn shakes_all(who: Who) -> bool {
        who == Who::Crash
    }
}
