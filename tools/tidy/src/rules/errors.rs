// SPDX-License-Identifier: GPL-2.0

//! Rule: a function of the module that others may call and that returns a `Result` says which
//! errors.

#![forbid(unsafe_code)]

use crate::finding::Finding;
use crate::source::Source;
use crate::source::Tree;
use syn::visit::Visit;

const RULE: &str = "errors";
/// The words that say it, in any case; an errno in backticks does as well.
const WORDS: &[&str] = &["error", "allocat", "memory"];

/// Finds the functions that do not say it.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut found = Vec::new();
    for source in tree.module() {
        for (line, name) in silent(source) {
            let what =
                format!("{name} returns a Result: say which errors, as `ENOSPC`, in its doc");
            found.push(Finding::new(RULE, &source.path, line, what));
        }
    }
    found
}

/// Returns the functions of a file that do not say it, each with its line.
pub fn silent(source: &Source) -> Vec<(usize, String)> {
    let mut silent = Silent(Vec::new());
    silent.visit_file(&source.syntax);
    silent.0
}

/// The functions found so far.
struct Silent(Vec<(usize, String)>);

impl Silent {
    /// Looks at a function.
    fn look(&mut self, vis: &syn::Visibility, docs: &[syn::Attribute], of: &syn::Signature) {
        let is_private = matches!(vis, syn::Visibility::Inherited);
        if !is_private && returns_result(of) && !says(&doc(docs)) {
            self.0
                .push((of.ident.span().start().line, of.ident.to_string()));
        }
    }
}

impl<'a> Visit<'a> for Silent {
    fn visit_item_fn(&mut self, item: &'a syn::ItemFn) {
        self.look(&item.vis, &item.attrs, &item.sig);
    }

    fn visit_impl_item_fn(&mut self, item: &'a syn::ImplItemFn) {
        self.look(&item.vis, &item.attrs, &item.sig);
    }
}

/// Returns true if a function returns a `Result`.
fn returns_result(signature: &syn::Signature) -> bool {
    let syn::ReturnType::Type(_, ty) = &signature.output else {
        return false;
    };
    let syn::Type::Path(ty) = ty.as_ref() else {
        return false;
    };
    ty.path
        .segments
        .last()
        .is_some_and(|last| last.ident == "Result")
}

/// Returns the text of an item's documentation.
pub fn doc(attributes: &[syn::Attribute]) -> String {
    let mut text = String::new();
    for attribute in attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("doc"))
    {
        if let syn::Meta::NameValue(syn::MetaNameValue {
            value: syn::Expr::Lit(literal),
            ..
        }) = &attribute.meta
        {
            if let syn::Lit::Str(line) = &literal.lit {
                text += &line.value();
                text.push('\n');
            }
        }
    }
    text
}

/// Returns true if a text says which errors there are.
fn says(doc: &str) -> bool {
    let lower = doc.to_lowercase();
    WORDS.iter().any(|word| lower.contains(word)) || doc.split('`').skip(1).step_by(2).any(is_errno)
}

/// Returns true for a name such as `ENOSPC`, also behind a path.
fn is_errno(code: &str) -> bool {
    let name = code.rsplit("::").next().unwrap_or(code);
    let is_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit();
    name.len() > 2 && name.starts_with('E') && name.chars().all(is_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> usize {
        check(&Tree::of(&[("rust/a.rs", text)])).len()
    }

    #[test]
    fn a_function_that_does_not_say_its_errors_is_found() {
        assert_eq!(found("/// Opens.\npub(crate) fn a() -> Result {}\n"), 1);
        assert_eq!(
            found("/// Opens `E`.\npub fn a() -> kernel::Result<u8> {}\n"),
            1
        );
        assert_eq!(
            found("impl A {\n/// Opens.\npub(super) fn a() -> Result<u8> {}\n}\n"),
            1
        );
        assert_eq!(
            found("impl A {\npub(in crate::b) fn a() -> Result<u8> {}\n}\n"),
            1
        );
    }

    #[test]
    fn an_errno_or_a_word_will_do() {
        assert_eq!(
            found("/// Opens; `ENOENT` if there is none.\npub fn a() -> Result {}\n"),
            0
        );
        assert_eq!(
            found("/// Opens; [`code::EIO`].\npub fn a() -> Result {}\n"),
            0
        );
        assert_eq!(found("/// Opens. Allocates.\npub fn a() -> Result {}\n"), 0);
        assert_eq!(
            found("/// Opens.\n///\n/// # Errors\npub fn a() -> Result {}\n"),
            0
        );
    }

    #[test]
    fn private_functions_and_other_results_need_not() {
        assert_eq!(found("/// Opens.\nfn a() -> Result {}\n"), 0);
        assert_eq!(found("/// Opens.\npub fn a() -> Option<Result> {}\n"), 0);
    }
}
