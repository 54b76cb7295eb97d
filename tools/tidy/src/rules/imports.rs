// SPDX-License-Identifier: GPL-2.0

//! Rule: one import per line, so `use a::{b, c}` is two lines.

#![forbid(unsafe_code)]

use crate::finding::Finding;
use crate::source::Tree;
use syn::visit::Visit;

const RULE: &str = "imports";

/// Finds the imports of several names.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut found = Vec::new();
    for source in tree.module() {
        let mut groups = Groups(Vec::new());
        groups.visit_file(&source.syntax);
        for line in groups.0 {
            let what = "several names in one import: write a use line for each";
            found.push(Finding::new(RULE, &source.path, line, what));
        }
    }
    found
}

/// The lines of the groups seen so far.
struct Groups(Vec<usize>);

impl<'a> Visit<'a> for Groups {
    fn visit_use_group(&mut self, group: &'a syn::UseGroup) {
        self.0.push(group.brace_token.span.open().start().line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_found() {
        let found = |text| check(&Tree::of(&[("rust/a.rs", text)])).len();
        assert_eq!(found("use a::b;\nuse a::c;\nuse d::*;\n"), 0);
        assert_eq!(found("use a::{b, c};\n"), 1);
        assert_eq!(found("fn a() {\n    use a::{b, c::{d, e}};\n}\n"), 1);
    }
}
