// SPDX-License-Identifier: GPL-2.0

//! A test that cannot show anything on this kernel.

#![forbid(unsafe_code)]

use std::fmt;

/// The error of a test that did not run, with the reason. It counts neither as passed nor as
/// failed.
#[derive(Debug)]
pub struct Skipped(pub String);

impl Skipped {
    /// The status of a process that ends so.
    pub const STATUS: u8 = 77;

    /// The error of a test that needs `what`, which this kernel lacks.
    pub fn without(what: &str) -> anyhow::Error {
        Self(format!("this kernel lacks {what}")).into()
    }
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Skipped {}
