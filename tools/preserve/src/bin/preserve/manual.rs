// SPDX-License-Identifier: GPL-2.0

//! The manual page and the command line say the same: each command has its section, with its options and no others.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use clap::Command;
use clap::CommandFactory;
use clap::Parser;

use crate::cli::Cli;

const PAGE: &str = include_str!("../../../../../Documentation/preserve.8");

/// The page without what only its looks need: fonts (`\fB`) and the mark of a minus sign (`\-`).
fn page() -> String {
    let mut parts = PAGE.split("\\f");
    let mut page = parts.next().unwrap().to_string();
    page.extend(parts.map(|part| &part[1..]));
    page.replace("\\-", "-")
}

/// What lies between a heading and the next one of its kind.
fn sections<'a>(text: &'a str, heading: &str) -> BTreeMap<&'a str, &'a str> {
    let parts = text.split(heading).skip(1);
    parts.map(|part| part.split_once('\n').unwrap()).collect()
}

/// All `-x` and `--word` of a text.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    words
        .filter(|word| word.starts_with('-') && !word.trim_matches('-').is_empty())
        .map(str::to_string)
        .collect()
}

/// The options of a command by all their names; `global`: those that every command has, or the others.
fn options(command: &Command, global: bool) -> BTreeSet<String> {
    let ours = |id: &str| ["help", "version"].contains(&id);
    let arguments = command.get_arguments();
    let found = arguments.filter(|a| (a.is_global_set() || ours(a.get_id().as_str())) == global);
    found
        .flat_map(|a| {
            let long = a.get_long().map(|long| format!("--{long}"));
            long.into_iter()
                .chain(a.get_short().map(|short| format!("-{short}")))
        })
        .collect()
}

fn command() -> Command {
    let mut command = Cli::command();
    command.build();
    command
}

#[test]
fn commands_and_options_are_those_of_the_page() {
    let (command, page) = (command(), page());
    let parts = sections(&page, "\n.SH ");
    let everywhere = options(&command, true);
    assert_eq!(named(parts["OPTIONS"]), everywhere);

    let mut described = BTreeMap::new();
    for (names, text) in sections(parts["COMMANDS"], ".SS ") {
        let only = &named(text) - &everywhere;
        described.extend(
            names
                .split(", ")
                .map(|name| (name.to_string(), only.clone())),
        );
    }
    let commands = command
        .get_subcommands()
        .filter(|c| c.get_name() != "help" && !c.is_hide_set());
    let real: BTreeMap<_, _> = commands
        .map(|c| (c.get_name().to_string(), options(c, false)))
        .collect();
    assert_eq!(described, real);
}

#[test]
fn the_examples_are_command_lines() {
    let page = page();
    let examples = sections(&page, "\n.SH ")["EXAMPLES"];
    let lines = examples.lines().flat_map(|line| line.split('|'));
    let commands = lines.filter_map(|line| line.find("preserve ").map(|at| &line[at..]));
    let mut seen = 0;
    for command in commands {
        let parsed = Cli::try_parse_from(command.split_whitespace());
        assert!(parsed.is_ok(), "{command}: {}", parsed.err().unwrap());
        seen += 1;
    }
    assert!(seen > 5);
}
