// SPDX-License-Identifier: GPL-2.0

//! Files that vanish while they are looked for.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

use std::fs;

use super::*;
use dm_preserve_core::uapi::DeviceNumber;

/// Walks over a directory with two files and three directories; `meanwhile` is done at each step.
fn walk(from: &str, meanwhile: impl Fn(&Path, usize)) -> Result<Found> {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    for name in ["a", "b", "c"] {
        fs::create_dir_all(root.join(name)).unwrap();
    }
    for name in ["file", "other", "a/file", "b/file", "c/file"] {
        fs::write(root.join(name), "content").unwrap();
    }
    let device = Mapped {
        name: "none".into(),
        device: DeviceNumber::default(),
    };
    let mut found = Found::default();
    for entry in WalkDir::new(dir.path().join(from)).same_file_system(true) {
        meanwhile(&root, entry.as_ref().map_or(0, DirEntry::depth));
        visit(&device, entry, &[], Edit::Protect, &mut found)?;
    }
    Ok(found)
}

#[test]
fn what_vanishes_during_the_walk_is_skipped() {
    // Now the walk has the names of what lies in the directory.
    let found = walk("root", |root, depth| {
        if depth == 1 {
            let _ = fs::remove_dir_all(root);
        }
    });
    let found = found.unwrap();
    // All but the directory that may have come first, and was open.
    assert!(found.notices.len() >= 4, "{found:?}");
    assert!(found.notices.iter().all(|text| text.contains("vanished")));
    assert_eq!(found.files, 0);
}

#[test]
fn anything_else_is_an_error() {
    assert!(walk("root", |_, _| ()).is_err(), "not on the device");
    assert!(walk("none", |_, _| ()).is_err(), "named by the user");
    let gone = walk("root/file", |root, _| fs::remove_dir_all(root).unwrap());
    assert!(gone.is_err(), "named by the user, and gone meanwhile");
}
