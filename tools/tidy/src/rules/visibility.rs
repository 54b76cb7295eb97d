// SPDX-License-Identifier: GPL-2.0

//! Rule: what the whole module may touch is little: the number of `pub(crate)` may only fall.

#![forbid(unsafe_code)]

use crate::finding::Finding;
use crate::source::Source;
use crate::source::Tree;
use syn::visit::Visit;

const RULE: &str = "visibility";
/// How many there may be: fewer than 300.
const LIMIT: usize = 299;
/// Where the limit is.
const PATH: &str = "tools/tidy/src/rules/visibility.rs";

/// Counts them.
pub fn check(tree: &Tree) -> Vec<Finding> {
    beyond(tree, LIMIT)
}

/// Finds that there are more than a limit.
fn beyond(tree: &Tree, limit: usize) -> Vec<Finding> {
    let count: usize = tree
        .module()
        .map(|source| restricted(source, "crate"))
        .sum();
    let what =
        format!("{count} pub(crate), {limit} at most: make it private, pub(super) or pub(in ..)");
    (count > limit)
        .then(|| Finding::new(RULE, PATH, 1, what))
        .into_iter()
        .collect()
}

/// Counts the items and fields of a file that are `pub(crate)` or `pub(super)`.
pub fn restricted(source: &Source, to: &str) -> usize {
    let mut count = Count { to, seen: 0 };
    count.visit_file(&source.syntax);
    count.seen
}

/// How many have been seen.
struct Count<'b> {
    to: &'b str,
    seen: usize,
}

impl<'a> Visit<'a> for Count<'_> {
    fn visit_vis_restricted(&mut self, vis: &'a syn::VisRestricted) {
        self.seen += usize::from(vis.in_token.is_none() && vis.path.is_ident(self.to));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_too_many_is_found() {
        let text = "pub(crate) struct A {\n pub(crate) b: u8,\n pub(super) c: u8,\n d: u8,\n}\n
                    pub(in crate::a) fn e() {}\n";
        let tree = Tree::of(&[("rust/a.rs", text)]);
        assert_eq!(beyond(&tree, 2), vec![]);
        assert_eq!(beyond(&tree, 1).len(), 1);
    }
}
