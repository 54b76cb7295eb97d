// SPDX-License-Identifier: GPL-2.0

//! Tables that differ: a larger origin, a larger store, other options, another target.

#![forbid(unsafe_code)]

use std::thread;
use std::time::Duration;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use rustix::io::Errno;
use vmtest::cmd::wait_until;
use vmtest::disk::expect_errno;
use vmtest::disk::Disk;
use vmtest::rig::Rig;
use vmtest::rig::Spec;

use super::both;
use super::lifecycle::busy;
use super::lifecycle::LIMIT;
use super::slow;
use super::test;
use super::Test;
use crate::Env;

pub const TESTS: &[Test] = &[
    both(test("reload_with_a_larger_origin", larger_origin)),
    test("reload_with_a_larger_store", larger_store),
    both(test("reload_with_other_options", options)),
    test("reload_to_linear_detaches_views", to_linear),
    both(test(
        "view_reads_wait_while_the_live_device_is_suspended",
        suspended,
    )),
    slow("reload_to_linear_and_back_during_io", 120, during_io),
];

fn larger_origin(_: &Env) -> Result<()> {
    let rig = Rig::new(&Spec {
        chunk: 16,
        sectors: 2048 + 5,
        store: 8192,
        ..Spec::mb(1)
    })?;
    let disk = rig.disk()?;
    disk.stamp_all(2053, 1)?;
    let first = rig.snapshot()?;
    let view = rig.view("vt-view", first, &[])?;
    disk.stamp(2048, 5, 2)?;
    disk.stamp(160, 16, 2)?;
    let path = rig.origin_disk();
    rig.origin.swap(&format!("0 6000 linear {path} 0"))?;
    rig.dm.swap(&rig.table(6000, &[]))?;
    ensure!(rig.control.info()?.origin_sectors == 6000, "the new size");
    // The snapshot is as it was.
    let frozen = Disk::open_ro(view.path())?;
    frozen.check(0, &[1; 2053])?;
    let disk = Disk::open(rig.dm.path())?;
    disk.stamp_all(6000, 3)?;
    frozen.check(0, &[1; 2053])?;
    drop(frozen);
    drop(view);
    // Tools see how long it is.
    ensure!(rig.control.at_least(first)?.sectors == 2053, "the old size");
    // The next one has all of it, and the new part counts as changed.
    let second = rig.control.incremental(first)?;
    let changed = rig.control.chunks(first, second, 1, 1)?;
    ensure!(changed.len() == 375, "{} chunks changed", changed.len());
    disk.stamp_all(6000, 4)?;
    let table = format!("0 6000 preserve-view {} {second}", rig.dm.path());
    let view = vmtest::dm::Dm::create_readonly("vt-view", &table)?;
    view.check(0, &[3; 6000])
}

fn larger_store(_: &Env) -> Result<()> {
    let rig = Rig::new(&Spec {
        store: 80,
        ..Spec::mb(1)
    })?;
    let disk = rig.disk()?;
    disk.stamp_all(rig.sectors(), 1)?;
    let id = rig.snapshot()?;
    disk.stamp(0, 80, 2)?;
    let path = rig.store_disk();
    rig.store.swap(&format!("0 4096 linear {path} 0"))?;
    rig.dm.swap(&rig.table(rig.sectors(), &[]))?;
    ensure!(rig.number("store_sectors")? == 4096, "the new size");
    ensure!(rig.number("store_used_sectors")? == 80, "what is in use");
    disk.stamp_all(rig.sectors(), 3)?;
    ensure!(rig.control.info()?.invalidated == 0, "given up");
    let view = rig.view("vt-view", id, &[])?;
    view.check(0, &[1; 2048])
}

fn options(_: &Env) -> Result<()> {
    let rig = Rig::new(&Spec::mb(1))?;
    let disk = rig.disk()?;
    disk.stamp_all(rig.sectors(), 1)?;
    rig.dm.message("unprotect 0 80")?;
    rig.dm
        .swap(&rig.table(2048, &["keep_unprotected", "low_space=10"]))?;
    ensure!(
        rig.number("protected_chunks")? == 246,
        "the designation is kept"
    );
    rig.snapshot()?;
    disk.stamp(0, 160, 2)?;
    ensure!(rig.number("preserved_chunks")? == 20, "keep_unprotected");
    rig.dm.swap(&rig.table(2048, &[]))?;
    rig.snapshot()?;
    disk.stamp(0, 160, 3)?;
    ensure!(rig.number("preserved_chunks")? == 10, "and without it");
    Ok(())
}

fn to_linear(_: &Env) -> Result<()> {
    let rig = Rig::new(&Spec::mb(1))?;
    let disk = rig.disk()?;
    disk.stamp_all(rig.sectors(), 1)?;
    let id = rig.snapshot()?;
    disk.stamp(0, 80, 2)?;
    let view = rig.view("vt-view", id, &[])?;
    let frozen = Disk::open_ro(view.path())?;
    frozen.check(0, &[1; 2048])?;
    rig.dm
        .swap(&format!("0 2048 linear {} 0", rig.origin.path()))?;
    disk.stamp(0, 2048, 9)?;
    // What was preserved may still be read, or fail; what was not must not be made up.
    for chunk in 0..256 {
        match frozen.read(chunk * 8, 8) {
            Ok(found) if chunk < 10 => vmtest::pattern::check(&found, chunk * 8, &[1; 8])?,
            result => expect_errno(&format!("chunk {chunk}"), result, Errno::IO)?,
        }
    }
    let status = view.status()?;
    ensure!(status.ends_with(" detached"), "status {status:?}");
    let info = rig.control.info();
    expect_errno("the ioctl", info, Errno::NODEV)?;
    ensure!(
        rig.sysfs("state").is_err(),
        "its sysfs files are still there"
    );
    ensure!(!rig.dm.try_message("snapshot")?.ok, "a message to linear");
    // Back again it is another engine, which knows nothing of before.
    drop(frozen);
    drop(view);
    rig.dm.swap(&rig.table(2048, &[]))?;
    disk.check(0, &[9; 2048])?;
    let id = rig.snapshot()?;
    disk.stamp(0, 80, 10)?;
    let view = rig.view("vt-view", id, &[])?;
    view.check(0, &[9; 2048])
}

fn suspended(_: &Env) -> Result<()> {
    let rig = Rig::new(&Spec::mb(1))?;
    let disk = rig.disk()?;
    disk.stamp_all(rig.sectors(), 1)?;
    let id = rig.snapshot()?;
    disk.stamp(0, 80, 2)?;
    let view = rig.view("vt-view", id, &[])?;
    rig.dm.suspend()?;
    let frozen = Disk::open_ro(view.path())?;
    let reader = thread::spawn(move || frozen.check(0, &[1; 2048]));
    thread::sleep(Duration::from_millis(500));
    rig.dm.resume()?;
    wait_until("the read is done", LIMIT, || Ok(reader.is_finished()))?;
    reader
        .join()
        .map_err(|_| anyhow::anyhow!("the reader died"))?
}

fn during_io(env: &Env) -> Result<()> {
    let rig = Rig::new(&Spec::mb(8))?;
    let mut fio = busy(&rig, env.rounds(3, 1) as u32)?;
    let mut rounds = 0;
    while !fio.ended()? {
        rig.dm
            .swap(&format!("0 16384 linear {} 0", rig.origin.path()))?;
        thread::sleep(Duration::from_millis(50));
        rig.dm.swap(&rig.table(16384, &[]))?;
        rig.snapshot().context("after the way back")?;
        thread::sleep(Duration::from_millis(200));
        rounds += 1;
    }
    fio.finish(LIMIT)?;
    ensure!(rounds >= 2, "fio was too quick: {rounds} rounds only");
    Ok(())
}
