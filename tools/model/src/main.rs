// SPDX-License-Identifier: GPL-2.0

//! Explores the protocol, or shows how a known mistake breaks it.

#![forbid(unsafe_code)]

use std::env;
use std::process::ExitCode;
use std::time::Instant;

use model::config::world;
use model::config::Config;
use model::config::LARGE;
use model::config::WORLDS;
use model::explore::hunt;
use model::explore::prove;
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
        [] => Some(explore(WORLDS)),
        ["--large"] => Some(explore(LARGE)),
        ["--list"] => Some(list()),
        ["--world", name] => world(name).map(|config| explore(&[*config])),
        ["--trap", name] => Trap::find(name).map(|trap| show(trap, trap.world())),
        ["--trap", name, "--world", place] => {
            Trap::find(name).and_then(|trap| Some(show(trap, world(place)?)))
        }
        _ => None,
    };
    done.unwrap_or_else(|| {
        eprintln!("{USAGE}");
        ExitCode::from(2)
    })
}

fn list() -> ExitCode {
    for config in WORLDS.iter().chain(LARGE) {
        println!("world {}", config.name);
    }
    for trap in Trap::ALL {
        println!("trap  {:22} {}", trap.name(), trap.about());
    }
    ExitCode::SUCCESS
}

fn explore(worlds: &[Config]) -> ExitCode {
    let mut states = 0;
    for config in worlds {
        let began = Instant::now();
        let model = Model::new(config, None);
        let outcome = prove(&model);
        states += outcome.states;
        println!(
            "{:28} {:9} states {:10} steps, longest run {:3}, {:5.1} s",
            config.name,
            outcome.states,
            outcome.steps,
            outcome.depth,
            began.elapsed().as_secs_f32()
        );
        if outcome.found.is_some() {
            return tell_shortest(config, None);
        }
    }
    println!("{states} states in all; nothing is broken in any");
    ExitCode::SUCCESS
}

fn show(trap: Trap, config: &Config) -> ExitCode {
    println!("{}: {}\n", trap.name(), trap.about());
    tell_shortest(config, Some(trap))
}

/// Prints the shortest run that breaks a property, with every party keeping its name.
fn tell_shortest(config: &Config, trap: Option<Trap>) -> ExitCode {
    let model = Model {
        fold: false,
        ..Model::new(config, trap)
    };
    match hunt(&model).found.or_else(|| prove(&model).found) {
        Some(found) => print!("{}", tell(&model, &found)),
        None => println!("nothing is broken in {}", config.name),
    }
    ExitCode::FAILURE
}
