// SPDX-License-Identifier: GPL-2.0

//! Rule: a `.rs` file that a document or a comment names exists.

#![forbid(unsafe_code)]

use crate::finding::Finding;
use crate::source::Tree;

const RULE: &str = "names";
/// Paths of the kernel's tree, and an internet domain.
const ELSEWHERE: &[&str] = &["rust/kernel/", "drivers/", "samples/", "docs.rs"];

/// Finds the names of files that are not there.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut look = |path: &str, line: usize, text: &str| {
        for name in named(text).filter(|name| !exists(tree, path, name)) {
            let what = format!("there is no file {name}: say its name as it is now");
            found.push(Finding::new(RULE, path, line, what));
        }
    };
    for document in &tree.documents {
        for (text, line) in document.text.lines().zip(1..) {
            look(&document.path, line, text);
        }
    }
    for source in &tree.sources {
        for (line, text) in source.lines() {
            if let Some(at) = text.find("//") {
                look(&source.path, line, &text[at..]);
            }
        }
    }
    found
}

/// Returns the names of Rust files in a text.
fn named(text: &str) -> impl Iterator<Item = &str> {
    let is_part = |c: char| c.is_alphanumeric() || "_-./:".contains(c);
    text.split(move |c| !is_part(c))
        .map(|word| word.trim_matches(['.', ':', '/']))
        .filter(|word| word.ends_with(".rs") && !word.contains("://"))
}

/// Returns true if a file of the tree has that name, whole or at the end of its path.
fn exists(tree: &Tree, path: &str, name: &str) -> bool {
    if ELSEWHERE.iter().any(|prefix| name.starts_with(prefix)) {
        return true;
    }
    let name = name.trim_start_matches("../");
    tree.sources.iter().any(|source| {
        let before = source.path.strip_suffix(name);
        before.is_some_and(|before| before.is_empty() || before.ends_with('/'))
    }) || path.ends_with(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        let tree = Tree::of(&[("rust/engine/write.rs", ""), (path, text)]);
        check(&tree)
            .into_iter()
            .map(|finding| finding.what)
            .collect()
    }

    #[test]
    fn a_file_that_is_not_there_is_found() {
        for text in [
            "See ``write.rs``.",
            "``engine/write.rs``",
            "rust/engine/write.rs, and so on",
        ] {
            assert_eq!(found("README.md", text), Vec::<String>::new());
        }
        for text in ["See ``copier.rs``.", "``store/write.rs``", "(rite.rs)"] {
            assert_eq!(found("Documentation/design.rst", text).len(), 1, "{text}");
        }
        assert_eq!(found("rust/a.rs", "//! Its states: `copy.rs`.\n").len(), 1);
        assert_eq!(
            found("rust/a.rs", "fn a() {} // as write.rs does\n").len(),
            0
        );
    }

    #[test]
    fn files_of_others_are_not_looked_for() {
        assert_eq!(
            found("README.md", "rust/kernel/block/mq.rs, https://docs.rs").len(),
            0
        );
    }
}
