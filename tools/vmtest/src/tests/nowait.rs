// SPDX-License-Identifier: GPL-2.0

//! Kinds of I/O: NOWAIT, flush, FUA, and large ones.

#![forbid(unsafe_code)]

use anyhow::ensure;
use anyhow::Result;
use rustix::io::Errno;
use rustix::io::ReadWriteFlags;
use vmtest::disk::expect_errno;
use vmtest::disk::Buffer;
use vmtest::disk::Disk;
use vmtest::live::Kind;
use vmtest::live::Live;
use vmtest::rig::Rig;
use vmtest::rig::Spec;

use super::test;
use super::Test;
use crate::Env;

pub const TESTS: &[Test] = &[
    test("nowait_writes_that_need_a_copy_get_again", nowait),
    test("flush_and_fua_reach_the_origin", flush_and_fua),
    test("one_write_over_many_chunks", many_chunks),
    test("writes_of_parts_of_a_chunk", parts),
];

fn nowait(_: &Env) -> Result<()> {
    let rig = Rig::new(&Spec::mb(1))?;
    let disk = rig.disk()?;
    disk.stamp_all(rig.sectors(), 1)?;
    // The disk below has it, or this would test nothing.
    let mut buffer = Buffer::new(8);
    Disk::open(rig.origin.path())?.read_flags(0, &mut buffer, ReadWriteFlags::NOWAIT)?;
    let write = |start, stamp| {
        let bytes = Buffer::stamped(start, 8, stamp);
        disk.write_flags(start, &bytes, ReadWriteFlags::NOWAIT)
    };
    ensure!(write(0, 2)? == 4096, "without a snapshot");
    let id = rig.snapshot()?;
    expect_errno("a write that needs a copy", write(0, 3), Errno::AGAIN)?;
    disk.check(0, &[2; 8])?;
    ensure!(
        rig.number("changed_chunks")? == 0,
        "a refused write left a mark"
    );
    ensure!(
        rig.number("preserved_chunks")? == 0,
        "a refused write was preserved"
    );
    disk.stamp(0, 8, 4)?;
    ensure!(write(0, 5)? == 4096, "an overwritten chunk");
    disk.check(0, &[5; 8])?;
    let got = disk.read_flags(0, &mut buffer, ReadWriteFlags::NOWAIT)?;
    ensure!(got == 4096, "a read");
    // What nobody needs is no reason to wait.
    rig.control.release(id, 80, 8)?;
    ensure!(write(80, 6)? == 4096, "a released chunk");
    let view = rig.view("vt-view", id, &[])?;
    view.check(0, &[2; 8])
}

fn flush_and_fua(_: &Env) -> Result<()> {
    // A disk with a volatile cache has flushes and FUA, and counts them.
    let cached = vmtest::nullblk::NullBlk::with("vt-cached", 4, vmtest::nullblk::CACHE)?;
    let store = vmtest::nullblk::NullBlk::new("vt-store", 4)?;
    let live = Live::create(
        "vt-live",
        Kind::Transient,
        2048,
        cached.path(),
        store.path(),
        8,
        &[],
    )?;
    let disk = live.disk()?;
    let flushes = || -> Result<u64> {
        let stat = std::fs::read_to_string("/sys/block/vt-cached/stat")?;
        let count = stat.split_whitespace().nth(15);
        Ok(count.unwrap_or_default().parse()?)
    };
    let before = flushes()?;
    disk.flush()?;
    ensure!(flushes()? > before, "a flush did not reach the origin");
    for round in 0..3 {
        let id = live.snapshot()?;
        for chunk in 0..8 {
            // Synchronous direct writes are FUA; some slow, some fast.
            let bytes = Buffer::stamped(chunk * 8 + 4, 8, round + 1);
            disk.write_flags(chunk * 8 + 4, &bytes, ReadWriteFlags::DSYNC)?;
            let before = flushes()?;
            disk.flush()?;
            ensure!(flushes()? > before, "a flush after snapshot {id}");
        }
        disk.check(4, &[round + 1; 64])?;
        let view = live.view("vt-view", id, &[])?;
        view.check(4, &[round; 64])?;
    }
    Ok(())
}

fn many_chunks(_: &Env) -> Result<()> {
    let rig = Rig::new(&Spec::mb(8))?;
    let disk = rig.disk()?;
    disk.stamp_all(rig.sectors(), 1)?;
    let id = rig.snapshot()?;
    // 2 MiB, unaligned at both ends, over some that are preserved already.
    disk.stamp(3000, 16, 2)?;
    disk.stamp(1003, 4096, 3)?;
    ensure!(rig.number("preserved_chunks")? == 5099_u64.div_ceil(8) - 125);
    let view = rig.view("vt-view", id, &[])?;
    view.check(0, &vec![1; rig.sectors() as usize])?;
    disk.check(0, &[&[1; 1003][..], &[3; 4096], &[1; 1003]].concat())
}

fn parts(_: &Env) -> Result<()> {
    let rig = Rig::new(&Spec {
        chunk: 64,
        ..Spec::mb(1)
    })?;
    let disk = rig.disk()?;
    disk.stamp_all(rig.sectors(), 1)?;
    let id = rig.snapshot()?;
    let view = rig.view("vt-view", id, &[])?;
    let frozen = Disk::open_ro(view.path())?;
    let mut now = vec![1; rig.sectors() as usize];
    for (start, len) in [
        (0, 1),
        (63, 1),
        (127, 2),
        (200, 56),
        (256, 64),
        (2047, 1),
        (1, 62),
    ] {
        disk.stamp(start, len, 2 + start)?;
        now[start as usize..(start + len) as usize].fill(2 + start);
        disk.check(0, &now)?;
        frozen.check(0, &vec![1; now.len()])?;
    }
    ensure!(rig.set_in("snapshot_map")? == [0, 1, 2, 3, 4, 31]);
    ensure!(rig.number("preserved_chunks")? == 6);
    Ok(())
}
