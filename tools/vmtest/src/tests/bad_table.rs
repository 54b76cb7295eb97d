// SPDX-License-Identifier: GPL-2.0

//! Malformed table lines: each is refused with its own words, and changes nothing.

#![forbid(unsafe_code)]

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use vmtest::cmd;
use vmtest::dm::Dm;
use vmtest::kmsg::Kmsg;
use vmtest::nullblk::NullBlk;
use vmtest::rig::Rig;
use vmtest::rig::Spec;

use super::test;
use super::Test;
use crate::Env;

pub const TESTS: &[Test] = &[
    test("i8_bad_live_tables_are_refused", live_tables),
    test("i8_bad_view_tables_are_refused", view_tables),
    test("i8_devices_in_use_are_refused", in_use),
    test("i8_bad_reloads_are_refused", reloads),
    test("read_only_devices_are_refused", read_only),
];

/// Tries to create a device with a table that must be refused with these words in the kernel's log.
pub fn refused(table: &str, words: &str, readonly: bool) -> Result<()> {
    let mut kernel = Kmsg::now()?;
    let flag: &[&str] = if readonly { &["--readonly"] } else { &[] };
    let args = [&["create", "--noudevsync"], flag, &["vt-bad"]].concat();
    let result = cmd::output("dmsetup", &args, table)?;
    if result.ok {
        drop(Dm::adopt("vt-bad"));
    }
    ensure!(!result.ok, "table {table:?} was accepted");
    said(&mut kernel, words).with_context(|| format!("table {table:?}"))
}

/// Fails unless the kernel has said these words.
pub fn said(kernel: &mut Kmsg, words: &str) -> Result<()> {
    let lines = kernel.lines()?;
    let lower = |line: &String| line.to_lowercase().contains(&words.to_lowercase());
    ensure!(
        lines.iter().any(lower),
        "the kernel did not say {words:?}, but: {lines:?}"
    );
    Ok(())
}

const NUMBER: &str = "the chunk size is not a number";
const POWER: &str = "power of two";
const COUNT: &str = "does not match the arguments";
const UNKNOWN: &str = "unknown optional argument";

/// What follows `0 48 preserve`, with A and B for devices.
const LIVE: &[(&str, &str)] = &[
    ("", "expected: <origin>"),
    ("A", "expected: <origin>"),
    ("A B", "expected: <origin>"),
    ("A B x 1 transient", NUMBER),
    ("A B -8 1 transient", NUMBER),
    ("A B 8k 1 transient", NUMBER),
    ("A B 18446744073709551624 1 transient", NUMBER),
    ("A B 0 1 transient", POWER),
    ("A B 4 1 transient", POWER),
    ("A B 12 1 transient", POWER),
    ("A B 4096 1 transient", POWER),
    ("A B 9223372036854775808 1 transient", POWER),
    ("A B 8 transient", "arguments is not a number"),
    ("A B 8 -1 transient", "arguments is not a number"),
    ("A B 8 1", COUNT),
    ("A B 8 0 transient", COUNT),
    ("A B 8 2 transient", COUNT),
    ("A B 8 1 transient more", COUNT),
    ("A B 8 18446744073709551615 transient", COUNT),
    ("A B 8 2 transient more", UNKNOWN),
    ("A B 8 2 transient Keep_unprotected", UNKNOWN),
    ("A B 8 2 transient keep_unprotected=1", UNKNOWN),
    ("A B 8 1 transient=", UNKNOWN),
    ("A B 8 2 transient default", "default= must be"),
    ("A B 8 2 transient default=", "default= must be"),
    ("A B 8 2 transient default=maybe", "default= must be"),
    ("A B 8 2 transient on_full=", "on_full= must be"),
    ("A B 8 2 transient on_full=wait", "on_full= must be"),
    ("A B 8 2 transient on_error=panic", "on_error= must be"),
    ("A B 8 2 transient low_space=", "low_space= must be"),
    ("A B 8 2 transient low_space=0", "low_space= must be"),
    ("A B 8 2 transient low_space=101", "low_space= must be"),
    ("A B 8 2 transient low_space=50%", "low_space= must be"),
    ("/dev/missing B 8 1 transient", "cannot open the origin"),
    ("/dev/null B 8 1 transient", "cannot open the origin"),
    ("A /dev/missing 8 1 transient", "cannot open the store"),
    ("A /tmp 8 1 transient", "cannot open the store"),
    ("A 300:300 8 1 transient", "cannot open the store"),
    ("A A 8 1 transient", "must not be the same"),
    ("A TINY 2048 1 transient", "smaller than one chunk"),
];

fn live_tables(_: &Env) -> Result<()> {
    let a = NullBlk::new("vt-a", 1)?;
    let b = NullBlk::new("vt-b", 1)?;
    let tiny = Dm::linear("vt-tiny", b.path(), 0, 1024)?;
    let fill = |text: &str| {
        let words = text.split(' ').map(|word| match word {
            "A" => a.path(),
            "B" => b.path(),
            "TINY" => tiny.path(),
            word => word,
        });
        words.collect::<Vec<_>>().join(" ")
    };
    for (rest, words) in LIVE {
        refused(&format!("0 48 preserve {}", fill(rest)), words, false)?;
    }
    let line = fill("A B 8 1 transient");
    refused(&format!("0 4096 preserve {line}"), "smaller", false)?;
    refused(
        &format!("0 9007199254740992 preserve {line}"),
        "smaller",
        false,
    )?;
    // Only as a whole table.
    let second = format!("0 8 linear {} 0\n8 48 preserve {line}", tiny.path());
    refused(&second, "alone", false)?;
    let first = format!("0 48 preserve {line}\n48 8 linear {} 0", tiny.path());
    refused(&first, "alone", false)?;
    // And the good line is good, so that the others are not refused for a reason of their own.
    drop(tiny);
    drop(Dm::create("vt-good", &format!("0 48 preserve {line}"))?);
    Ok(())
}

fn view_tables(_: &Env) -> Result<()> {
    let rig = Rig::new(&Spec::mb(1))?;
    let live = rig.dm.path();
    let line = |rest: &str| format!("0 48 preserve-view {rest}");
    let none = "there is no such snapshot";
    refused(&line(&format!("{live} latest")), none, true)?;
    let id = rig.snapshot()?;
    let before = rig.status()?;
    let origin = rig.origin.path();
    let cases = [
        (String::new(), "expected: <live device>"),
        (live.to_string(), "expected: <live device>"),
        (format!("{live} 0"), "number from 1 on"),
        (format!("{live} -1"), "number from 1 on"),
        (format!("{live} first"), "number from 1 on"),
        (format!("{live} 18446744073709551616"), "number from 1 on"),
        (format!("{live} 999"), none),
        (format!("{live} 18446744073709551615"), none),
        (format!("/dev/missing {id}"), "no such live device"),
        (format!("/dev/null {id}"), "no such live device"),
        (format!("{origin} {id}"), "not an active preserve device"),
        (
            format!("{live} {id} x unprotected=zero"),
            "arguments is not a number",
        ),
        (format!("{live} {id} 1"), COUNT),
        (format!("{live} {id} 2 unprotected=zero"), COUNT),
        (format!("{live} {id} 1 unprotected=maybe"), UNKNOWN),
        (format!("{live} {id} 1 transient"), UNKNOWN),
    ];
    for (rest, words) in cases {
        refused(&line(&rest), words, true)?;
    }
    refused(&line(&format!("{live} {id}")), "read-only", false)?;
    let long = format!("0 2049 preserve-view {live} {id}");
    refused(&long, "longer", true)?;
    ensure!(
        rig.status()? == before,
        "the live device has changed: {before:?}"
    );
    drop(Dm::create_readonly(
        "vt-good",
        &line(&format!("{live} {id}")),
    )?);
    Ok(())
}

fn in_use(_: &Env) -> Result<()> {
    let rig = Rig::new(&Spec::mb(1))?;
    let other = NullBlk::new("vt-a", 1)?;
    let (origin, store, other) = (rig.origin.path(), rig.store.path(), other.path());
    let before = rig.status()?;
    for (first, second, words) in [
        (other, store, "in use"),
        (origin, other, "in use"),
        (store, other, "is the store of another"),
        (other, origin, "in use"),
        (origin, store, "in use"),
    ] {
        let table = format!("0 48 preserve {first} {second} 8 1 transient");
        refused(&table, words, false)?;
    }
    ensure!(
        rig.status()? == before,
        "the live device has changed: {before:?}"
    );
    rig.dm.stamp(0, 48, 1).context("writing afterwards")
}

fn reloads(_: &Env) -> Result<()> {
    let rig = Rig::new(&Spec::mb(2))?;
    let disk = rig.disk()?;
    disk.stamp(0, 80, 1)?;
    rig.snapshot()?;
    disk.stamp(0, 40, 2)?;
    let before = (rig.status()?, rig.map("snapshot_map")?, rig.dm.table()?);
    let good = rig.table(4096, &[]);
    let cases = [
        (
            good.replacen(" 8 1 ", " 16 1 ", 1),
            "chunk size cannot change",
        ),
        (rig.table(2048, &[]), "cannot shrink"),
        (rig.table(4104, &[]), "smaller"),
        (rig.table(4096, &["default=maybe"]), "default= must be"),
    ];
    for (table, words) in cases {
        let mut kernel = Kmsg::now()?;
        ensure!(rig.dm.load(&table).is_err(), "table {table:?} was accepted");
        said(&mut kernel, words).with_context(|| format!("table {table:?}"))?;
        let after = (rig.status()?, rig.map("snapshot_map")?, rig.dm.table()?);
        ensure!(
            after == before,
            "after {table:?}: {after:?} instead of {before:?}"
        );
    }
    disk.check(0, &[&[2; 40][..], &[1; 40]].concat())
}

/// Sets a device read-only, or writable again.
fn set_read_only(device: &Dm, read_only: bool) -> Result<()> {
    let option = match read_only {
        true => "--setro",
        false => "--setrw",
    };
    cmd::run("blockdev", &[option, device.path()]).map(drop)
}

fn read_only(_: &Env) -> Result<()> {
    let mut rig = Rig::new(&Spec::mb(1).persistent())?;
    rig.disk()?.stamp_all(2048, 1)?;
    let id = rig.snapshot()?;
    let table = rig.table(2048, &[]);
    let (origin, store) = (rig.origin.path().to_string(), rig.store.path().to_string());
    for read_only in [true, false] {
        // What is active goes on: writes, and copies to the store.
        set_read_only(&rig.origin, read_only)?;
        set_read_only(&rig.store, read_only)?;
        rig.disk()?.stamp(0, 80, 2)?;
        rig.view("vt-view", id, &[])?.check(0, &[1; 2048])?;
        let reloaded = rig.dm.swap(&table).is_ok();
        ensure!(
            reloaded != read_only,
            "a reload while read_only={read_only}"
        );
    }
    rig.close()?;
    for (name, path) in [("origin", &origin), ("store", &store)] {
        let device = match name {
            "origin" => &rig.origin,
            _ => &rig.store,
        };
        set_read_only(device, true)?;
        let words = format!("The {name} is read-only: use blockdev --setrw");
        refused(&table, &words, false)?;
        let create = ["create", "vt-bad", "--origin", &origin, "--store", &store];
        let output = cmd::output("preserve", &create, "")?;
        let words = format!("`blockdev --setrw {path}`");
        ensure!(!output.ok && output.stderr.contains(&words), "{output:?}");
        set_read_only(device, false)?;
    }
    rig.open()?;
    let view = rig.view("vt-view", id, &[])?;
    view.check(0, &[1; 2048])
}
