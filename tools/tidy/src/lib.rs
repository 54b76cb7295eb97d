// SPDX-License-Identifier: GPL-2.0

//! Keeps the rules of the source tree, as a test.
//!
//! Each file in `rules/` states one rule in its first line and finds where the tree breaks it. What
//! the tree does not fulfil yet stands in `exceptions.txt`, with a number for each file: it may
//! only shrink.
//!
//! ```text
//! cargo test -p tidy            the rules, and that each of them can fail
//! cargo run -p tidy             the findings
//! cargo run -p tidy picture     the arrows between rooms and files, circles, and sizes, for humans
//! cargo run -p tidy exceptions  exceptions.txt as it would have to be today, after a move of files
//! ```

#![forbid(unsafe_code)]

mod exceptions;
mod finding;
mod graph;
pub mod picture;
pub mod rooms;
mod rules;
mod source;

pub use exceptions::listed;
pub use exceptions::needed;
pub use finding::Finding;
pub use rules::findings;
pub use source::Tree;
use std::path::Path;

/// The exceptions as committed.
const EXCEPTIONS: &str = include_str!("../exceptions.txt");

/// The checkout that this program was built in.
pub fn top() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().and_then(Path::parent).unwrap_or(here)
}

/// Checks a tree by all rules, less the exceptions that are listed.
pub fn check(tree: &Tree) -> Vec<Finding> {
    exceptions::apply(EXCEPTIONS, findings(tree))
}
