// SPDX-License-Identifier: GPL-2.0

//! What `dmsetup table` and `dmsetup status` print, and that sysfs and the ioctl say the same.

#![forbid(unsafe_code)]

use anyhow::ensure;
use anyhow::Result;
use vmtest::cmd;
use vmtest::dm::Dm;
use vmtest::node;
use vmtest::rig::Rig;
use vmtest::rig::Spec;

use super::test;
use super::Test;
use crate::Env;

pub const TESTS: &[Test] = &[
    test("table_line_makes_the_same_device_again", table_round_trip),
    test("status_sysfs_and_ioctl_say_the_same", figures_agree),
    test("view_status_and_table", view_text),
];

const ARGS: [&[&str]; 4] = [
    &[],
    &["keep_unprotected", "reset_protection"],
    &["default=unprotected", "on_full=block", "low_space=55"],
    &[
        "default=protected",
        "on_full=invalidate",
        "on_error=continue",
    ],
];

fn table_round_trip(_: &Env) -> Result<()> {
    for args in ARGS {
        let rig = Rig::new(&Spec {
            args,
            ..Spec::mb(1)
        })?;
        let table = rig.dm.table()?;
        let words: Vec<&str> = table.split(' ').collect();
        ensure!(
            words[..3] == ["0", "2048", "preserve"] && words[5] == "8",
            "the table line is {table:?}"
        );
        for (word, path) in [(words[3], rig.origin.path()), (words[4], rig.store.path())] {
            let device = node::number(path)?;
            let number = format!("{}:{}", device.major, device.minor);
            ensure!(
                word == number,
                "{path} is {word} in the table, not {number}"
            );
        }
        let usual = [
            "default=protected",
            "on_full=invalidate",
            "on_error=continue",
        ];
        for arg in args {
            ensure!(
                usual.contains(arg) || words.contains(arg),
                "{arg} is missing in {table:?}"
            );
        }
        ensure!(
            words[6].parse() == Ok(words.len() - 7),
            "the number of arguments in {table:?}"
        );
        // The line itself can be loaded, and gives itself again.
        rig.dm.swap(&table)?;
        let again = rig.dm.table()?;
        ensure!(again == table, "{table:?} became {again:?}");
    }
    Ok(())
}

fn figures_agree(_: &Env) -> Result<()> {
    let rig = Rig::new(&Spec::mb(1))?;
    let disk = rig.disk()?;
    disk.stamp(0, 40, 1)?;
    for step in 0..3 {
        let id = rig.snapshot()?;
        disk.stamp(step * 8, 32, 2 + step)?;
        let status = rig.status()?;
        let info = rig.control.info()?;
        ensure!(status.state == "active", "state {}", status.state);
        ensure!(info.latest == id, "latest is {}, not {id}", info.latest);
        let [chunk, latest, snapshots, changed, backup, protected, preserved, ..] = status.numbers;
        let numbers = [
            ("chunk_sectors", chunk, u64::from(info.chunk_sectors)),
            ("snapshot", latest, info.latest),
            ("changed_chunks", changed, info.changed_chunks),
            ("backup_chunks", backup, info.backup_chunks),
            ("protected_chunks", protected, info.protected_chunks),
            ("preserved_chunks", preserved, info.preserved_chunks),
            ("store_sectors", status.total, info.store_sectors),
            ("store_used_sectors", status.used, info.store_used_sectors),
        ];
        for (file, in_status, in_info) in numbers {
            let in_sysfs = rig.number(file)?;
            ensure!(
                in_sysfs == in_status && in_sysfs == in_info,
                "{file}: {in_sysfs} in sysfs, {in_status} in the status, {in_info} by ioctl"
            );
        }
        ensure!(
            snapshots == 1 && info.snapshots == 1,
            "snapshots {snapshots}"
        );
        ensure!(
            (changed, protected, preserved) == (4, 256, 4),
            "counts in {status:?}"
        );
        let waited = status.numbers[7];
        ensure!(waited >= 1, "no write waited, though chunks were copied");
    }
    ensure!(rig.sysfs("state")? == "active");
    rig.dm.suspend()?;
    ensure!(rig.sysfs("state")? == "suspended");
    ensure!(rig.status()?.state == "suspended");
    rig.dm.resume()?;
    ensure!(rig.sysfs("state")? == "active");
    Ok(())
}

fn view_text(_: &Env) -> Result<()> {
    let rig = Rig::new(&Spec::mb(1))?;
    let id = rig.snapshot()?;
    let device = rig.dm.device();
    let number = format!("{}:{}", device.major, device.minor);
    for (args, shown) in [
        (&[][..], ""),
        (&["unprotected=zero"], ""),
        (&["unprotected=error"], " 1 unprotected=error"),
    ] {
        let view = Dm::create_readonly("vt-view", &rig.view_table("latest", args))?;
        let table = view.table()?;
        let wanted = format!("0 2048 preserve-view {number} {id}{shown}");
        ensure!(table == wanted, "the table is {table:?}, not {wanted:?}");
        let status = view.status()?;
        ensure!(
            status == format!("0 2048 preserve-view {id} valid"),
            "the status is {status:?}"
        );
        cmd::run("blockdev", &["--getro", view.path()]).and_then(|ro| {
            ensure!(ro.trim() == "1", "a view is not read-only");
            Ok(())
        })?;
    }
    let view = rig.view("vt-view", id, &[])?;
    let newer = rig.snapshot()?;
    let status = view.status()?;
    ensure!(
        status == format!("0 2048 preserve-view {id} dropped"),
        "after snapshot {newer}: {status:?}"
    );
    Ok(())
}
