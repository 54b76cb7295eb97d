// SPDX-License-Identifier: GPL-2.0

//! Rule: no file uses one of a room above its own, nor of a part of the engine above its own.

#![forbid(unsafe_code)]

use crate::finding::Finding;
use crate::graph::Graph;
use crate::rooms::level;
use crate::rooms::part;
use crate::rooms::room;
use crate::rooms::BINDINGS;
use crate::rooms::DM;
use crate::rooms::PARTS;
use crate::rooms::ROOMS;
use crate::rooms::USERS_OF_DM;

const RULE: &str = "order";

/// Finds the arrows that go up.
pub fn check(graph: &Graph) -> Vec<Finding> {
    let mut found = Vec::new();
    for (&(from, to), arrow) in &graph.arrows {
        let (Some(from), Some(to)) = (graph.paths.get(from), graph.paths.get(to)) else {
            continue;
        };
        if let Some(why) = why_not(from, to) {
            let what = format!("uses {} of {to}: {why}", arrow.what());
            found.push(Finding::new(RULE, from, arrow.line(), what));
        }
    }
    found
}

/// Returns why a file may not use another one; `None` if it may, or if one is in no room yet.
pub fn why_not(from: &str, to: &str) -> Option<String> {
    let (above, below) = (room(from)?, room(to)?);
    if above == below {
        let (above, below) = (part(from)?, part(to)?);
        return up(PARTS, above, below);
    }
    match (above, below) {
        (DM, BINDINGS) => None,
        (_, BINDINGS) => Some(format!("{BINDINGS} is for {DM} only")),
        (DM | BINDINGS, _) => Some(format!("{above} uses no other room")),
        (_, DM) if USERS_OF_DM.contains(&above) || USERS_OF_DM.contains(&from) => None,
        (_, DM) => Some(format!("{DM} is for {} only", USERS_OF_DM.join(", "))),
        (above, below) => up(ROOMS, above, below),
    }
}

/// Returns why something may not use something of a table: it stands above it.
fn up(table: &[&[&str]], from: &str, to: &str) -> Option<String> {
    let is_up = level(table, to)? < level(table, from)?;
    is_up.then(|| format!("{to} stands above {from}; move it, or hand in what is needed"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Tree;

    fn found(from: &str, to: &str) -> usize {
        let inside = to.trim_start_matches("rust/").trim_end_matches(".rs");
        let user = format!("use crate::{}::X;\n", inside.replace('/', "::"));
        let tree = Tree::of(&[(from, user.as_str()), (to, "pub struct X;\n")]);
        check(&Graph::of(&tree)).len()
    }

    #[test]
    fn an_arrow_up_between_rooms_is_found() {
        assert_eq!(found("rust/engine/log.rs", "rust/store/load.rs"), 0);
        assert_eq!(found("rust/store/load.rs", "rust/engine/log.rs"), 1);
        assert_eq!(found("rust/maps/chunk.rs", "rust/uapi/args.rs"), 1);
        assert_eq!(found("rust/uapi/args.rs", "rust/history/epoch.rs"), 0);
        assert_eq!(found("rust/interface/live.rs", "rust/maps/chunk.rs"), 0);
    }

    #[test]
    fn an_arrow_up_between_parts_of_the_engine_is_found() {
        assert_eq!(
            found("rust/engine/write/copy.rs", "rust/engine/log/form.rs"),
            0
        );
        assert_eq!(
            found("rust/engine/log/form.rs", "rust/engine/write/copy.rs"),
            1
        );
        assert_eq!(found("rust/engine/write.rs", "rust/engine.rs"), 1);
        assert_eq!(found("rust/engine.rs", "rust/engine/wake.rs"), 0);
        assert_eq!(found("rust/engine/log/form.rs", "rust/engine/log.rs"), 0);
    }

    #[test]
    fn a_call_up_is_found() {
        let log = ("rust/engine/log.rs", "fn a(x: u8) { b(x).kick_copier() }\n");
        let write = "struct W;\nimpl W {\nfn kick_copier(&self) {}\n}\n";
        let tree = Tree::of(&[log, ("rust/engine/write.rs", write)]);
        assert_eq!(check(&Graph::of(&tree)).len(), 1);
    }

    #[test]
    fn dm_and_bindings_are_not_for_everybody() {
        assert_eq!(found("rust/engine/space.rs", "rust/dm/bio.rs"), 0);
        assert_eq!(found("rust/store/load.rs", "rust/dm/bio.rs"), 1);
        assert_eq!(found("rust/format/checksum.rs", "rust/dm/services.rs"), 0);
        assert_eq!(found("rust/format/record.rs", "rust/dm/services.rs"), 1);
        assert_eq!(found("rust/dm/bio.rs", "rust/maps/chunk.rs"), 1);
        assert_eq!(found("rust/dm/bio.rs", "rust/bindings.rs"), 0);
        assert_eq!(found("rust/engine/space.rs", "rust/bindings.rs"), 1);
    }
}
