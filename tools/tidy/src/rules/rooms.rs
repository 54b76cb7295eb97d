// SPDX-License-Identifier: GPL-2.0

//! Rule: every file of the module is in a room, and every file of the engine in one of its parts.

#![forbid(unsafe_code)]

use crate::finding::Finding;
use crate::rooms::part;
use crate::rooms::room;
use crate::rooms::ENGINE;
use crate::source::Tree;

const RULE: &str = "rooms";

/// Finds the files that are in none.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut found = Vec::new();
    for source in tree.module() {
        let what = match room(&source.path) {
            None => "in no room: move it into one (the table is tools/tidy/src/rooms.rs)",
            Some(ENGINE) if part(&source.path).is_none() => {
                "in no part of the engine: move it into one (the table is tools/tidy/src/rooms.rs)"
            }
            Some(_) => continue,
        };
        found.push(Finding::new(RULE, &source.path, 1, what));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_outside_is_found() {
        let found = |path| check(&Tree::of(&[(path, "")])).len();
        assert_eq!(found("rust/maps/chunk.rs"), 0);
        assert_eq!(found("rust/chunk.rs"), 1);
        assert_eq!(found("rust/engine/log/form.rs"), 0);
        assert_eq!(found("rust/engine/journal.rs"), 1);
        assert_eq!(found("tools/model/src/lib.rs"), 0);
    }
}
