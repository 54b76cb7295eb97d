// SPDX-License-Identifier: GPL-2.0

//! A store that cannot be read while it is recovered: the table is refused, or what cannot be read
//! is not needed; nothing is written, and when it can be read again everything is there. And one
//! that cannot be written behind a replay.

#![forbid(unsafe_code)]

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use preserve::uapi::STATE_BLOCKED;
use rustix::io::Errno;
use vmtest::disk::expect_errno;
use vmtest::disk::Buffer;
use vmtest::disk::Disk;
use vmtest::kmsg::Kmsg;
use vmtest::rig::Rig;
use vmtest::rig::Spec;

use super::errors;
use super::errors::Area;
use super::on_error;
use super::portrait::Portrait;
use super::said_nothing;
use crate::tests::bad_table::refused;
use crate::tests::bad_table::said;
use crate::tests::slow;
use crate::tests::test;
use crate::tests::Test;
use crate::Env;

pub const TESTS: &[Test] = &[
    test("i1_persistent_recovery_cannot_read_the_log", |_| {
        cannot_read(Area::Ring, &[true])
    }),
    test(
        "i1_persistent_recovery_needs_no_log_of_a_closed_store",
        |_| comes_up(Area::Ring, false),
    ),
    test("i1_persistent_recovery_cannot_read_the_image", |_| {
        cannot_read(Area::Active, &[false, true])
    }),
    test("i1_persistent_recovery_cannot_read_contents", |_| {
        cannot_read(Area::Contents, &[true])
    }),
    test("i1_persistent_recovery_cannot_read_superblocks", |_| {
        cannot_read(Area::Superblocks, &[false, true])
    }),
    slow("i1_persistent_recovery_reads_what_it_needs", 180, |_| {
        unneeded()
    }),
    test("i1_persistent_contents_cannot_be_read_for_a_time", contents),
    test("i4_persistent_replay_whose_image_cannot_be_written", |_| {
        image_behind_replay()
    }),
    test("i4_persistent_replay_whose_superblocks_fail", superblocks),
    test("i1_persistent_replay_on_error_block_keeps", |_| keeps()),
];

/// Sectors of the store, all of which are compared.
const STORE: u64 = 16 << 11;

/// A device that is gone, after a clean shutdown or with something to replay, and what it showed.
fn gone(is_cut: bool) -> Result<(Rig, Portrait)> {
    let rig = Rig::with_store(&Spec::mb(1).persistent(), STORE)?;
    let (mut rig, disk) = errors::prepared(rig)?;
    disk.stamp(300, 84, 7)?;
    let before = Portrait::of(&rig)?;
    drop(disk);
    if is_cut {
        rig.cut(true)?;
    }
    rig.close()?;
    rig.mend()?;
    Ok((rig, before))
}

/// All of the store, as it is on the disk.
fn whole(rig: &Rig) -> Result<Buffer> {
    Ok(Disk::open_ro(rig.store_disk())?.read(0, STORE)?)
}

/// The device is there, and shows what it showed.
fn all_there(mut rig: Rig, before: &Portrait) -> Result<()> {
    rig.mend()?;
    rig.open()?;
    before.compare(&Portrait::of(&rig)?)?;
    rig.reopen()?;
    before.compare(&Portrait::of(&rig)?)
}

/// Part of the store cannot be read; each time after a power cut or not.
fn cannot_read(area: Area, cut: &[bool]) -> Result<()> {
    for is_cut in cut {
        let (rig, before) = gone(*is_cut)?;
        let store = whole(&rig)?;
        area.hide_it(&rig)?;
        let table = rig.table(rig.sectors(), &[]);
        refused(&table, "the store cannot be read", false)
            .with_context(|| format!("cut: {is_cut}"))?;
        ensure!(whole(&rig)?[..] == store[..], "the store has changed");
        all_there(rig, &before)?;
    }
    Ok(())
}

/// One superblock, and the image that does not count.
fn unneeded() -> Result<()> {
    for area in [Area::First, Area::Second, Area::Idle] {
        for is_cut in [false, true] {
            comes_up(area, is_cut)?;
        }
    }
    Ok(())
}

/// Part of the store cannot be read, and is not needed.
fn comes_up(area: Area, is_cut: bool) -> Result<()> {
    let (mut rig, before) = gone(is_cut)?;
    area.hide_it(&rig)?;
    rig.open()?;
    before.compare(&Portrait::of(&rig)?)?;
    rig.close()?;
    all_there(rig, &before)
}

/// Behind a clean shutdown nobody looks at contents, but in the segment that was filled last; until
/// the others can be read, reads of them fail, and no more. They are those of the first snapshot's
/// epoch.
fn contents(_: &Env) -> Result<()> {
    let (mut rig, before) = gone(false)?;
    Area::Segment.hide_it(&rig)?;
    let mut kernel = Kmsg::now()?;
    rig.open()?;
    said_nothing(&mut kernel)?;
    let latest = rig.control.info()?.latest;
    let read = |id, sector| rig.control.read(id, sector, &mut Buffer::new(8));
    expect_errno("a content", read(latest - 1, 160), Errno::IO)?;
    read(latest - 1, 800)?;
    read(latest - 1, 304)?;
    read(latest, 304)?;
    rig.dm.check(300, &[7; 84])?;
    ensure!(rig.sysfs("state")? == "active", "the state");
    rig.mend_store()?;
    before.compare(&Portrait::of(&rig)?)?;
    rig.close()?;
    all_there(rig, &before)
}

/// What was replayed cannot be saved, as a part of the store cannot be written: how it is when that
/// can be written again.
fn fails_behind_replay(area: Area, words: &str) -> Result<(Rig, Portrait, Kmsg)> {
    let (mut rig, before) = gone(true)?;
    area.break_it(&rig)?;
    let mut kernel = Kmsg::now()?;
    rig.open()?;
    said(&mut kernel, words)?;
    let disk = rig.disk()?;
    errors::has_failed(&rig, &disk, 0)?;
    drop(disk);
    rig.close()?;
    rig.mend()?;
    rig.open()?;
    Ok((rig, before, kernel))
}

/// That is said in a superblock.
fn image_behind_replay() -> Result<()> {
    let (mut rig, before, mut kernel) = fails_behind_replay(Area::Images, "THE STORE FAILED")?;
    said(&mut kernel, "failed in an earlier session")?;
    errors::begins_anew(&mut rig, before.generation())
}

/// Not even that can be said.
fn superblocks(_: &Env) -> Result<()> {
    let words = "do not use its content again";
    let (mut rig, before, mut kernel) = fails_behind_replay(Area::Superblocks, words)?;
    said(&mut kernel, "failed in an earlier session")?;
    errors::begins_anew(&mut rig, before.generation())?;
    let disk = rig.disk()?;
    disk.check(0, &vec![4; rig.sectors() as usize])?;
    disk.stamp_all(rig.sectors(), 5)?;
    disk.check(0, &vec![5; rig.sectors() as usize])
}

/// With `on_error=block` no write passes meanwhile, and the log can be replayed again.
fn keeps() -> Result<()> {
    let (mut rig, disk) = on_error::rig_of(Spec::mb(1))?;
    disk.stamp(1200, 8, 3)?;
    disk.stamp(1600, 80, 3)?;
    let before = Portrait::of(&rig)?;
    drop(disk);
    rig.cut(false)?;
    rig.close()?;
    rig.mend()?;
    Area::Superblocks.break_it(&rig)?;
    rig.open()?;
    ensure!(rig.control.info()?.state == STATE_BLOCKED, "the state");
    rig.close()?;
    all_there(rig, &before)
}
