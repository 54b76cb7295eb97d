// SPDX-License-Identifier: GPL-2.0

//! Results on stdout, for people or as JSON; notices on stderr.

#![forbid(unsafe_code)]

use std::io;
use std::io::Write;

use clap::ValueEnum;
use preserve::error::Context;
use preserve::Result;
use serde::Serialize;

/// How the user wants to be told.
#[derive(Clone, Copy)]
pub struct Output {
    pub json: bool,
    pub quiet: bool,
}

impl Output {
    /// One result: as JSON, or as `text` says it.
    pub fn result<T: Serialize>(&self, value: &T, text: impl FnOnce() -> String) -> Result<()> {
        self.result_to(io::stdout().lock(), value, text)
    }

    /// The same, not to stdout.
    pub fn result_to<T: Serialize>(
        &self,
        mut out: impl Write,
        value: &T,
        text: impl FnOnce() -> String,
    ) -> Result<()> {
        let what = || "cannot write the result";
        let text = match self.json {
            true => serde_json::to_string(value)
                .map_err(io::Error::from)
                .context(what)?,
            false => text(),
        };
        writeln!(out, "{}", text.trim_end()).context(what)
    }

    /// Something the user may want to know.
    pub fn notice(&self, text: &str) {
        if !self.quiet {
            eprintln!("preserve: note: {text}");
        }
    }
}

/// A value of an enumeration as it is written on the command line.
pub fn word(value: impl ValueEnum) -> String {
    value
        .to_possible_value()
        .map(|v| v.get_name().to_string())
        .unwrap_or_default()
}
