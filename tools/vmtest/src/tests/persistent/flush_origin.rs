// SPDX-License-Identifier: GPL-2.0

//! An origin that can be read and written, but not flushed: a snapshot that cannot be relied on is
//! an error, and nothing else happens.

#![forbid(unsafe_code)]

use std::thread;
use std::time::Duration;

use anyhow::anyhow;
use anyhow::ensure;
use anyhow::Result;
use rustix::io::Errno;
use rustix::io::ReadWriteFlags;
use vmtest::cmd::wait_until;
use vmtest::disk::expect_errno;
use vmtest::disk::Buffer;
use vmtest::disk::Disk;
use vmtest::kmsg::Kmsg;
use vmtest::rig::Rig;
use vmtest::rig::Spec;

use super::errors;
use super::faults;
use super::faults::Part;
use super::portrait::snapshots;
use super::portrait::Portrait;
use super::said_nothing;
use crate::tests::bad_table::said;
use crate::tests::test;
use crate::tests::Test;
use crate::Env;

pub const TESTS: &[Test] = &[
    test("i4_persistent_fsync_of_an_origin_that_fails", fsync),
    test("i4_persistent_first_flush_of_a_snapshot_fails", first),
    test("i4_persistent_second_flush_of_a_snapshot_fails", second),
    test("i4_persistent_flush_of_a_growth_fails", growth),
    test("persistent_flush_of_a_removal_fails", removal),
];

const LIMIT: Duration = Duration::from_secs(20);

fn rig() -> Result<(Rig, Disk)> {
    errors::rig_of(&Spec::mb(1).persistent().cached())
}

/// Flushes of the origin fail from now on.
fn break_flushes(rig: &Rig) -> Result<()> {
    let table = faults::no_flushes(rig.origin_disk(), rig.sectors());
    rig.origin.swap(&table)
}

fn mend_origin(rig: &Rig) -> Result<()> {
    let (size, path) = (rig.sectors(), rig.origin_disk());
    rig.origin.swap(&format!("0 {size} linear {path} 0"))
}

/// Whoever flushes the live device is told, and nobody else has anything to do with it.
fn fsync(_: &Env) -> Result<()> {
    let (rig, disk) = rig()?;
    disk.flush()?;
    break_flushes(&rig)?;
    faults::only_flushes_fail(&rig.origin)?;
    disk.stamp(240, 80, 3)?;
    let before = Portrait::of(&rig)?;
    let mut kernel = Kmsg::now()?;
    expect_errno("a flush", disk.flush(), Errno::IO)?;
    let bytes = Buffer::stamped(240, 8, 4);
    let written = disk.write_flags(240, &bytes, ReadWriteFlags::DSYNC);
    expect_errno("a write that is to last", written, Errno::IO)?;
    said_nothing(&mut kernel)?;
    before.compare(&Portrait::of(&rig)?)?;
    ensure!(rig.sysfs("state")? == "active", "the state");
    mend_origin(&rig)?;
    disk.flush()?;
    disk.check(240, &[&[4; 8][..], &[3; 72]].concat())
}

/// The snapshot that failed has left nothing behind, neither here nor in the log; the next one has
/// its number.
fn as_if_nothing(mut rig: Rig, disk: Disk, ids: &[u64]) -> Result<()> {
    ensure!(rig.sysfs("state")? == "active", "the state");
    ensure!(snapshots(&rig)? == ids, "snapshots");
    disk.stamp(640, 80, 4)?;
    disk.check(640, &[4; 80])?;
    mend_origin(&rig)?;
    let latest = rig.control.info()?.latest;
    let id = rig.control.snapshot_keeping(None, 4)?;
    ensure!(id == latest + 1, "snapshot {id} after {latest}");
    disk.stamp(640, 160, 5)?;
    rig.view("vt-view", id, &[])?
        .check(640, &[&[4; 80][..], &[1; 80]].concat())?;
    rig.view("vt-view", ids[0], &[])?.check(80, &[1; 720])?;
    let before = Portrait::of(&rig)?;
    drop(disk);
    rig.cut(true)?;
    rig.close()?;
    rig.mend()?;
    rig.open()?;
    before.compare(&Portrait::of(&rig)?)
}

fn first(_: &Env) -> Result<()> {
    let (rig, disk) = rig()?;
    let ids = snapshots(&rig)?;
    let before = Portrait::of(&rig)?;
    break_flushes(&rig)?;
    expect_errno(
        "a snapshot",
        rig.control.snapshot_keeping(None, 1),
        Errno::IO,
    )?;
    before.compare(&Portrait::of(&rig)?)?;
    as_if_nothing(rig, disk, &ids)
}

/// A write holds the closing gate; the origin breaks before it lets it go.
fn second(_: &Env) -> Result<()> {
    let (rig, disk) = rig()?;
    let (path, size) = (rig.origin_disk(), rig.sectors());
    let ids = snapshots(&rig)?;
    let flush = Part::new(path, faults::behind(size))?;
    // Where nobody needs a copy.
    let held = (0..8, faults::slow(path, 0));
    rig.origin
        .swap(&faults::with_parts(path, size, &[held, flush.target()]))?;
    let flushes = faults::flushes(path)?;
    thread::scope(|scope| {
        let holds = scope.spawn(|| disk.stamp(0, 8, 9));
        // Its chunk's mark is no proof: that may come before the write is inside the gate.
        let inside = wait_until("the write is under way", LIMIT, || {
            faults::is_held(&rig.origin)
        });
        let snapshot = scope.spawn(|| rig.control.snapshot_keeping(None, 1));
        let flushed = faults::flushed(path, flushes);
        let waits = scope.spawn(|| disk.stamp(1200, 8, 9));
        thread::sleep(Duration::from_millis(500));
        let was_closed = !holds.is_finished() && !snapshot.is_finished() && !waits.is_finished();
        flush.fail()?;
        // Lets the write go.
        break_flushes(&rig)?;
        let died = |_| anyhow!("a thread died");
        holds.join().map_err(died)??;
        waits.join().map_err(died)??;
        let taken = snapshot.join().map_err(died)?;
        inside.and(flushed)?;
        ensure!(was_closed, "the gate was not closed behind the first flush");
        expect_errno("a snapshot", taken, Errno::IO)
    })?;
    disk.check(0, &[9; 8])?;
    disk.check(1200, &[9; 8])?;
    as_if_nothing(rig, disk, &ids)
}

/// A larger origin needs an epoch of its own. The resume fails until that can be flushed; what was
/// there stays, whatever comes next.
fn growth(_: &Env) -> Result<()> {
    for is_removed in [false, true] {
        let (mut rig, disk) = rig()?;
        let before = Portrait::of(&rig)?;
        let ids = snapshots(&rig)?;
        let (path, size) = (rig.origin_disk().to_string(), rig.sectors());
        rig.origin.swap(&faults::no_flushes(&path, size + 80))?;
        rig.dm.load(&rig.table(size + 80, &[]))?;
        rig.dm.suspend()?;
        ensure!(rig.dm.resume().is_err(), "it grew without a flush");
        rig.origin
            .swap(&format!("0 {} linear {path} 0", size + 80))?;
        if is_removed {
            drop(disk);
            rig.reopen()?;
            before.compare(&Portrait::of(&rig)?)?;
            continue;
        }
        rig.dm.resume()?;
        ensure!(rig.control.info()?.origin_sectors == size + 80, "the size");
        disk.check(0, &[1; 160])?;
        disk.stamp(0, size, 6)?;
        rig.dm.stamp(size, 80, 6)?;
        ensure!(snapshots(&rig)? == ids, "snapshots");
        rig.view("vt-view", ids[0], &[])?.check(80, &[1; 1968])?;
    }
    Ok(())
}

/// The store is not closed over an origin whose content may not last: it stays open, as after a
/// power cut, and the next activation replays its log. Nothing is lost.
fn removal(_: &Env) -> Result<()> {
    let (mut rig, disk) = rig()?;
    disk.stamp(300, 84, 7)?;
    let before = Portrait::of(&rig)?;
    drop(disk);
    break_flushes(&rig)?;
    let mut kernel = Kmsg::now()?;
    rig.close()?;
    said(&mut kernel, "the origin cannot be flushed")?;
    rig.mend()?;
    rig.open()?;
    said(&mut kernel, "records replayed")?;
    before.compare(&Portrait::of(&rig)?)
}
