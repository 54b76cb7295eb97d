// SPDX-License-Identifier: GPL-2.0

//! A full store with `on_full=invalidate`: the snapshot goes, the writes go on.

#![forbid(unsafe_code)]

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use preserve::uapi::Range;
use preserve::uapi::EVENT_INVALID;
use rustix::io::Errno;
use vmtest::disk::expect_errno;
use vmtest::disk::Buffer;
use vmtest::disk::Disk;
use vmtest::kmsg::Kmsg;
use vmtest::rig::Rig;
use vmtest::rig::Spec;

use super::bad_table::said;
use super::test;
use super::Test;
use crate::Env;

pub const TESTS: &[Test] = &[
    test("i4_full_store_at_the_first_step", |_| full_at(1, 1)),
    test("i4_full_store_at_a_middle_step", |_| full_at(20, 20)),
    test("i4_full_store_at_the_last_step", |_| full_at(63, 63)),
    test("i4_full_store_within_one_large_write", |_| one_write()),
    test("a_store_that_is_just_large_enough_does", just_enough),
    test("i3_changes_are_tracked_after_a_full_store", tracking),
];

const SECTORS: u64 = 512;

/// A device of 64 chunks with a store of some chunks.
fn rig(store: u64) -> Result<(Rig, Disk, u64)> {
    let rig = Rig::new(&Spec {
        sectors: SECTORS,
        store: store * 8,
        ..Spec::mb(1)
    })?;
    let disk = rig.disk()?;
    disk.stamp_all(SECTORS, 1)?;
    let id = rig.snapshot()?;
    Ok((rig, disk, id))
}

/// The store takes `room` chunks; the snapshot is there up to write number `room`, and no longer.
fn full_at(store: u64, room: u64) -> Result<()> {
    let (rig, disk, id) = rig(store)?;
    let view = rig.view("vt-view", id, &[])?;
    let frozen = Disk::open_ro(view.path())?;
    let seen = rig.control.info()?.event;
    let mut kernel = Kmsg::now()?;
    for chunk in 0..64 {
        let info = rig.control.info()?;
        if chunk <= room {
            ensure!(
                (info.snapshots, info.invalidated) == (1, 0),
                "before write {chunk}: {info:?}"
            );
        } else {
            ensure!(
                (info.snapshots, info.invalidated) == (0, 1),
                "before write {chunk}: {info:?}"
            );
            ensure!(info.state == preserve::uapi::STATE_ACTIVE, "{info:?}");
        }
        if chunk == room {
            frozen.check(0, &[1; SECTORS as usize])?;
        }
        disk.stamp(chunk * 8, 8, 2)
            .with_context(|| format!("the write of chunk {chunk}"))?;
    }
    disk.check(0, &[2; SECTORS as usize])?;
    said(&mut kernel, "full")?;
    let (_, kinds) = rig.control.wait(seen, 1000)?;
    ensure!(kinds & EVENT_INVALID != 0, "kinds {kinds}");
    expect_errno("the view", frozen.read(0, 8), Errno::IO)?;
    expect_errno("the view", frozen.read(SECTORS - 8, 8), Errno::IO)?;
    let read = rig.control.read(id, 0, &mut Buffer::new(8));
    expect_errno("the ioctl", read, Errno::NOENT)?;
    // Its space is there for the next one.
    drop(frozen);
    drop(view);
    let next = rig.snapshot()?;
    rig.wait_store_empty()?;
    disk.stamp(0, 8, 3)?;
    let view = rig.view("vt-view", next, &[])?;
    view.check(0, &[2; SECTORS as usize])
}

fn one_write() -> Result<()> {
    let (rig, disk, _) = rig(24)?;
    disk.stamp(0, SECTORS, 2)?;
    disk.check(0, &[2; SECTORS as usize])?;
    let info = rig.control.info()?;
    ensure!((info.snapshots, info.invalidated) == (0, 1), "{info:?}");
    Ok(())
}

fn just_enough(_: &Env) -> Result<()> {
    // As many as there are, and the store's last, incomplete chunk is no chunk.
    let rig = Rig::new(&Spec {
        sectors: SECTORS,
        store: 64 * 8 + 7,
        ..Spec::mb(1)
    })?;
    let disk = rig.disk()?;
    disk.stamp_all(SECTORS, 1)?;
    ensure!(rig.number("store_sectors")? == SECTORS, "the store's size");
    for round in 1..4 {
        let id = rig.snapshot()?;
        disk.stamp(0, SECTORS, round + 1)?;
        let info = rig.control.info()?;
        ensure!(
            (info.preserved_chunks, info.invalidated) == (64, 0),
            "{info:?}"
        );
        let view = rig.view("vt-view", id, &[])?;
        view.check(0, &[round; SECTORS as usize])?;
    }
    // Nor is a release forgotten.
    let id = rig.snapshot()?;
    rig.control.release(id, 0, 256)?;
    rig.control.edit(false, &[Range { start: 0, len: 8 }])?;
    disk.stamp(0, SECTORS, 9)?;
    ensure!(rig.number("preserved_chunks")? == 32);
    Ok(())
}

fn tracking(_: &Env) -> Result<()> {
    let (rig, disk, base) = rig(2)?;
    for chunk in [3, 5, 7, 9, 11] {
        disk.stamp(chunk * 8, 8, 2)?;
    }
    ensure!(rig.control.info()?.snapshots == 0);
    // The snapshot's place is a bookmark, from which the next backup can start.
    let next = rig.control.incremental(base)?;
    let found = rig.control.chunks(base, next, 1, 1)?;
    ensure!(found == [3, 5, 7, 9, 11], "changed {found:?}");
    ensure!(rig.set_in("backup_map")? == found);
    Ok(())
}
