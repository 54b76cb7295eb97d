// SPDX-License-Identifier: GPL-2.0

//! The command as scripts see it: exit codes, what goes where, pipes. Needs neither root nor the
//! module.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;

use common::Fake;
use common::CHUNK;

fn preserve(args: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_preserve"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may refuse before it has read all.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

fn exit_code(args: &[&str]) -> i32 {
    let output = preserve(args, b"");
    let code = output.status.code().unwrap();
    assert_eq!(
        code == 0,
        output.stderr.is_empty(),
        "{args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    code
}

/// The device's two snapshots as streams in files: full, increment.
fn streams(dir: &Path) -> (String, String) {
    let mut fake = Fake::new(3 * CHUNK);
    fake.write(0, 1);
    fake.snapshot();
    fake.write(2, 2);
    fake.snapshot();
    let save = |name: &str, from, to| {
        let path = dir.join(name);
        fs::write(&path, fake.backup(from, to).unwrap().0).unwrap();
        path.to_str().unwrap().to_string()
    };
    (save("full", 0, 1), save("increment", 1, 2))
}

#[test]
fn help_is_no_failure() {
    for args in [
        "--help",
        "--version",
        "create --help",
        "remove --help",
        "status --help",
        "snapshot --help",
        "drop --help",
        "protect --help",
        "unprotect --help",
        "map --help",
        "view --help",
        "backup --help",
        "apply --help",
        "verify --help",
        "rollback --help",
        "check --help",
        "dump --help",
        "events --help",
    ] {
        assert_eq!(exit_code(&args.split(' ').collect::<Vec<_>>()), 0, "{args}");
    }
}

#[test]
fn wrong_usage_is_2() {
    for args in [
        "",
        "frobnicate",
        "create",
        "create x --origin /dev/null",
        "create x --origin a --store b --chunk-size 3K",
        "create x --origin a --store b --chunk-size 2M",
        "create x --origin a --store b --chunk-size 1M",
        "create x/y --origin a --store b",
        "create x --origin a --store b --format --transient",
        "create x --origin a --store b --on-full panic",
        "create x --origin a --store b --low-space 0",
        "create x --origin a --store b --low-space 101",
        "snapshot x --from 3",
        "snapshot x --keep 0",
        "snapshot x --keep 257",
        "snapshot x --incremental --from 0",
        "drop x",
        "drop x -1",
        "protect x",
        "protect x 5",
        "protect x 5+",
        "protect x 0+0",
        "protect x 1K+4Q",
        "protect x 1+18446744073709551615",
        "protect x --glob *.tmp",
        "protect x --file a --glob [",
        "map x colours",
        "view x latest v --unprotected maybe",
        "backup x --release",
        "backup x --from one",
        "apply a",
        "verify",
        "rollback 1",
        "rollback 0 --origin a --store b",
        "rollback all --origin a --store b",
        "check",
        "check /dev/null",
        "dump /tmp",
    ] {
        let args: Vec<_> = args.split(' ').filter(|a| !a.is_empty()).collect();
        assert_eq!(exit_code(&args), 2, "{args:?}");
    }
}

#[test]
fn only_files_and_devices_are_stores() {
    for command in ["check", "dump"] {
        let output = preserve(&[command, "/dev/null"], b"");
        let text = String::from_utf8_lossy(&output.stderr).to_string();
        assert!(text.contains("neither a file nor a block device"), "{text}");
    }
}

#[test]
fn no_such_device_is_3() {
    for args in [
        "status no-such",
        "status /dev/mapper/no-such",
        "status /dev/null",
        "snapshot no-such",
        "drop no-such 1",
        "protect no-such 0+8",
        "map no-such",
        "view no-such latest v",
        "backup no-such",
        "remove no-such",
        "rollback 1 --origin /no/such --store /no/such",
        "check /no/such",
        "dump /no/such",
        "create x --origin /no/such --store /dev/null",
        "create x --origin /no/such --store /dev/null --chunk-size 1M --transient",
        "create x --origin /dev/null --store /dev/null",
    ] {
        assert_eq!(exit_code(&args.split(' ').collect::<Vec<_>>()), 3, "{args}");
    }
}

#[test]
fn ranges_from_a_file_are_checked_before_anything_else() {
    let output = preserve(
        &["protect", "no-such", "--from-file", "-"],
        b"0+8\n\n# rest\n8+ 1M # fine\nnonsense\n",
    );
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("line 5"));
}

#[test]
fn apply_and_verify_tell_as_json() {
    let dir = tempfile::tempdir().unwrap();
    let (full, increment) = streams(dir.path());
    let image = dir.path().join("image");
    let image = image.to_str().unwrap();
    for (stream, to, moved) in [(&full, 1, 3), (&increment, 2, 1)] {
        for args in [
            &["--json", "verify", stream] as &[&str],
            &["apply", stream, image, "--json"],
        ] {
            let output = preserve(args, b"");
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
            let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(
                (json["to"].as_u64(), json["chunks"].as_u64()),
                (Some(to), Some(moved))
            );
        }
    }
    assert_eq!(exit_code(&["apply", &increment, image]), 5);
    assert_eq!(exit_code(&["apply", "/no/such", image]), 1);
    assert_eq!(exit_code(&["apply", &full, "/dev/null"]), 2);
}

#[test]
fn a_stream_from_a_pipe_is_spooled_and_verified_first() {
    let dir = tempfile::tempdir().unwrap();
    let (full, increment) = streams(dir.path());
    let image = dir.path().join("image");
    let apply = |stream: &[u8]| {
        preserve(&["apply", "-", image.to_str().unwrap()], stream)
            .status
            .code()
    };
    assert_eq!(apply(&fs::read(full).unwrap()), Some(0));
    let before = fs::read(&image).unwrap();
    let increment = fs::read(increment).unwrap();
    assert_eq!(apply(&increment[..increment.len() - 1]), Some(5));
    assert_eq!(fs::read(&image).unwrap(), before);
    assert_eq!(apply(&increment), Some(0));
    assert_ne!(fs::read(&image).unwrap(), before);
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        4,
        "two streams, image, state, and no spool"
    );
}
