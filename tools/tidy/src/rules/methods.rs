// SPDX-License-Identifier: GPL-2.0

//! Rule: it can be told which file a method call leads to, so that no arrow is missing in the
//! picture.

#![forbid(unsafe_code)]

use crate::finding::Finding;
use crate::graph::Graph;

const RULE: &str = "methods";

/// Finds the calls that could lead to several files.
pub fn check(graph: &Graph) -> Vec<Finding> {
    let mut found = Vec::new();
    for doubt in &graph.doubts {
        let path = |file: &usize| graph.paths.get(*file).map_or("", String::as_str);
        let files: Vec<_> = doubt.files.iter().map(path).collect();
        let what = format!(
            "{}() is in {}: name the receiver's type, or add it to tools/tidy/src/graph/calls.rs",
            doubt.method,
            files.join(", ")
        );
        found.push(Finding::new(RULE, path(&doubt.from), doubt.line, what));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Tree;

    #[test]
    fn a_call_of_a_method_that_two_files_define_is_found() {
        let one = ("rust/a.rs", "struct A;\nimpl A {\nfn kick(&self) {}\n}\n");
        let two = ("rust/b.rs", "struct B;\nimpl B {\nfn kick(&self) {}\n}\n");
        let user = |text| Graph::of(&Tree::of(&[one, two, ("rust/c.rs", text)]));
        assert_eq!(check(&user("fn c() { d().kick() }\n")).len(), 1);
        assert_eq!(
            check(&user("use crate::a::A;\nfn c(d: &A) { d.kick() }\n")),
            vec![]
        );
    }

    #[test]
    fn the_table_tells_what_a_receiver_means() {
        let target = (
            "rust/dm/target.rs",
            "trait Target {\nfn status(&self);\n}\n",
        );
        let bio = (
            "rust/dm/bio.rs",
            "struct Bio;\nimpl Bio {\nfn status(&self) {}\n}\n",
        );
        let user = |text| Graph::of(&Tree::of(&[target, bio, ("rust/dm/vtable.rs", text)]));
        let graph = user("fn a() { b().target.status() }\n");
        assert_eq!(check(&graph), vec![]);
        // The files are in the order of this list.
        assert_eq!(graph.arrows.keys().collect::<Vec<_>>(), [&(2, 0)]);
        assert_eq!(check(&user("fn a() { b().other.status() }\n")).len(), 1);
    }
}
