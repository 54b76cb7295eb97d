// SPDX-License-Identifier: GPL-2.0

//! Explores the protocol, or shows how a known mistake breaks it.

#![forbid(unsafe_code)]

use std::env;
use std::process::ExitCode;
use std::time::Instant;

use model::config;
use model::crash;
use model::explore::hunt;
use model::explore::prove;
use model::explore::Counterexample;
use model::explore::Machine;
use model::model::Model;
use model::trace::tell;
use model::trap::Trap;

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
        [] => Some(explore(config::WORLDS, crash::config::WORLDS)),
        ["--large"] => Some(explore(config::LARGE, crash::config::LARGE)),
        ["--list"] => Some(list()),
        ["--world", name] => match config::world(name) {
            Some(config) => Some(explore(&[*config], &[])),
            None => crash::config::world(name).map(|config| explore(&[], &[*config])),
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
    for config in config::WORLDS.iter().chain(config::LARGE) {
        println!("world {}", config.name);
    }
    for config in crash::config::WORLDS.iter().chain(crash::config::LARGE) {
        println!("world {}", config.name);
    }
    for trap in Trap::ALL {
        println!("trap  {:22} {}", trap.name(), trap.about());
    }
    for trap in crash::trap::Trap::ALL {
        println!("trap  {:22} {}", trap.name(), trap.about());
    }
    ExitCode::SUCCESS
}

fn explore(worlds: &[config::Config], crashing: &[crash::config::Config]) -> ExitCode {
    let mut states = 0;
    for config in worlds {
        match one(config.name, &Model::new(config, None)) {
            Some(seen) => states += seen,
            None => return tell_shortest(config, None),
        }
    }
    for config in crashing {
        match one(config.name, &crash::model::Model::new(config, None)) {
            Some(seen) => states += seen,
            None => return tell_crash(config, None),
        }
    }
    println!("{states} states in all; nothing is broken in any");
    ExitCode::SUCCESS
}

/// Explores one world; the number of its states, or nothing if something is broken.
fn one<M: Machine>(name: &str, model: &M) -> Option<usize> {
    let began = Instant::now();
    let outcome = prove(model);
    println!(
        "{:28} {:9} states {:10} steps, longest run {:3}, {:5.1} s",
        name,
        outcome.states,
        outcome.steps,
        outcome.depth,
        began.elapsed().as_secs_f32()
    );
    outcome.found.is_none().then_some(outcome.states)
}

fn show(name: &str, place: Option<&str>) -> Option<ExitCode> {
    if let Some(trap) = Trap::find(name) {
        let config = place.map_or(Some(trap.world()), config::world)?;
        println!("{}: {}\n", trap.name(), trap.about());
        return Some(tell_shortest(config, Some(trap)));
    }
    let trap = crash::trap::Trap::find(name)?;
    let config = place.map_or(Some(trap.world()), crash::config::world)?;
    println!("{}: {}\n", trap.name(), trap.about());
    Some(tell_crash(config, Some(trap)))
}

/// Prints the shortest run that breaks a property, with every party keeping its name.
fn tell_shortest(config: &config::Config, trap: Option<Trap>) -> ExitCode {
    let model = Model {
        fold: false,
        ..Model::new(config, trap)
    };
    print(
        config.name,
        shortest(&model).map(|found| tell(&model, &found)),
    )
}

fn tell_crash(config: &crash::config::Config, trap: Option<crash::trap::Trap>) -> ExitCode {
    let model = crash::model::Model {
        fold: false,
        ..crash::model::Model::new(config, trap)
    };
    let found = shortest(&model);
    print(
        config.name,
        found.map(|found| crash::trace::tell(&model, &found)),
    )
}

fn shortest<M: Machine>(model: &M) -> Option<Counterexample<M>> {
    hunt(model).found.or_else(|| prove(model).found)
}

fn print(world: &str, run: Option<String>) -> ExitCode {
    match run {
        Some(run) => print!("{run}"),
        None => println!("nothing is broken in {world}"),
    }
    ExitCode::FAILURE
}
