// SPDX-License-Identifier: GPL-2.0

//! The origin fails: what cannot be read cannot be preserved, and that is all that is lost.

#![forbid(unsafe_code)]

use std::thread;
use std::time::Duration;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use preserve::uapi::ATTR_GONE;
use preserve::uapi::EVENT_GONE;
use rustix::io::Errno;
use vmtest::cmd::wait_until;
use vmtest::disk::expect_errno;
use vmtest::disk::Buffer;
use vmtest::disk::Disk;
use vmtest::rig::Rig;
use vmtest::rig::Spec;

use super::both;
use super::test;
use super::Test;
use crate::Env;

pub const TESTS: &[Test] = &[
    both(test("i4_origin_read_error_at_the_first_step", |_| {
        read_error(0)
    })),
    both(test("i4_origin_read_error_at_a_middle_step", |_| {
        read_error(21)
    })),
    both(test("i4_origin_read_error_at_the_last_step", |_| {
        read_error(63)
    })),
    both(test("i4_origin_read_errors_everywhere", read_errors)),
    both(test(
        "what_nobody_needs_any_longer_is_not_gone",
        dropped_meanwhile,
    )),
    both(test("origin_write_errors_reach_the_writer", write_errors)),
    both(test("frozen_reads_of_a_failing_origin_fail", frozen_reads)),
];

const SECTORS: u64 = 512;
const LIMIT: Duration = Duration::from_secs(15);

fn rig() -> Result<(Rig, Disk, u64)> {
    let rig = Rig::new(&Spec {
        sectors: SECTORS,
        ..Spec::mb(1)
    })?;
    let disk = rig.disk()?;
    disk.stamp_all(SECTORS, 1)?;
    let id = rig.snapshot()?;
    Ok((rig, disk, id))
}

/// Reads of these sectors of the origin fail from now on, until they are written.
fn fail_reads(rig: &Rig, sectors: &[u64]) -> Result<()> {
    let table = format!("0 {SECTORS} dust {} 0 512", rig.origin_disk());
    rig.origin.swap(&table)?;
    for sector in sectors {
        rig.origin.message(&format!("addbadblock {sector}"))?;
    }
    rig.origin.message("enable")?;
    Ok(())
}

/// One bad sector in the given one of 64 chunks; all are overwritten, four at a time.
fn read_error(bad: u64) -> Result<()> {
    let (rig, disk, id) = rig()?;
    fail_reads(&rig, &[bad * 8 + 3])?;
    let seen = rig.control.info()?.event;
    // Of the chunk that fails, only a part is overwritten.
    disk.stamp(bad * 8 + 2, 4, 3)?;
    for start in (0..SECTORS).step_by(32) {
        disk.stamp(start, 32, 2)
            .with_context(|| format!("a write at {start}"))?;
    }
    disk.check(0, &[2; SECTORS as usize])?;
    let info = rig.control.info()?;
    ensure!(
        (info.gone_chunks, info.preserved_chunks, info.invalidated) == (1, 63, 0),
        "{info:?}"
    );
    let (_, kinds) = rig.control.wait(seen, 1000)?;
    ensure!(kinds & EVENT_GONE != 0, "kinds {kinds}");
    let gone = rig.control.chunks(0, id, ATTR_GONE, ATTR_GONE)?;
    ensure!(gone == [bad], "gone {gone:?}");
    ensure!(rig.number("changed_chunks")? == 64);
    check_frozen(&rig, id, &[bad])
}

/// Every chunk but `gone` reads as it was; these fail.
fn check_frozen(rig: &Rig, id: u64, gone: &[u64]) -> Result<()> {
    let view = rig.view("vt-view", id, &[])?;
    let frozen = Disk::open_ro(view.path())?;
    for chunk in 0..SECTORS / 8 {
        let mut buffer = Buffer::new(8);
        let by_ioctl = rig.control.read(id, chunk * 8, &mut buffer);
        if gone.contains(&chunk) {
            expect_errno("the view", frozen.read(chunk * 8, 8), Errno::IO)?;
            expect_errno("the ioctl", by_ioctl, Errno::NODATA)?;
        } else {
            frozen.check(chunk * 8, &[1; 8])?;
            by_ioctl.with_context(|| format!("chunk {chunk}"))?;
            vmtest::pattern::check(&buffer, chunk * 8, &[1; 8])?;
        }
    }
    Ok(())
}

fn read_errors(_: &Env) -> Result<()> {
    let (rig, disk, id) = rig()?;
    // Every fourth chunk, in the middle of long runs.
    let bad: Vec<u64> = (0..64).filter(|c| c % 4 == 1).collect();
    let sectors: Vec<u64> = bad.iter().map(|c| c * 8).collect();
    fail_reads(&rig, &sectors)?;
    disk.stamp(0, SECTORS, 2)?;
    disk.check(0, &[2; SECTORS as usize])?;
    ensure!(rig.control.info()?.gone_chunks == 16);
    check_frozen(&rig, id, &bad)?;
    // The next snapshot has nothing to do with it.
    let next = rig.snapshot()?;
    disk.stamp(0, SECTORS, 3)?;
    let view = rig.view("vt-view", next, &[])?;
    view.check(0, &[2; SECTORS as usize])
}

/// The snapshot is dropped while the read for its copy is under way; the read fails after that.
fn dropped_meanwhile(_: &Env) -> Result<()> {
    let (rig, disk, id) = rig()?;
    let path = rig.origin_disk();
    rig.origin.suspend()?;
    let other = rig.disk()?;
    let writer = thread::spawn(move || other.stamp(80, 8, 2));
    wait_until("the write waits for its copy", LIMIT, || {
        Ok(rig.control.info()?.waited_writes > 0)
    })?;
    thread::sleep(Duration::from_millis(300));
    ensure!(!writer.is_finished(), "the write did not wait");
    rig.control.drop_snapshot(id)?;
    rig.origin
        .load(&format!("0 {SECTORS} flakey {path} 0 0 3600 1 error_reads"))?;
    rig.origin.resume()?;
    writer
        .join()
        .map_err(|_| anyhow::anyhow!("the writer died"))??;
    rig.origin.swap(&format!("0 {SECTORS} linear {path} 0"))?;
    disk.check(80, &[2; 8])?;
    let info = rig.control.info()?;
    ensure!(
        (info.gone_chunks, info.changed_chunks) == (0, 1),
        "{info:?}"
    );
    rig.wait_store_empty()
}

fn write_errors(_: &Env) -> Result<()> {
    let (rig, disk, id) = rig()?;
    let path = rig.origin_disk();
    let table = format!("0 {SECTORS} flakey {path} 0 0 3600 1 error_writes");
    rig.origin.swap(&table)?;
    expect_errno("a write", disk.stamp(80, 16, 2), Errno::IO)?;
    rig.origin.swap(&format!("0 {SECTORS} linear {path} 0"))?;
    // It may have changed something, so it counts as changed; the frozen content is safe.
    ensure!(
        rig.set_in("snapshot_map")? == [10, 11],
        "marks after a failed write"
    );
    disk.check(0, &[1; SECTORS as usize])?;
    check_frozen(&rig, id, &[])?;
    disk.stamp(80, 16, 3)?;
    check_frozen(&rig, id, &[])
}

fn frozen_reads(_: &Env) -> Result<()> {
    let (rig, disk, id) = rig()?;
    disk.stamp(0, 80, 2)?;
    let view = rig.view("vt-view", id, &[])?;
    let frozen = Disk::open_ro(view.path())?;
    fail_reads(&rig, &[100])?;
    frozen.check(0, &[1; 96])?;
    expect_errno("the view", frozen.read(96, 8), Errno::IO)?;
    let read = rig.control.read(id, 96, &mut Buffer::new(8));
    expect_errno("the ioctl", read, Errno::IO)?;
    frozen.check(104, &[1; 8])?;
    // A failed read says nothing about the chunk: when the disk recovers, it is there.
    rig.origin.message("disable")?;
    frozen.check(96, &[1; 8])
}
