// SPDX-License-Identifier: GPL-2.0

//! Rule: every file says `#![forbid(unsafe_code)]`; a crate's root denies what one file of it
//! allows.

#![forbid(unsafe_code)]

use crate::finding::Finding;
use crate::rooms::room;
use crate::rooms::BINDINGS;
use crate::rooms::DM;
use crate::source::Source;
use crate::source::Tree;

const RULE: &str = "safe";
/// The roots of crates with unsafe code in them.
const DENY: &[&str] = &[
    "rust/dm_preserve.rs",
    "tools/preserve/src/device.rs",
    "tools/preserve/src/lib.rs",
    "tools/profile-plugin/src/lib.rs",
    "tools/vmtest/src/lib.rs",
];
/// The tools' files with unsafe code: see `Documentation/design.rst`, "Code".
const ALLOW: &[&str] = &[
    "tools/preserve/src/device/ioctl.rs",
    "tools/profile-plugin/src/plugin.rs",
    "tools/vmtest/src/raw.rs",
];
/// What cannot say it: entry points made of a macro, and a list that is included in others.
const SILENT: &[&str] = &["tools/fuzz/fuzz_targets/", "tools/kernel-shim/module.rs"];

/// Finds the files that do not say it.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut found = Vec::new();
    for source in &tree.sources {
        let Some(level) = wanted(&source.path) else {
            continue;
        };
        if !says(source, level) {
            let what = format!("say #![{level}(unsafe_code)] at the head");
            found.push(Finding::new(RULE, &source.path, 1, what));
        }
    }
    found
}

/// Returns what a file has to say; `None` if it may have unsafe code.
fn wanted(path: &str) -> Option<&'static str> {
    let is_exempt = matches!(room(path), Some(DM | BINDINGS))
        || ALLOW.contains(&path)
        || SILENT.iter().any(|prefix| path.starts_with(prefix));
    match () {
        () if is_exempt => None,
        () if DENY.contains(&path) => Some("deny"),
        () => Some("forbid"),
    }
}

/// Returns true if a file has the attribute `#![level(unsafe_code)]`.
fn says(source: &Source, level: &str) -> bool {
    source.syntax.attrs.iter().any(|attribute| {
        attribute.path().is_ident(level)
            && attribute
                .parse_args::<syn::Path>()
                .is_ok_and(|lint| lint.is_ident("unsafe_code"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> usize {
        check(&Tree::of(&[(path, text)])).len()
    }

    #[test]
    fn a_file_that_does_not_forbid_is_found() {
        assert_eq!(found("rust/store/load.rs", "#![forbid(unsafe_code)]\n"), 0);
        assert_eq!(found("rust/store/load.rs", ""), 1);
        assert_eq!(found("rust/store/load.rs", "#![deny(unsafe_code)]\n"), 1);
        assert_eq!(
            found("rust/store/load.rs", "// #![forbid(unsafe_code)]\n"),
            1
        );
        assert_eq!(found("tools/model/src/lib.rs", ""), 1);
    }

    #[test]
    fn the_exceptions_are_these() {
        assert_eq!(found("rust/dm_preserve.rs", "#![deny(unsafe_code)]\n"), 0);
        assert_eq!(found("rust/dm_preserve.rs", ""), 1);
        assert_eq!(found("rust/dm/bio.rs", ""), 0);
        assert_eq!(found("rust/dm.rs", ""), 0);
        assert_eq!(found("rust/bindings.rs", ""), 0);
        assert_eq!(found("rust/dm_other.rs", ""), 1);
        assert_eq!(found("tools/vmtest/src/raw.rs", ""), 0);
        assert_eq!(found("tools/profile-plugin/src/plugin.rs", ""), 0);
        assert_eq!(found("tools/profile-plugin/src/lib.rs", ""), 1);
    }
}
