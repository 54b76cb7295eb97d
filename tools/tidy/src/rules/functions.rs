// SPDX-License-Identifier: GPL-2.0

//! Rule: a function has at most 60 lines, from its first word to its closing brace; tests may have
//! more.

#![forbid(unsafe_code)]

use crate::finding::Finding;
use crate::source::Source;
use crate::source::Tree;
use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::visit::Visit;

const RULE: &str = "functions";
/// The most lines of a function.
pub const LIMIT: usize = 60;

/// Finds the long functions.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut found = Vec::new();
    for source in tree.sources.iter().filter(|source| !source.is_test()) {
        for size in sizes(source).iter().filter(|size| size.lines > LIMIT) {
            let Size { name, line, lines } = size;
            let what = format!("{name} has {lines} lines, {LIMIT} at most: split it");
            found.push(Finding::new(RULE, &source.path, *line, what));
        }
    }
    found
}

/// A function's size.
pub struct Size {
    /// Its name.
    name: String,
    /// Its first line.
    line: usize,
    /// The number of its lines.
    pub lines: usize,
}

/// Returns the sizes of a file's functions, without those of its tests.
pub fn sizes(source: &Source) -> Vec<Size> {
    let mut sizes = Sizes(Vec::new());
    sizes.visit_file(&source.syntax);
    sizes.0
}

/// The functions seen so far.
struct Sizes(Vec<Size>);

impl Sizes {
    /// Adds a function that has a body.
    fn add(&mut self, first: Span, name: &syn::Ident, body: &syn::Block) {
        let (line, end) = (first.start().line, body.span().end().line);
        self.0.push(Size {
            name: name.to_string(),
            line,
            lines: end - line + 1,
        });
    }
}

impl<'a> Visit<'a> for Sizes {
    fn visit_item_mod(&mut self, item: &'a syn::ItemMod) {
        if !is_test(&item.attrs) {
            syn::visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &'a syn::ItemFn) {
        if !is_test(&item.attrs) {
            self.add(first(&item.vis, &item.sig), &item.sig.ident, &item.block);
            syn::visit::visit_item_fn(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'a syn::ImplItemFn) {
        self.add(first(&item.vis, &item.sig), &item.sig.ident, &item.block);
        syn::visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'a syn::TraitItemFn) {
        if let Some(body) = &item.default {
            self.add(item.sig.span(), &item.sig.ident, body);
        }
        syn::visit::visit_trait_item_fn(self, item);
    }
}

/// Returns a function's first word.
fn first(visibility: &syn::Visibility, signature: &syn::Signature) -> Span {
    match visibility {
        syn::Visibility::Inherited => signature.span(),
        visibility => visibility.span(),
    }
}

/// Returns true if an item is a test, or is there for tests only.
fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let is_for_tests = || {
            attribute
                .parse_args::<syn::Path>()
                .is_ok_and(|of| of.is_ident("test"))
        };
        let path = attribute.path();
        path.is_ident("test") || (path.is_ident("cfg") && is_for_tests())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> usize {
        check(&Tree::of(&[(path, text)])).len()
    }

    fn long(lines: usize) -> String {
        format!(
            "/// A.\n#[inline]\npub(crate) fn a() {{\n{}}}\n",
            "    b();\n".repeat(lines - 2)
        )
    }

    #[test]
    fn one_line_too_many_is_found() {
        assert_eq!(found("rust/a.rs", &long(60)), 0);
        assert_eq!(found("rust/a.rs", &long(61)), 1);
        assert_eq!(
            found("rust/a.rs", &format!("impl A {{\n{}}}\n", long(61))),
            1
        );
        assert_eq!(
            found("tools/a/src/lib.rs", &format!("mod a {{\n{}}}\n", long(61))),
            1
        );
    }

    #[test]
    fn tests_may_be_long() {
        assert_eq!(found("tools/a/src/tests/b.rs", &long(61)), 0);
        assert_eq!(
            found(
                "rust/a.rs",
                &format!("#[cfg(test)]\nmod tests {{\n{}}}\n", long(61))
            ),
            0
        );
        assert_eq!(found("rust/a.rs", &format!("#[test]\n{}", long(61))), 0);
    }
}
