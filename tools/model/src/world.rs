// SPDX-License-Identifier: GPL-2.0

//! What can be explored: a small world, in which one mistake may be made.

#![forbid(unsafe_code)]

use std::hash::Hash;

use crate::fold::Fold;
use crate::invariant::Broken;
use crate::trap::Mistake;

/// A small world: who takes part, what they may do, what must hold.
pub trait World: Copy + 'static {
    /// Everything that the next steps depend on.
    type State: Copy + Hash + Fold;
    /// Who takes a step.
    type Who: Copy;
    /// The mistakes that can be made.
    type Trap: Mistake<World = Self>;

    /// The worlds in which the right protocol is explored.
    const WORLDS: &'static [Self];
    /// Worlds that take minutes, for changes of the protocol.
    const LARGE: &'static [Self];

    /// Its name on the command line.
    fn name(&self) -> &'static str;

    /// Where every run begins.
    fn first(&self) -> Self::State;

    /// Adds every step that can be taken in `state`: who takes it, what it is, the state after it.
    fn steps(
        model: &Model<Self>,
        state: &Self::State,
        add: impl FnMut(Self::Who, &'static str, Self::State),
    );

    /// The first property that `state` breaks. `steps` are those that it allows.
    fn broken(model: &Model<Self>, state: &Self::State, steps: &[Step<Self>]) -> Option<Broken>;

    /// Who takes part, for people: a line each.
    fn parties(&self) -> String;

    /// A state for people, in parts, of which only those that changed are told again.
    fn parts(&self, state: &Self::State) -> Vec<String>;

    /// A step for people.
    fn line(&self, action: &Action<Self::Who>) -> String;

    /// Returns true if all parts are to be told after a step of `who`, changed or not.
    fn shakes_all(_who: Self::Who) -> bool {
        false
    }

    /// The world of that name.
    fn find(name: &str) -> Option<&'static Self> {
        let mut all = Self::WORLDS.iter().chain(Self::LARGE);
        all.find(|world| world.name() == name)
    }
}

/// A step, without the states.
#[derive(Clone, Copy, Debug)]
pub struct Action<Who> {
    /// Who takes it.
    pub who: Who,
    /// What it does.
    pub what: &'static str,
}

/// A step, and the state after it.
pub type Step<W> = (Action<<W as World>::Who>, <W as World>::State);

/// A world, and the mistake that is made in it, if any.
pub struct Model<W: World> {
    /// The world.
    pub config: W,
    /// The mistake.
    pub trap: Option<W::Trap>,
    /// Take states that differ only in the names of writers and contents for one. Switched off for
    /// traces, in which the names must stay.
    pub fold: bool,
}

impl<W: World> Model<W> {
    /// The model of a world, states folded.
    pub fn new(config: &W, trap: Option<W::Trap>) -> Self {
        Model {
            config: *config,
            trap,
            fold: true,
        }
    }

    /// Returns true if this mistake is made.
    pub(crate) fn is(&self, trap: W::Trap) -> bool {
        self.trap == Some(trap)
    }

    /// Every step that can be taken in `state`, with the state after it.
    pub fn steps(&self, state: &W::State) -> Vec<Step<W>> {
        let mut steps = Vec::new();
        W::steps(self, state, |who, what, mut next| {
            if self.fold {
                next.fold();
            }
            steps.push((Action { who, what }, next));
        });
        steps
    }
}

/// An array with what there is in the first places, and nobody in the others.
pub(crate) fn places<T: Copy + Default, const N: usize>(all: impl Iterator<Item = T>) -> [T; N] {
    let mut places = [T::default(); N];
    for (number, one) in all.enumerate() {
        assert!(number < N, "the world is too large");
        places[number] = one;
    }
    places
}
