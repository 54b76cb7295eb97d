// SPDX-License-Identifier: GPL-2.0

//! Snapshots, bookmarks, incremental scopes, and release.

#![forbid(unsafe_code)]

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use preserve::uapi::KIND_BOOKMARK;
use preserve::uapi::KIND_SNAPSHOT;
use preserve::uapi::SCOPE_FULL;
use preserve::uapi::SCOPE_INCREMENTAL;
use rustix::io::Errno;
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
    both(test("a_new_snapshot_drops_the_older_one", keep_one)),
    both(test(
        "snapshots_come_by_message_sysfs_and_ioctl",
        three_ways,
    )),
    both(test("bookmarks_stay_until_forgotten", forget)),
    both(test(
        "incremental_scope_preserves_only_what_changed",
        incremental,
    )),
    both(test("released_chunks_are_not_preserved", release)),
    both(test("a_dropped_snapshot_gives_its_space_back", drop_frees)),
    both(test("the_last_short_chunk_is_a_chunk", short_chunk)),
];

fn keep_one(_: &Env) -> Result<()> {
    let rig = Rig::new(&Spec::mb(1))?;
    let disk = rig.disk()?;
    disk.stamp_all(rig.sectors(), 1)?;
    let first = rig.snapshot()?;
    let view = rig.view("vt-view", first, &[])?;
    let frozen = Disk::open_ro(view.path())?;
    disk.stamp(0, 80, 2)?;
    frozen.check(0, &[1; 160])?;
    let second = rig.snapshot()?;
    ensure!(second > first, "ids rise");
    ensure!(frozen.read(0, 8).is_err(), "a copy of a dropped snapshot");
    ensure!(
        frozen.read(800, 8).is_err(),
        "the origin for a dropped snapshot"
    );
    let mut buffer = Buffer::new(8);
    let read = rig.control.read(first, 0, &mut buffer);
    expect_errno("reading a dropped snapshot", read, Errno::NOENT)?;
    let entry = rig.control.at_least(first)?;
    ensure!(
        entry.id == first && entry.kind == KIND_BOOKMARK,
        "the first is {entry:?}"
    );
    rig.wait_store_empty()?;
    ensure!(rig.number("preserved_chunks")? == 0);
    Ok(())
}

fn three_ways(_: &Env) -> Result<()> {
    let rig = Rig::new(&Spec::mb(1))?;
    ensure!(rig.sysfs("snapshot")? == "0", "before the first snapshot");
    let reply: u64 = rig.dm.message("snapshot")?.parse().context("the reply")?;
    ensure!(rig.number("snapshot")? == reply);
    let full: u64 = rig.dm.message("snapshot full keep=1")?.parse()?;
    let incremental = format!("snapshot incremental from={reply}");
    let third: u64 = rig.dm.message(&incremental)?.parse()?;
    rig.write_sysfs("snapshot", "full\n")?;
    rig.write_sysfs("snapshot", "incremental")?;
    let fifth = rig.number("snapshot")?;
    let sixth = rig.control.incremental(0)?;
    ensure!(
        reply < full && full < third && third + 2 == fifth && fifth + 1 == sixth,
        "ids {reply} {full} {third} {fifth} {sixth}"
    );
    let wanted = [
        (reply, SCOPE_FULL, 0),
        (full, SCOPE_FULL, 0),
        (third, SCOPE_INCREMENTAL, reply),
        (third + 1, SCOPE_FULL, 0),
        (fifth, SCOPE_INCREMENTAL, third + 1),
        (sixth, SCOPE_INCREMENTAL, fifth),
    ];
    let mut time = 0;
    for (id, scope, base) in wanted {
        let entry = rig.control.at_least(id)?;
        let kind = if id == sixth {
            KIND_SNAPSHOT
        } else {
            KIND_BOOKMARK
        };
        ensure!(
            (entry.id, entry.scope, entry.base, entry.kind) == (id, scope, base, kind),
            "{entry:?} instead of scope {scope}, base {base}, kind {kind}"
        );
        ensure!(entry.time_ns >= time, "times rise");
        time = entry.time_ns;
    }
    Ok(())
}

fn forget(_: &Env) -> Result<()> {
    let rig = Rig::new(&Spec::mb(1))?;
    let first = rig.snapshot()?;
    expect_errno(
        "forgetting a snapshot",
        rig.control.forget(first),
        Errno::NOENT,
    )?;
    rig.control.drop_snapshot(first)?;
    expect_errno(
        "dropping twice",
        rig.control.drop_snapshot(first),
        Errno::NOENT,
    )?;
    let second = rig.control.incremental(first)?;
    rig.control.forget(first)?;
    expect_errno("forgetting twice", rig.control.forget(first), Errno::NOENT)?;
    let unknown = rig.control.incremental(first);
    expect_errno("a forgotten base", unknown, Errno::NOENT)?;
    expect_errno(
        "an unknown base",
        rig.control.incremental(999),
        Errno::NOENT,
    )?;
    let info = rig.control.info()?;
    ensure!(
        (info.latest, info.snapshots, info.bookmarks) == (second, 1, 0),
        "{info:?}"
    );
    let list = rig.control.extents(first, second, 0, 0);
    expect_errno("extents since a forgotten base", list, Errno::NOENT)?;
    Ok(())
}

fn incremental(_: &Env) -> Result<()> {
    let rig = Rig::new(&Spec::mb(1))?;
    let disk = rig.disk()?;
    disk.stamp_all(rig.sectors(), 1)?;
    let first = rig.snapshot()?;
    disk.stamp(80, 80, 2)?;
    let second = rig.snapshot()?;
    disk.stamp(400, 80, 3)?;
    // Changed since the first: in both epochs.
    let third = rig.control.incremental(first)?;
    rig.settle()?;
    disk.stamp_all(rig.sectors(), 4)?;
    let found = rig.control.chunks(0, third, 4, 4)?;
    let wanted: Vec<u64> = (10..20).chain(50..60).collect();
    ensure!(found == wanted, "preserved since {first}: {found:?}");
    let mut buffer = Buffer::new(8);
    for chunk in 0..256 {
        let read = rig.control.read(third, chunk * 8, &mut buffer);
        match wanted.contains(&chunk) {
            true => ensure!(read.is_ok(), "chunk {chunk}: {read:?}"),
            false => expect_errno("out of scope", read, Errno::NODATA)?,
        }
    }
    rig.control.drop_snapshot(third)?;
    disk.stamp(0, 8, 5)?;
    let fourth = rig.control.incremental(second)?;
    let changed = rig.control.chunks(second, fourth, 1, 1)?;
    ensure!(
        changed.len() == 256,
        "{} changed since {second}",
        changed.len()
    );
    Ok(())
}

fn release(_: &Env) -> Result<()> {
    let rig = Rig::new(&Spec::mb(1))?;
    let disk = rig.disk()?;
    disk.stamp_all(rig.sectors(), 1)?;
    let id = rig.snapshot()?;
    // Chunks 2 to 8; the parts of 1 and 9 do not count.
    rig.control.release(id, 9, 70)?;
    let message = format!("release {id} 1600 448");
    rig.dm.message(&message)?;
    disk.stamp_all(rig.sectors(), 2)?;
    let preserved = rig.number("preserved_chunks")?;
    ensure!(preserved == 256 - 7 - 56, "{preserved} preserved");
    let mut buffer = Buffer::new(8);
    for chunk in [2, 8, 200, 255] {
        let read = rig.control.read(id, chunk * 8, &mut buffer);
        expect_errno("a released chunk", read, Errno::NODATA)?;
    }
    let view = rig.view("vt-view", id, &[])?;
    let frozen = Disk::open_ro(view.path())?;
    frozen.check(0, &[1; 16])?;
    frozen.check(72, &[1; 1528])?;
    ensure!(
        frozen.read(1600, 8).is_err(),
        "a released chunk in the view"
    );
    // It is for that snapshot alone.
    drop(frozen);
    drop(view);
    rig.snapshot()?;
    disk.stamp_all(rig.sectors(), 3)?;
    ensure!(rig.number("preserved_chunks")? == 256);
    Ok(())
}

fn drop_frees(_: &Env) -> Result<()> {
    let rig = Rig::new(&Spec::mb(1))?;
    let disk = rig.disk()?;
    disk.stamp_all(rig.sectors(), 1)?;
    let id = rig.snapshot()?;
    disk.stamp(0, 800, 2)?;
    ensure!(rig.uses(100)?, "space in use");
    rig.control.drop_snapshot(id)?;
    // Nobody can ask for these contents any more.
    rig.wait_store_empty()?;
    ensure!(rig.number("preserved_chunks")? == 0);
    // What happened is still known.
    ensure!(rig.number("changed_chunks")? == 100);
    Ok(())
}

fn short_chunk(_: &Env) -> Result<()> {
    let rig = Rig::new(&Spec {
        sectors: 3 * 128 + 5,
        chunk: 128,
        ..Spec::mb(1)
    })?;
    let disk = rig.disk()?;
    disk.stamp_all(rig.sectors(), 1)?;
    let id = rig.snapshot()?;
    disk.stamp(rig.sectors() - 1, 1, 2)?;
    ensure!(rig.set_in("snapshot_map")? == [3]);
    let view = rig.view("vt-view", id, &[])?;
    view.check(0, &vec![1; rig.sectors() as usize])?;
    rig.control.release(id, 2 * 128, 128 + 5)?;
    disk.stamp_all(rig.sectors(), 3)?;
    let found = rig.control.chunks(0, id, 4, 4)?;
    ensure!(found == [0, 1, 3], "preserved {found:?}");
    Ok(())
}
