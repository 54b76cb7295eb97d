// SPDX-License-Identifier: GPL-2.0

//! A place that breaks a rule.

#![forbid(unsafe_code)]

use std::fmt;

/// A place that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The file, from the top of the checkout.
    pub path: String,
    /// The line, from 1.
    pub line: usize,
    /// The rule's name, as in `exceptions.txt`.
    pub rule: &'static str,
    /// What is wrong, and how to mend it.
    pub what: String,
}

impl Finding {
    /// Makes a finding.
    pub fn new(rule: &'static str, path: &str, line: usize, what: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            line,
            rule,
            what: what.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            path,
            line,
            rule,
            what,
        } = self;
        write!(f, "{path}:{line}: {what} [{rule}]")
    }
}
