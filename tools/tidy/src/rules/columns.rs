// SPDX-License-Identifier: GPL-2.0

//! Rule: no line is longer than 100 columns, comments too; a link alone on a comment line may be.

#![forbid(unsafe_code)]

use crate::finding::Finding;
use crate::source::Tree;

const RULE: &str = "columns";
/// The most columns of a line.
pub const LIMIT: usize = 100;
/// The columns of a tab.
const TAB: usize = 4;

/// Finds the long lines.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut found = Vec::new();
    for source in &tree.sources {
        for (line, text) in source.lines().filter(|(_, text)| is_too_long(text)) {
            let what = format!("{} columns, {LIMIT} at most: wrap the line", columns(text));
            found.push(Finding::new(RULE, &source.path, line, what));
        }
    }
    found
}

/// Returns true if a line has to be wrapped.
pub fn is_too_long(line: &str) -> bool {
    columns(line) > LIMIT && !is_link(line)
}

/// Returns a line's columns.
fn columns(line: &str) -> usize {
    line.chars().map(|c| if c == '\t' { TAB } else { 1 }).sum()
}

/// Returns true if a comment line has nothing but a link (or `[name]: link`).
fn is_link(line: &str) -> bool {
    let Some(text) = line.trim_start().strip_prefix("//") else {
        return false;
    };
    let text = text.trim_start_matches(['/', '!']).trim();
    let link = match text.split_once("]: ") {
        Some((name, link)) if name.starts_with('[') => link,
        _ => text,
    };
    link.contains("://") && !link.contains(' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<usize> {
        let tree = Tree::of(&[("rust/a.rs", text)]);
        check(&tree).iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn one_column_too_many_is_found_in_code_and_comments() {
        let word = "x".repeat(97);
        assert_eq!(lines(&format!("// {word}\n")), vec![]);
        assert_eq!(lines(&format!("// {word}x\n")), vec![1]);
        assert_eq!(lines(&format!("\nconst A: &str = \"{word}\";\n")), vec![2]);
    }

    #[test]
    fn columns_are_characters_not_bytes() {
        assert_eq!(lines(&format!("// {}\n", "ü".repeat(97))), vec![]);
    }

    #[test]
    fn a_link_alone_may_be_long() {
        let link = format!("https://example.org/{}", "x".repeat(97));
        assert_eq!(
            lines(&format!("/// {link}\n/// [a]: {link}\nfn a() {{}}\n")),
            vec![]
        );
        assert_eq!(lines(&format!("/// See {link}\nfn a() {{}}\n")), vec![1]);
    }
}
