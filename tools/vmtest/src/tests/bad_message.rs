// SPDX-License-Identifier: GPL-2.0

//! Malformed messages and sysfs writes: each is refused with its own words, and changes nothing.

#![forbid(unsafe_code)]

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use rustix::io::Errno;
use vmtest::disk::expect_errno;
use vmtest::kmsg::Kmsg;
use vmtest::rig::Rig;
use vmtest::rig::Spec;

use super::bad_table::said;
use super::test;
use super::Test;
use crate::Env;

pub const TESTS: &[Test] = &[
    test("i8_bad_messages_are_refused", messages),
    test("i8_bad_sysfs_writes_are_refused", sysfs),
];

const SNAPSHOT: &str = "expected: snapshot";
const BASE: &str = "incremental needs from=";
const ID: &str = "number from 1 on";
const NONE: &str = "no such snapshot";
const SECTORS: &str = "numbers of sectors";
const OUTSIDE: &str = "does not end within the device";

const MESSAGES: &[(&str, &str)] = &[
    ("nonsense", "unknown message"),
    ("Snapshot", "unknown message"),
    ("snapshot partial", SNAPSHOT),
    ("snapshot full more", SNAPSHOT),
    ("snapshot full keep=1 more", SNAPSHOT),
    ("snapshot keep=0", SNAPSHOT),
    ("snapshot keep=x", SNAPSHOT),
    ("snapshot keep=", SNAPSHOT),
    ("snapshot keep=257", "at most 256 snapshots"),
    (
        "snapshot full keep=18446744073709551615",
        "at most 256 snapshots",
    ),
    ("snapshot incremental", BASE),
    ("snapshot incremental 1", BASE),
    ("snapshot incremental from=", ID),
    ("snapshot incremental from=0", ID),
    ("snapshot incremental from=-1", ID),
    ("snapshot incremental from=999", NONE),
    ("snapshot incremental from=18446744073709551615", NONE),
    ("drop", "expected: drop"),
    ("drop 1 2", "expected: drop"),
    ("drop x", ID),
    ("drop 0", ID),
    ("drop 999", NONE),
    ("forget", "expected: forget"),
    ("forget 1 2", "expected: forget"),
    ("forget latest", ID),
    ("forget 999", NONE),
    ("protect", "expected: protect"),
    ("protect 0", "expected: protect"),
    ("protect 0 8 8", "expected: protect"),
    ("protect x 8", SECTORS),
    ("protect 0 -8", SECTORS),
    ("protect 0 0", "range is empty"),
    ("protect 2040 16", OUTSIDE),
    ("protect 2048 1", OUTSIDE),
    ("protect 18446744073709551615 1", OUTSIDE),
    ("protect 8 18446744073709551615", OUTSIDE),
    ("protect 0 18446744073709551616", SECTORS),
    ("unprotect", "expected: protect"),
    ("unprotect 0 0", "range is empty"),
    ("unprotect 0 2049", OUTSIDE),
    ("unprotect 9223372036854775808 9223372036854775808", OUTSIDE),
    ("release", "expected: release"),
    ("release 1 0", "expected: release"),
    ("release x 0 8", ID),
    ("release 999 0 8", NONE),
    ("release LATEST 0 0", "range is empty"),
    ("release LATEST 2048 8", OUTSIDE),
    ("release LATEST x 8", SECTORS),
    ("release LATEST 18446744073709551608 8", OUTSIDE),
    ("checkpoint now", "checkpoint takes no"),
];

/// Everything that a refused request must not change.
fn all(rig: &Rig) -> Result<impl PartialEq + std::fmt::Debug> {
    let maps = ["snapshot_map", "backup_map", "protection_map"];
    let maps: Result<Vec<_>> = maps.iter().map(|map| rig.set_in(map)).collect();
    Ok((rig.status()?, maps?, rig.number("event")?))
}

fn rig() -> Result<(Rig, u64)> {
    let rig = Rig::new(&Spec::mb(1))?;
    let disk = rig.disk()?;
    disk.stamp(0, 80, 1)?;
    rig.dm.message("unprotect 800 80")?;
    let id = rig.snapshot()?;
    disk.stamp(40, 80, 2)?;
    Ok((rig, id))
}

fn messages(_: &Env) -> Result<()> {
    let (rig, id) = rig()?;
    let before = all(&rig)?;
    for (message, words) in MESSAGES {
        let message = message.replace("LATEST", &id.to_string());
        let mut kernel = Kmsg::now()?;
        let result = rig.dm.try_message(&message)?;
        ensure!(
            !result.ok,
            "message {message:?} was accepted: {:?}",
            result.stdout
        );
        said(&mut kernel, words).with_context(|| format!("message {message:?}"))?;
        let after = all(&rig)?;
        ensure!(
            after == before,
            "after {message:?}: {after:?} instead of {before:?}"
        );
    }
    // As long as a message can be.
    let long = format!("snapshot {}", "x".repeat(3000));
    ensure!(
        !rig.dm.try_message(&long)?.ok,
        "a very long message was accepted"
    );
    let many = format!("protect {}", vec!["1"; 500].join(" "));
    ensure!(!rig.dm.try_message(&many)?.ok, "500 words were accepted");
    ensure!(all(&rig)? == before, "after long messages");
    rig.dm.message("checkpoint")?;
    // A view takes none.
    let view = rig.view("vt-view", id, &[])?;
    ensure!(!view.try_message("drop 1")?.ok, "a view took a message");
    ensure!(all(&rig)? == before, "after a message to a view");
    Ok(())
}

fn sysfs(_: &Env) -> Result<()> {
    let (rig, _) = rig()?;
    let before = all(&rig)?;
    let long = "1".repeat(4000);
    let cases = [
        ("snapshot", "", Errno::INVAL),
        ("snapshot", "ful", Errno::INVAL),
        ("snapshot", "full incremental", Errno::INVAL),
        ("snapshot", "1", Errno::INVAL),
        ("snapshot", &long, Errno::INVAL),
        ("protect", "0", Errno::INVAL),
        ("protect", "0 8", Errno::INVAL),
        ("protect", "+", Errno::INVAL),
        ("protect", "0+", Errno::INVAL),
        ("protect", "+8", Errno::INVAL),
        ("protect", "-8+8", Errno::INVAL),
        ("protect", "0+8+8", Errno::INVAL),
        ("protect", "0x0+0x8", Errno::INVAL),
        ("protect", "0+0", Errno::INVAL),
        ("protect", "2048+1", Errno::RANGE),
        ("protect", "18446744073709551615+1", Errno::RANGE),
        ("protect", "8+18446744073709551615", Errno::RANGE),
        ("protect", "0+18446744073709551616", Errno::INVAL),
        ("unprotect", "x+y", Errno::INVAL),
        ("unprotect", "0+2049", Errno::RANGE),
        ("unprotect", &long, Errno::INVAL),
    ];
    for (file, text, errno) in cases {
        if text.is_empty() {
            // The kernel does not even call us for nothing.
            continue;
        }
        let what = format!("{file} <- {:?}", &text[..text.len().min(30)]);
        expect_errno(&what, rig.write_sysfs(file, text), errno)?;
        let after = all(&rig)?;
        ensure!(
            after == before,
            "after {what}: {after:?} instead of {before:?}"
        );
    }
    for file in [
        "state",
        "event",
        "chunk_sectors",
        "snapshot_map",
        "protection_map",
    ] {
        ensure!(rig.write_sysfs(file, "1").is_err(), "{file} can be written");
    }
    ensure!(all(&rig)? == before, "after writes to read-only files");
    Ok(())
}
