// SPDX-License-Identifier: GPL-2.0

//! Rule: no file uses one that uses it, over others neither: there is no circle of files.

#![forbid(unsafe_code)]

use crate::finding::Finding;
use crate::graph::Graph;

const RULE: &str = "circles";

/// Finds the files that are in a circle, each with a shortest way round.
pub fn check(graph: &Graph) -> Vec<Finding> {
    let mut found = Vec::new();
    for &file in graph.circles().iter().flatten() {
        let (Some(path), Some(way)) = (graph.paths.get(file), graph.way_round(file)) else {
            continue;
        };
        let first = way.first().and_then(|&to| graph.arrows.get(&(file, to)));
        let line = first.map_or(1, |arrow| arrow.line());
        let what = format!("in a circle, cut it: {}", steps(graph, file, &way));
        found.push(Finding::new(RULE, path, line, what));
    }
    found
}

/// Returns a way as text, with what each step is made of.
pub fn steps(graph: &Graph, file: usize, way: &[usize]) -> String {
    let name = |file: usize| {
        graph
            .paths
            .get(file)
            .map_or("", |path| path.trim_start_matches("rust/"))
    };
    let mut text = name(file).to_string();
    let mut at = file;
    for &to in way {
        let what = graph
            .arrows
            .get(&(at, to))
            .map(|arrow| arrow.what())
            .unwrap_or_default();
        text += &format!(" >({what}) {}", name(to));
        at = to;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Tree;

    #[test]
    fn a_circle_through_a_call_is_found_and_shown() {
        let a = ("rust/maps/a.rs", "pub struct A;\nfn a() { x().stop_b() }\n");
        let b = (
            "rust/maps/b.rs",
            "use super::a::A;\nimpl A {\nfn stop_b(&self) {}\n}\n",
        );
        let found = check(&Graph::of(&Tree::of(&[a, b])));
        let what = "in a circle, cut it: maps/a.rs >(stop_b()) maps/b.rs >(A) maps/a.rs";
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].what, what);
        assert_eq!(found[0].line, 2);
    }

    #[test]
    fn a_door_and_what_is_behind_it_are_no_circle() {
        let door = ("rust/maps.rs", "mod a;\nmod b;\npub(crate) use a::A;\n");
        let a = ("rust/maps/a.rs", "pub struct A;\n");
        let b = ("rust/maps/b.rs", "use super::A;\n");
        assert_eq!(check(&Graph::of(&Tree::of(&[door, a, b]))), vec![]);
    }
}
