// SPDX-License-Identifier: GPL-2.0

//! The search: every state once, remembered by a 64-bit fingerprint.
//!
//! [`prove`] goes depth first, which also finds runs that go in circles; [`hunt`] goes breadth
//! first, so that what it finds is as short as possible. With n states the chance that two share a
//! fingerprint, and one of them goes unseen, is about n*n / 2^65: one in ten thousand for sixty
//! million.

#![forbid(unsafe_code)]

use std::collections::hash_map::Entry;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::hash::BuildHasherDefault;
use std::hash::Hasher;

use crate::fingerprint::fingerprint;
use crate::invariant::Broken;
use crate::invariant::CYCLE;
use crate::world::Model;
use crate::world::Step;
use crate::world::World;

/// A fingerprint is a hash already.
#[derive(Default)]
struct Fingerprint(u64);

impl Hasher for Fingerprint {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _: &[u8]) {
        unreachable!("fingerprints are u64");
    }
    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

type Seen<V> = HashMap<u64, V, BuildHasherDefault<Fingerprint>>;

/// A run that ends in a state that breaks a property.
pub struct Counterexample<W: World> {
    /// The property.
    pub broken: Broken,
    /// Each step, and the state after it.
    pub run: Vec<Step<W>>,
}

/// What a search has seen.
pub struct Outcome<W: World> {
    /// Different states.
    pub states: usize,
    /// Steps tried, also those to states already known.
    pub steps: usize,
    /// The longest way from the first state that the search went.
    pub depth: usize,
    /// The run it was looking for.
    pub found: Option<Counterexample<W>>,
}

impl<W: World> Default for Outcome<W> {
    fn default() -> Self {
        Outcome {
            states: 0,
            steps: 0,
            depth: 0,
            found: None,
        }
    }
}

/// Explores all states, depth first.
pub fn prove<W: World>(model: &Model<W>) -> Outcome<W> {
    let first = model.config.first();
    let mut outcome = Outcome::default();
    // Whether the state is on the way to the one being looked at.
    let mut seen = Seen::<bool>::default();
    let mut way: Vec<Stop<W>> = Vec::new();
    let mut enter = Some((fingerprint(&first), None, first));
    loop {
        if let Some((mark, came, state)) = enter.take() {
            let steps = model.steps(&state);
            outcome.steps += steps.len();
            let wrong = W::broken(model, &state, &steps);
            way.push(Stop { mark, came, steps });
            seen.insert(mark, true);
            outcome.depth = outcome.depth.max(way.len() - 1);
            if let Some(broken) = wrong {
                outcome.found = Some(walked(broken, &way));
                break;
            }
        }
        let Some(Stop { mark, steps, .. }) = way.last_mut() else {
            break;
        };
        let Some((action, state)) = steps.pop() else {
            seen.insert(*mark, false);
            way.pop();
            continue;
        };
        let mark = fingerprint(&state);
        match seen.get(&mark) {
            None => enter = Some((mark, Some((action, state)), state)),
            Some(true) => {
                let mut found = walked(CYCLE, &way);
                found.run.push((action, state));
                outcome.found = Some(found);
                break;
            }
            Some(false) => {}
        }
    }
    outcome.states = seen.len();
    outcome
}

/// A state on the way to the one being looked at.
struct Stop<W: World> {
    mark: u64,
    /// The step that led here, if it is not the first.
    came: Option<Step<W>>,
    /// What is still to be tried from here.
    steps: Vec<Step<W>>,
}

fn walked<W: World>(broken: Broken, way: &[Stop<W>]) -> Counterexample<W> {
    Counterexample {
        broken,
        run: way.iter().filter_map(|stop| stop.came).collect(),
    }
}

/// Looks for the shortest run that breaks a property, breadth first.
pub fn hunt<W: World>(model: &Model<W>) -> Outcome<W> {
    search(model, |state, steps| W::broken(model, state, steps))
}

/// Looks for the shortest run to a state of which `judge` has something to say, breadth first.
pub fn search<W: World>(
    model: &Model<W>,
    judge: impl Fn(&W::State, &[Step<W>]) -> Option<Broken>,
) -> Outcome<W> {
    let first = model.config.first();
    let mut outcome = Outcome::default();
    let mut seen = Seen::<u64>::default();
    let mut queue = VecDeque::from([(fingerprint(&first), 0, first)]);
    seen.insert(fingerprint(&first), 0);
    while let Some((mark, depth, state)) = queue.pop_front() {
        let steps = model.steps(&state);
        outcome.steps += steps.len();
        outcome.depth = depth;
        if let Some(broken) = judge(&state, &steps) {
            outcome.found = Some(Counterexample {
                broken,
                run: retrace(model, &seen, mark),
            });
            break;
        }
        for (_, next) in &steps {
            let after = fingerprint(next);
            if let Entry::Vacant(entry) = seen.entry(after) {
                entry.insert(mark);
                queue.push_back((after, depth + 1, *next));
            }
        }
    }
    outcome.states = seen.len();
    outcome
}

/// Goes the way to a state again, from each state's predecessor.
fn retrace<W: World>(model: &Model<W>, seen: &Seen<u64>, last: u64) -> Vec<Step<W>> {
    let mut state = model.config.first();
    let start = fingerprint(&state);
    let mut marks = vec![last];
    while let Some(mark) = marks.last().filter(|mark| **mark != start) {
        marks.push(seen[mark]);
    }
    marks.pop();
    let mut run = Vec::new();
    for mark in marks.into_iter().rev() {
        let steps = model.steps(&state);
        let step = steps
            .into_iter()
            .find(|(_, next)| fingerprint(next) == mark);
        let Some((action, next)) = step else {
            unreachable!("a state that was reached can be reached again");
        };
        run.push((action, next));
        state = next;
    }
    run
}
