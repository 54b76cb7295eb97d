// SPDX-License-Identifier: GPL-2.0

//! Rule: a file begins with its licence, and says in a `//!` line what it is.

#![forbid(unsafe_code)]

use crate::finding::Finding;
use crate::source::Tree;

const RULE: &str = "heads";
/// How the first line begins.
const LICENCE: &str = "// SPDX-License-Identifier: GPL-2.0";

/// Finds the files without such a head.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut found = Vec::new();
    for source in &tree.sources {
        if !source.text.starts_with(LICENCE) {
            let what = format!("the first line has to be: {LICENCE}");
            found.push(Finding::new(RULE, &source.path, 1, what));
        }
        if !source.text.lines().any(|line| line.starts_with("//! ")) {
            let what = "say in a //! line at the head what the file is";
            found.push(Finding::new(RULE, &source.path, 1, what));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> usize {
        check(&Tree::of(&[("rust/a.rs", text)])).len()
    }

    #[test]
    fn each_half_is_missed() {
        assert_eq!(found("// SPDX-License-Identifier: GPL-2.0\n\n//! A.\n"), 0);
        assert_eq!(found("//! A.\n\n// SPDX-License-Identifier: GPL-2.0\n"), 1);
        assert_eq!(
            found("// SPDX-License-Identifier: GPL-2.0\n\n/// A.\nfn a() {}\n"),
            1
        );
        assert_eq!(found(""), 2);
    }
}
