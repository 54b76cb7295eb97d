// SPDX-License-Identifier: GPL-2.0

//! Explores the protocol, or shows how a known mistake breaks it.

#![forbid(unsafe_code)]

use std::env;
use std::process::ExitCode;
use std::time::Instant;

use model::crash;
use model::explore::hunt;
use model::explore::prove;
use model::run;
use model::trace::tell;
use model::trap::Mistake;
use model::world::Model;
use model::world::World;

const USAGE: &str = "usage: model                    explore the protocol in every world
       model --large            ... and in larger ones: minutes, gigabytes
       model --world NAME       ... in one
       model --trap NAME        print the shortest run in which a known mistake breaks it
       model --trap NAME --world NAME
       model --list             list worlds and traps";

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words[..] {
        [] => Some(explore(run::config::WORLDS, crash::config::WORLDS)),
        ["--large"] => Some(explore(run::config::LARGE, crash::config::LARGE)),
        ["--list"] => Some(list()),
        ["--world", name] => match run::config::Config::find(name) {
            Some(world) => Some(explore(&[*world], &[])),
            None => crash::config::Config::find(name).map(|world| explore(&[], &[*world])),
        },
        ["--trap", name] => show(name, None),
        ["--trap", name, "--world", place] => show(name, Some(place)),
        _ => None,
    };
    done.unwrap_or_else(|| {
        eprintln!("{USAGE}");
        ExitCode::from(2)
    })
}

fn list() -> ExitCode {
    list_worlds::<run::config::Config>();
    list_worlds::<crash::config::Config>();
    list_traps::<run::trap::Trap>();
    list_traps::<crash::trap::Trap>();
    ExitCode::SUCCESS
}

fn list_worlds<W: World>() {
    for world in W::WORLDS.iter().chain(W::LARGE) {
        println!("world {}", world.name());
    }
}

fn list_traps<T: Mistake>() {
    for trap in T::ALL {
        println!("trap  {:22} {}", trap.name(), trap.about());
    }
}

fn explore(running: &[run::config::Config], crashing: &[crash::config::Config]) -> ExitCode {
    let all = || Ok(each(running)? + each(crashing)?);
    match all() {
        Ok(states) => {
            println!("{states} states in all; nothing is broken in any");
            ExitCode::SUCCESS
        }
        Err(failure) => failure,
    }
}

/// Explores worlds of one kind; the number of their states, or a failure once something is broken.
fn each<W: World>(worlds: &[W]) -> Result<usize, ExitCode> {
    let mut states = 0;
    for world in worlds {
        states += one(world).ok_or_else(|| tell_shortest(world, None))?;
    }
    Ok(states)
}

/// Explores one world; the number of its states, or nothing if something is broken.
fn one<W: World>(world: &W) -> Option<usize> {
    let began = Instant::now();
    let outcome = prove(&Model::new(world, None));
    println!(
        "{:28} {:9} states {:10} steps, longest run {:3}, {:5.1} s",
        world.name(),
        outcome.states,
        outcome.steps,
        outcome.depth,
        began.elapsed().as_secs_f32()
    );
    outcome.found.is_none().then_some(outcome.states)
}

fn show(name: &str, place: Option<&str>) -> Option<ExitCode> {
    if let Some(trap) = run::trap::Trap::find(name) {
        return catch::<run::config::Config>(trap, place);
    }
    catch::<crash::config::Config>(crash::trap::Trap::find(name)?, place)
}

/// Shows how a mistake breaks its world, or another one of the same kind.
fn catch<W: World>(trap: W::Trap, place: Option<&str>) -> Option<ExitCode> {
    let world = place.map_or(Some(trap.world()), W::find)?;
    println!("{}: {}\n", trap.name(), trap.about());
    Some(tell_shortest(world, Some(trap)))
}

/// Prints the shortest run that breaks a property, with every party keeping its name.
fn tell_shortest<W: World>(world: &W, trap: Option<W::Trap>) -> ExitCode {
    let model = Model {
        fold: false,
        ..Model::new(world, trap)
    };
    match hunt(&model).found.or_else(|| prove(&model).found) {
        Some(found) => print!("{}", tell(&model, &found)),
        None => println!("nothing is broken in {}", world.name()),
    }
    ExitCode::FAILURE
}
