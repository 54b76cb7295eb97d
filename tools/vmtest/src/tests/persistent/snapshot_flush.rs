// SPDX-License-Identifier: GPL-2.0

//! A snapshot on a persistent store flushes the origin, before the gate closes and while it is
//! closed (trap no-flush): what it shows must not vanish with a volatile cache when its record is
//! there. A transient store flushes nothing.

#![forbid(unsafe_code)]

use std::thread;
use std::time::Duration;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use vmtest::cmd::Background;
use vmtest::disk::Disk;
use vmtest::nullblk::NullBlk;
use vmtest::rig::use_persistent_stores;
use vmtest::rig::Rig;
use vmtest::rig::Spec;

use super::errors::Area;
use super::io_counts;
use super::slices::LIMIT;
use super::slices::WHILE;
use crate::tests::both;
use crate::tests::test;
use crate::tests::Test;
use crate::Env;

pub const TESTS: &[Test] = &[
    both(test("i1_i2_snapshot_flushes_the_origin", counts)),
    test("i1_i2_persistent_snapshot_waits_for_the_flush", waits),
];

/// Over an origin that says that it has a volatile cache, and a store of its own.
fn rig() -> Result<([NullBlk; 2], Rig)> {
    let cached = [("cache_size", "1"), ("fua", "1")];
    let origin = NullBlk::with("vt-origin", 4, &cached)?;
    let store = NullBlk::new("vt-store", 24)?;
    let rig = Rig::over(&Spec::mb(1), origin.path(), store.path())?;
    Ok(([origin, store], rig))
}

/// Twice for each snapshot, however it is asked for, or never.
fn counts(_: &Env) -> Result<()> {
    let (_disks, rig) = rig()?;
    let wanted = if rig.is_persistent() { 2 } else { 0 };
    let flushes = || io_counts::number("vt-origin", io_counts::FLUSHES);
    let disk = rig.disk()?;
    for round in 1..=3 {
        disk.stamp(0, 256, round)?;
        rig.settle()?;
        let before = flushes()?;
        match round {
            1 => rig.snapshot().map(drop)?,
            2 => rig.dm.message("snapshot keep=4").map(drop)?,
            _ => rig.write_sysfs("snapshot", "full").context("sysfs")?,
        }
        // Checkpoints have no business there.
        rig.settle()?;
        let count = flushes()? - before;
        ensure!(count == wanted, "snapshot {round}: {count} flushes");
    }
    Ok(())
}

/// As long as the origin is not flushed the log has nothing of the snapshot.
fn waits(_: &Env) -> Result<()> {
    use_persistent_stores();
    let (_disks, rig) = rig()?;
    rig.disk()?.stamp_all(rig.sectors(), 1)?;
    rig.settle()?;
    let ring = Area::Ring.of(&rig)?;
    let log = || -> Result<Vec<u8>> {
        let disk = Disk::open_ro(rig.store_disk())?;
        Ok(disk.read(ring.start, ring.end - ring.start)?.to_vec())
    };
    let before = log()?;
    rig.origin.suspend_noflush()?;
    let words = ["message", rig.dm.name(), "0", "snapshot"];
    let mut taken = Background::start("dmsetup", &words)?;
    thread::sleep(WHILE);
    let waits = (|| {
        ensure!(!taken.ended()?, "a snapshot without a flush");
        ensure!(log()? == before, "its record is there before the flush");
        Ok(())
    })();
    rig.origin.resume()?;
    waits?;
    taken.finish(LIMIT)?;
    thread::sleep(Duration::from_millis(100));
    ensure!(log()? != before, "no record of a snapshot");
    Ok(())
}
