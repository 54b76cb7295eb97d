// SPDX-License-Identifier: GPL-2.0

//! `create` looks at device mapper and the name before it touches a device. Needs no module; the
//! devices have nodes, but no driver.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use rustix::fs::makedev;
use rustix::fs::mknodat;
use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::fs::CWD;

/// A major number that nothing has.
const NOTHING: u32 = 0xffe;

/// Runs `create live --format`, with a dmsetup that does what `script` says.
fn create(dir: &Path, script: &str) -> (Option<i32>, String) {
    let dmsetup = dir.join("dmsetup");
    fs::write(&dmsetup, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&dmsetup, fs::Permissions::from_mode(0o755)).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_preserve"))
        .args(["create", "live", "--format"])
        .args(["--origin", "origin", "--store", "store"])
        .current_dir(dir)
        .env("PATH", dir)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), text)
}

#[test]
fn device_mapper_and_the_name_come_before_the_store() {
    let dir = tempfile::tempdir().unwrap();
    for (minor, name) in ["origin", "store"].iter().enumerate() {
        let number = makedev(NOTHING, u32::try_from(minor).unwrap());
        let made = mknodat(
            CWD,
            dir.path().join(name),
            FileType::BlockDevice,
            Mode::RWXU,
            number,
        );
        if let Err(e) = made {
            eprintln!("not tested here: {e}");
            return;
        }
    }
    for (script, words) in [
        ("echo no such thing >&2; exit 1", "load the module"),
        (
            "[ $1 = target-version ] || echo State: ACTIVE",
            "remove it first",
        ),
        // All is well, so now the devices are looked at.
        ("[ $1 = target-version ]", "/sys/dev/block/4094:0/size"),
        (
            "[ $1 = target-version ] || echo Device does not exist.",
            "/sys/dev/block/4094:0/size",
        ),
    ] {
        let (code, text) = create(dir.path(), script);
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains(words), "{script}: {text}");
    }
}
