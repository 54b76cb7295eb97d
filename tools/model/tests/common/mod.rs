// SPDX-License-Identifier: GPL-2.0

//! What is asked of both kinds of world.

#![forbid(unsafe_code)]
#![allow(dead_code)]

use model::explore::hunt;
use model::explore::prove;
use model::explore::search;
use model::invariant::Broken;
use model::trace::tell;
use model::trap::Mistake;
use model::world::Model;
use model::world::World;

/// Nothing breaks in any of these worlds.
pub fn explore<'a, W: World>(worlds: impl IntoIterator<Item = &'a W>) {
    for world in worlds {
        let model = Model::new(world, None);
        let outcome = prove(&model);
        println!(
            "{}: {} states, {} steps",
            world.name(),
            outcome.states,
            outcome.steps
        );
        if let Some(found) = outcome.found {
            panic!("{}\n{}", world.name(), tell(&model, &found));
        }
    }
}

/// What has been shown never to break must also happen: a situation that the model cannot reach
/// proves nothing.
pub fn happens<W: World>(world: &W, what: &str, judge: impl Fn(&W::State) -> bool) {
    let model = Model::new(world, None);
    let outcome = search(&model, |state, _| judge(state).then_some("reached"));
    let name = world.name();
    assert!(outcome.found.is_some(), "{what} never happens in {name}");
}

/// What the shortest run breaks that makes this mistake, or nothing.
pub fn caught<W: World>(world: &W, trap: W::Trap) -> Option<Broken> {
    let found = hunt(&Model::new(world, Some(trap))).found;
    found.map(|found| found.broken)
}

/// What any run breaks that makes this mistake, or nothing.
pub fn proved<W: World>(world: &W, trap: W::Trap) -> Option<Broken> {
    let found = prove(&Model::new(world, Some(trap))).found;
    found.map(|found| found.broken)
}

/// Every mistake breaks what is expected in its world, and first of all that.
pub fn all_are_caught<W: World>(expected: impl Fn(W::Trap) -> Option<Broken>) {
    let harmless = W::Trap::HARMLESS;
    for &trap in W::Trap::ALL.iter().filter(|trap| !harmless.contains(trap)) {
        let expected = expected(trap);
        assert!(expected.is_some(), "{}", trap.name());
        assert_eq!(caught(trap.world(), trap), expected, "{}", trap.name());
    }
}

/// What was thought to be a mistake, and is none, breaks nothing in any of these worlds.
pub fn harmless_break_nothing<W: World>(
    worlds: &[&W],
    expected: impl Fn(W::Trap) -> Option<Broken>,
) {
    for &trap in W::Trap::HARMLESS {
        assert_eq!(expected(trap), None, "{}", trap.name());
        for world in worlds {
            assert_eq!(proved(*world, trap), None, "{}", trap.name());
        }
    }
}
