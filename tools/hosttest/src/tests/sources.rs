// SPDX-License-Identifier: GPL-2.0

//! What no file of the module may use, as it cannot be had everywhere.

#![forbid(unsafe_code)]

use std::fs;
use std::path::Path;
use std::path::PathBuf;

/// Names of the kernel crate that include files which the kernel's build generates. Distributions
/// ship the crate's metadata for building modules, but not those.
const GENERATED: [&str; 6] = [
    "generated_arch_",
    "warn_on!",
    "warn_flags!",
    "static_branch_unlikely!",
    "arch_static_branch!",
    "declare_trace!",
];

/// All files below a folder whose names end with `.rs`.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(rust_files(&path)),
            false if path.extension().is_some_and(|end| end == "rs") => found.push(path),
            false => (),
        }
    }
    found
}

/// The uses of `names` in a text, comments apart, as "line number: line".
fn uses(text: &str, names: &[&str]) -> Vec<String> {
    let code = |line: &str| line.split("//").next().unwrap_or("").to_string();
    let lines = (1..).zip(text.lines());
    let found = lines.filter(|(_, line)| names.iter().any(|name| code(line).contains(name)));
    found.map(|(n, line)| format!("{n}: {line}")).collect()
}

#[test]
fn nothing_includes_what_the_kernels_build_generates() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../rust");
    let files = rust_files(&folder);
    assert!(files.len() > 40, "{} files only", files.len());
    for path in files {
        let found = uses(&fs::read_to_string(&path).unwrap(), &GENERATED);
        assert!(found.is_empty(), "{}: {found:?}", path.display());
    }
}

#[test]
fn a_use_is_found_and_a_comment_is_none() {
    let found = uses(
        "//! Not `warn_on!`.\nkernel::warn_on!(true); // no",
        &GENERATED,
    );
    assert_eq!(found, ["2: kernel::warn_on!(true); // no"]);
}
