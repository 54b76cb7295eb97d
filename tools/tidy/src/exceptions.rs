// SPDX-License-Identifier: GPL-2.0

//! What the tree does not fulfil yet: a rule, a file and how many findings are let pass there.
//!
//! The number must be exact: one finding more shows them all, one less asks to lower the number.

#![forbid(unsafe_code)]

use crate::finding::Finding;
use std::collections::BTreeMap;

/// The file that the exceptions stand in.
const PATH: &str = "tools/tidy/exceptions.txt";
/// The first lines of that file.
const HEAD: &str = "\
# SPDX-License-Identifier: GPL-2.0
# What the tree does not fulfil yet: rule, file, findings. It may only shrink: lower a number or
# delete a line. After a move of files: cargo run -p tidy exceptions.
";

/// An exception's line in the file, and the findings that it lets pass.
type Allowed<'a> = BTreeMap<(&'a str, &'a str), (usize, usize)>;

/// Returns the findings that are no exceptions, with those exceptions that are not needed.
pub fn apply(list: &str, findings: Vec<Finding>) -> Vec<Finding> {
    let mut left = Vec::new();
    let allowed = parse(list, &mut left);
    let counts = count(&findings);
    for (&(rule, path), &(line, allowed)) in &allowed {
        let found = counts.get(&(rule, path)).copied().unwrap_or(0);
        if found < allowed {
            let what =
                format!("{rule} {path}: {allowed} are let pass, {found} are there: lower it");
            left.push(Finding::new("exceptions", PATH, line, what));
        }
    }
    for finding in &findings {
        let key = (finding.rule, finding.path.as_str());
        let found = counts.get(&key).copied().unwrap_or(0);
        match allowed.get(&key) {
            Some(&(_, allowed)) if found <= allowed => {}
            Some((_, allowed)) => left.push(Finding {
                what: format!("{} ({found} here, {allowed} are let pass)", finding.what),
                ..finding.clone()
            }),
            None => left.push(finding.clone()),
        }
    }
    left.sort();
    left
}

/// Returns the file that lets the findings pass.
pub fn needed(findings: &[Finding]) -> String {
    let mut text = HEAD.to_string();
    for ((rule, path), count) in count(findings) {
        text += &format!("{rule} {path} {count}\n");
    }
    text
}

/// Returns the findings as lines.
pub fn listed(findings: &[Finding]) -> String {
    findings
        .iter()
        .map(|finding| format!("{finding}\n"))
        .collect()
}

/// Reads the file. A line that cannot be read is a finding.
fn parse<'a>(list: &'a str, findings: &mut Vec<Finding>) -> Allowed<'a> {
    let mut allowed = Allowed::new();
    for (text, line) in list.lines().zip(1..) {
        if text.starts_with('#') || text.trim().is_empty() {
            continue;
        }
        let words: Vec<_> = text.split_whitespace().collect();
        let count = words.get(2).and_then(|word| word.parse::<usize>().ok());
        match (words.as_slice(), count) {
            ([rule, path, _], Some(count)) => {
                allowed.insert((*rule, *path), (line, count));
            }
            _ => findings.push(Finding::new(
                "exceptions",
                PATH,
                line,
                "want: rule path count",
            )),
        }
    }
    allowed
}

/// Counts the findings of each rule and file.
fn count(findings: &[Finding]) -> BTreeMap<(&str, &str), usize> {
    let mut counts = BTreeMap::new();
    for finding in findings {
        *counts
            .entry((finding.rule, finding.path.as_str()))
            .or_insert(0) += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Vec<Finding> {
        vec![
            Finding::new("columns", "rust/a.rs", 1, "too long"),
            Finding::new("columns", "rust/a.rs", 2, "too long"),
        ]
    }

    #[test]
    fn as_many_as_listed_pass() {
        assert_eq!(apply("columns rust/a.rs 2\n", two()), vec![]);
        assert_eq!(apply(&needed(&two()), two()), vec![]);
    }

    #[test]
    fn one_more_shows_all() {
        assert_eq!(apply("columns rust/a.rs 1\n", two()).len(), 2);
        assert_eq!(apply("columns rust/b.rs 0\n", two()).len(), 2);
    }

    #[test]
    fn an_exception_that_is_not_needed_is_a_finding() {
        let left = apply("# note\ncolumns rust/a.rs 3\n", two());
        assert_eq!(left.len(), 1);
        assert_eq!((left[0].path.as_str(), left[0].line), (PATH, 2));
        assert_eq!(apply("columns rust/a.rs 1\n", vec![]).len(), 1);
    }

    #[test]
    fn a_line_that_cannot_be_read_is_a_finding() {
        assert_eq!(apply("columns rust/a.rs many\n", vec![]).len(), 1);
    }
}
