// SPDX-License-Identifier: GPL-2.0

//! The picture: which file of the module uses what of which other file.
//!
//! An arrow goes to the file that *defines* what is used, whichever door it was imported through.
//! So a parent's `mod` and its re-exports are no arrows, nor is the import of a whole module: what
//! is used of it is one.

#![forbid(unsafe_code)]

mod calls;
mod names;
mod types;
mod walk;

use crate::source::Tree;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::VecDeque;

/// What an arrow is made of: what a file uses of another one, each with the first line that does.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Arrow {
    /// Names of items.
    pub names: BTreeMap<String, usize>,
    /// Methods called.
    pub calls: BTreeMap<String, usize>,
}

impl Arrow {
    /// Returns the first line that makes the arrow.
    pub fn line(&self) -> usize {
        self.names
            .values()
            .chain(self.calls.values())
            .min()
            .copied()
            .unwrap_or(1)
    }

    /// Returns what is used, briefly: a few names, and methods with `()`.
    pub fn what(&self) -> String {
        const MANY: usize = 4;
        let calls = self.calls.keys().map(|name| format!("{name}()"));
        let all: Vec<_> = self.names.keys().cloned().chain(calls).collect();
        let few = all
            .iter()
            .take(MANY)
            .cloned()
            .collect::<Vec<_>>()
            .join(", ");
        let dots = if all.len() > MANY { ", ..." } else { "" };
        few + dots
    }
}

/// A method call whose receiver does not tell which of several methods it means.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Doubt {
    /// The calling file.
    pub from: usize,
    /// The line of the call.
    pub line: usize,
    /// The method.
    pub method: String,
    /// The files that define one of that name.
    pub files: Vec<usize>,
}

/// The files of the module and the arrows between them.
pub struct Graph {
    /// The files' paths; their places in this list stand for them below.
    pub paths: Vec<String>,
    /// From, to.
    pub arrows: BTreeMap<(usize, usize), Arrow>,
    /// Calls that are in no arrow.
    pub doubts: Vec<Doubt>,
}

impl Graph {
    /// Draws the picture of a tree.
    pub fn of(tree: &Tree) -> Self {
        let sources: Vec<_> = tree.module().collect();
        let names = names::Names::of(&sources);
        let types = types::Types::of(&names);
        let mut graph = Self {
            paths: sources.iter().map(|source| source.path.clone()).collect(),
            arrows: BTreeMap::new(),
            doubts: Vec::new(),
        };
        for (file, source) in sources.iter().enumerate() {
            walk::walk(&names, &types, file, &source.syntax, &mut graph);
        }
        graph
    }

    /// Adds that a file uses a name of another one.
    fn add_name(&mut self, from: usize, to: usize, name: &str, line: usize) {
        if from != to {
            let names = &mut self.arrows.entry((from, to)).or_default().names;
            names.entry(name.into()).or_insert(line);
        }
    }

    /// Adds that a file calls a method of another one.
    fn add_call(&mut self, from: usize, to: usize, method: &str, line: usize) {
        if from != to {
            let calls = &mut self.arrows.entry((from, to)).or_default().calls;
            calls.entry(method.into()).or_insert(line);
        }
    }

    /// Returns the files that a file uses.
    pub fn used_by(&self, file: usize) -> impl Iterator<Item = usize> + '_ {
        self.arrows
            .range((file, 0)..(file + 1, 0))
            .map(|(&(_, to), _)| to)
    }

    /// Returns the files that a file reaches, over others too; itself only if it is in a circle.
    pub fn reached_by(&self, file: usize) -> BTreeSet<usize> {
        let mut reached = BTreeSet::new();
        let mut next = vec![file];
        while let Some(at) = next.pop() {
            next.extend(self.used_by(at).filter(|&to| reached.insert(to)));
        }
        reached
    }

    /// Returns the groups of files that all reach each other.
    pub fn circles(&self) -> Vec<BTreeSet<usize>> {
        let reached: Vec<_> = (0..self.paths.len())
            .map(|file| self.reached_by(file))
            .collect();
        let mut circles = BTreeSet::new();
        for (file, reached_by_file) in reached.iter().enumerate() {
            let back = |to: &usize| reached.get(*to).is_some_and(|of| of.contains(&file));
            let group: BTreeSet<_> = reached_by_file.iter().copied().filter(back).collect();
            if !group.is_empty() {
                circles.insert(group);
            }
        }
        circles.into_iter().collect()
    }

    /// Returns a shortest way from a file back to itself: the files after it, itself at the end.
    pub fn way_round(&self, file: usize) -> Option<Vec<usize>> {
        let mut before = BTreeMap::new();
        let mut next = VecDeque::from([file]);
        while let Some(at) = next.pop_front() {
            for to in self.used_by(at) {
                if let std::collections::btree_map::Entry::Vacant(place) = before.entry(to) {
                    place.insert(at);
                    next.push_back(to);
                }
            }
            if let Some(&last) = before.get(&file) {
                let mut way = vec![file];
                let mut at = last;
                while at != file {
                    way.push(at);
                    at = *before.get(&at)?;
                }
                way.reverse();
                return Some(way);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the arrows as `from > to: what`.
    fn arrows(files: &[(&str, &str)]) -> Vec<String> {
        let graph = Graph::of(&Tree::of(files));
        let name = |file: usize| graph.paths[file].trim_start_matches("rust/").to_string();
        let line = |(&(from, to), arrow): (&(usize, usize), &Arrow)| {
            format!("{} > {}: {}", name(from), name(to), arrow.what())
        };
        graph.arrows.iter().map(line).collect()
    }

    const LOG: (&str, &str) = (
        "rust/engine/log.rs",
        "pub struct Log;\nimpl Log {\npub fn wake(&self) {}\n}",
    );
    const DOOR: (&str, &str) = (
        "rust/engine.rs",
        "mod log;\nmod user;\npub(crate) use log::Log;\n",
    );

    #[test]
    fn a_door_is_no_arrow_and_leads_to_what_is_behind_it() {
        for import in ["crate::engine::Log", "super::Log", "super::log::Log"] {
            let user = format!("use {import};\nfn a(_: Log) {{}}\n");
            let found = arrows(&[DOOR, LOG, ("rust/engine/user.rs", &user)]);
            assert_eq!(found, ["engine/user.rs > engine/log.rs: Log"], "{import}");
        }
    }

    #[test]
    fn paths_count_without_an_import_and_in_macros() {
        for body in [
            "crate::engine::Log",
            "a!(x <- crate::engine::Log, b)",
            "vec![super::Log]",
        ] {
            let user = format!("fn a() {{ {body}; }}\n");
            let found = arrows(&[DOOR, LOG, ("rust/engine/user.rs", &user)]);
            assert_eq!(found, ["engine/user.rs > engine/log.rs: Log"], "{body}");
        }
    }

    #[test]
    fn a_module_that_is_imported_leads_to_what_is_used_of_it() {
        let user = (
            "rust/store.rs",
            "use crate::engine;\nfn a(_: &engine::Log) {}\n",
        );
        assert_eq!(
            arrows(&[DOOR, LOG, user]),
            ["store.rs > engine/log.rs: Log"]
        );
        let user = (
            "rust/store.rs",
            "use crate::engine;\n/// See [`crate::engine::Log`].\nfn a() {}\n",
        );
        assert_eq!(arrows(&[DOOR, LOG, user]), Vec::<String>::new());
    }

    #[test]
    fn a_parent_that_uses_its_child_points_down() {
        let door = (
            "rust/engine.rs",
            "mod log;\nuse log::Log;\nstruct Engine(Log);\n",
        );
        assert_eq!(arrows(&[door, LOG]), ["engine.rs > engine/log.rs: Log"]);
    }

    #[test]
    fn self_calls_lead_to_the_file_of_the_impl() {
        let engine = (
            "rust/a.rs",
            "pub struct A;\nimpl A {\nfn go(&self) { self.stop() }\n}\n",
        );
        let other = (
            "rust/b.rs",
            "use crate::a::A;\nimpl A {\npub fn stop(&self) {}\n}\n",
        );
        assert_eq!(
            arrows(&[engine, other]),
            ["a.rs > b.rs: stop()", "b.rs > a.rs: A"]
        );
    }

    #[test]
    fn the_receiver_tells_which_method_is_meant() {
        let two = (
            "rust/two.rs",
            "pub struct Two;\nimpl Two {\npub fn wake(&self) {}\n}\n",
        );
        let head = "use crate::engine::Log;\nstruct S { log: Mutex<Log>, n: u8 }\n";
        for body in [
            "impl S { fn a(&self) { self.log.lock().wake() } }",
            "fn a(s: &S) { let log = s.log.lock(); log.wake() }",
            "fn a(log: &Arc<Log>) { log.wake() }",
            "fn a(s: Option<&S>) { if let Some(s) = s { s.log.wake() } }",
            "fn b(_: u8) -> Result<Log> {}\nfn a() { b(1)?.wake() }",
            "fn a(log: &Log) { try_a!(log.wake(), 1) }",
            "fn a() { with(|log| log.wake()) }",
        ] {
            let user = format!("{head}{body}\n");
            let found = arrows(&[DOOR, LOG, two, ("rust/user.rs", &user)]);
            assert_eq!(found, ["user.rs > engine/log.rs: Log, wake()"], "{body}");
        }
    }

    #[test]
    fn an_argument_of_another_type_is_not_taken_for_one_it_is_called_like() {
        let two = ("rust/two.rs", "pub trait Two {\nfn wake(&self);\n}\n");
        let user = ("rust/user.rs", "fn a<T: Other>(log: &T) { log.wake() }\n");
        assert_eq!(arrows(&[LOG, two, user]), Vec::<String>::new());
    }

    #[test]
    fn a_name_that_only_one_file_defines_is_enough() {
        let user = ("rust/user.rs", "fn a() { b().wake(); m!(z => x.wake()) }\n");
        assert_eq!(arrows(&[LOG, user]), ["user.rs > engine/log.rs: wake()"]);
        let common = ("rust/c.rs", "struct C;\nimpl C {\nfn len(&self) {}\n}\n");
        assert_eq!(
            arrows(&[common, ("rust/user.rs", "fn a() { b().len() }\n")]),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_call_that_could_mean_two_is_a_doubt() {
        let two = (
            "rust/two.rs",
            "pub struct Two;\nimpl Two {\npub fn wake(&self) {}\n}\n",
        );
        let graph = Graph::of(&Tree::of(&[
            LOG,
            two,
            ("rust/user.rs", "fn a() { b().wake() }\n"),
        ]));
        assert!(graph.arrows.is_empty());
        assert_eq!(graph.doubts.len(), 1);
    }

    #[test]
    fn circles_and_the_shortest_way_round() {
        let uses = |names: &[&str]| {
            names
                .iter()
                .map(|n| format!("use crate::{n}::X;\n"))
                .collect::<String>()
        };
        let file =
            |names: &[&str]| format!("{}pub struct X;\n", uses(names).replace("X;", "X as _;"));
        let texts = [
            ("rust/a.rs", file(&["b"])),
            ("rust/b.rs", file(&["c", "d"])),
        ];
        let more = [
            ("rust/c.rs", file(&["d"])),
            ("rust/d.rs", file(&["a"])),
            ("rust/e.rs", file(&["a"])),
        ];
        let files: Vec<_> = texts
            .iter()
            .chain(&more)
            .map(|(path, text)| (*path, text.as_str()))
            .collect();
        let graph = Graph::of(&Tree::of(&files));
        assert_eq!(graph.circles(), [BTreeSet::from([0, 1, 2, 3])]);
        assert_eq!(graph.way_round(0), Some(vec![1, 3, 0]));
        assert_eq!(graph.way_round(4), None);
    }
}
