// SPDX-License-Identifier: GPL-2.0

//! The rules, one file each.

#![forbid(unsafe_code)]

mod circles;
mod columns;
mod errors;
mod functions;
mod heads;
mod imports;
mod methods;
mod names;
mod order;
mod references;
mod rooms;
mod safe;
mod visibility;

use crate::finding::Finding;
use crate::graph::Graph;
use crate::source::Tree;
pub use circles::steps;
pub use columns::is_too_long;
pub use columns::LIMIT as COLUMNS;
pub use errors::silent;
pub use functions::sizes;
pub use functions::LIMIT as LINES;
pub use order::why_not;
pub use visibility::restricted;

/// Checks a tree by all rules.
pub fn findings(tree: &Tree) -> Vec<Finding> {
    let graph = Graph::of(tree);
    let mut found = Vec::new();
    for rule in [
        columns::check,
        errors::check,
        functions::check,
        heads::check,
        imports::check,
        names::check,
        references::check,
        rooms::check,
        safe::check,
        visibility::check,
    ] {
        found.extend(rule(tree));
    }
    for rule in [circles::check, methods::check, order::check] {
        found.extend(rule(&graph));
    }
    found.sort();
    found
}
