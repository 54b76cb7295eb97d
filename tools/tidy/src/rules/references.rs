// SPDX-License-Identifier: GPL-2.0

//! Rule: what a write runs in `map` takes no reference to a timeline. It might be the last one, and
//! dropping that frees epochs, which takes mutexes.

#![forbid(unsafe_code)]

use crate::finding::Finding;
use crate::source::Tree;

const RULE: &str = "references";
/// The files with what runs in `map`.
const IN_MAP: &[&str] = &[
    "rust/engine/write/decide.rs",
    "rust/engine/write/map.rs",
    "rust/interface/live.rs",
];
/// What gives a reference.
const GETS: &str = "timeline()";

/// Finds the references that are taken.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut found = Vec::new();
    for source in &tree.sources {
        if !IN_MAP.contains(&source.path.as_str()) {
            continue;
        }
        for (line, _) in source.lines().filter(|(_, text)| takes(text)) {
            let what = "look at the timeline without a reference: look_at_timeline".to_string();
            found.push(Finding::new(RULE, &source.path, line, what));
        }
    }
    found
}

/// Returns true if a line takes a reference to a timeline.
fn takes(line: &str) -> bool {
    !line.trim_start().starts_with("//") && line.contains(GETS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> usize {
        check(&Tree::of(&[(path, text)])).len()
    }

    #[test]
    fn a_reference_in_map_is_found() {
        let takes = "fn f(s: &State) -> bool {\n    s.timeline().needs(1)\n}\n";
        assert_eq!(found("rust/engine/write/decide.rs", takes), 1);
        assert_eq!(found("rust/engine/write/map.rs", takes), 1);
        let split = "fn f(s: &State) -> bool {\n    s\n        .timeline()\n        .needs(1)\n}\n";
        assert_eq!(found("rust/engine/write/map.rs", split), 1);
    }

    #[test]
    fn a_look_is_none_and_others_may_take_one() {
        let looks = "fn f(s: &State) -> bool {\n    s.look_at_timeline(|t| t.needs(1))\n}\n";
        assert_eq!(found("rust/engine/write/decide.rs", looks), 0);
        let takes = "fn f(s: &State) -> bool {\n    s.timeline().needs(1)\n}\n";
        assert_eq!(found("rust/engine/write/copier.rs", takes), 0);
        assert_eq!(
            found("rust/engine/write/map.rs", "// no timeline()\nfn f() {}\n"),
            0
        );
    }
}
