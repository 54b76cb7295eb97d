// SPDX-License-Identifier: GPL-2.0

//! The rules, on the tree as it is.

#![forbid(unsafe_code)]

#[test]
fn the_tree_is_tidy() {
    let tree = tidy::Tree::read(tidy::top()).unwrap();
    let findings = tidy::check(&tree);
    assert!(findings.is_empty(), "\n{}", tidy::listed(&findings));
}
