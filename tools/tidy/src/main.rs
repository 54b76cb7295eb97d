// SPDX-License-Identifier: GPL-2.0

//! `tidy [picture|exceptions]`: prints the findings, the picture of the rooms, or the exceptions
//! needed.

#![forbid(unsafe_code)]

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let tree = match tidy::Tree::read(tidy::top()) {
        Ok(tree) => tree,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(2);
        }
    };
    let (text, is_tidy) = match std::env::args().nth(1).as_deref() {
        None => {
            let findings = tidy::check(&tree);
            (tidy::listed(&findings), findings.is_empty())
        }
        Some("picture") => (tidy::picture::picture(&tree), true),
        Some("exceptions") => (tidy::needed(&tidy::findings(&tree)), true),
        Some(_) => {
            eprintln!("error: usage: tidy [picture|exceptions]");
            return ExitCode::from(2);
        }
    };
    // A reader that has seen enough, such as head, is no error.
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::from(u8::from(!is_tidy))
}
