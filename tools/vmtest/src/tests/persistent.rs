// SPDX-License-Identifier: GPL-2.0

//! Persistent stores: after `dmsetup remove` and `dmsetup create` everything is as it was.

#![forbid(unsafe_code)]

pub mod activation;
pub mod controls;
pub mod crash;
pub mod damage;
pub mod errors;
pub mod failing;
mod faults;
pub mod files;
pub mod flush_origin;
pub mod flush_store;
pub mod foreign;
pub mod full_disk;
pub mod full_log;
pub mod growth;
pub mod io_counts;
mod keeper;
pub mod last_snapshot;
mod ledger;
pub mod losing;
pub mod many_epochs;
pub mod offline;
pub mod on_error;
pub mod order;
mod portrait;
pub mod powercut;
pub mod recovery;
pub mod replay;
pub mod shown;
mod slices;
pub mod snapshot_flush;
pub mod space;
pub mod strange;
pub mod trust;
mod world;
mod writer;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use preserve::uapi::Range;
use preserve::uapi::ATTR_PRESERVED;
use rustix::io::Errno;
use vmtest::cmd;
use vmtest::disk::expect_errno;
use vmtest::disk::Disk;
use vmtest::kmsg::Kmsg;
use vmtest::rig::Rig;
use vmtest::rig::Spec;

use super::test;
use super::Test;
use crate::runner;
use crate::Env;
use portrait::Portrait;

pub const TESTS: &[Test] = &[
    test("persistent_everything_is_there_again", everything),
    test("persistent_views_show_the_same_again", views),
    test("persistent_survives_rmmod", rmmod),
    test("persistent_suspend_closes_and_resume_opens", suspended),
    test(
        "i1_i3_persistent_nothing_is_changed_while_suspended",
        refused_while_suspended,
    ),
    test("persistent_scopes_narrow_with_a_checkpoint", narrows),
    test("persistent_checkpoint_leaves_nothing_to_replay", checkpoint),
    test("persistent_reset_and_default_protection_stay", designation),
];

/// A device of 1 MiB with one stamp everywhere.
fn rig(args: &[&str]) -> Result<(Rig, Disk)> {
    let rig = Rig::new(
        &Spec {
            args,
            ..Spec::mb(1)
        }
        .persistent(),
    )?;
    let disk = rig.disk()?;
    disk.stamp_all(rig.sectors(), 1)?;
    Ok((rig, disk))
}

/// Something of everything that a store has to keep.
fn history(rig: &Rig, disk: &Disk) -> Result<()> {
    let keep = |base| rig.control.snapshot_keeping(base, 8);
    let edit = |protect, start, len| rig.control.edit(protect, &[Range { start, len }]);
    edit(false, 1600, 80)?;
    let first = keep(None)?;
    disk.stamp(0, 84, 2)?;
    disk.stamp(1590, 30, 2)?;
    edit(true, 1600, 24)?;
    let second = keep(None)?;
    rig.control.release(second, 400, 160)?;
    disk.stamp(40, 84, 3)?;
    disk.stamp(400, 88, 3)?;
    // A chunk that cannot be read.
    let size = rig.sectors();
    let path = rig.origin_disk().to_string();
    rig.origin.swap(&format!("0 {size} dust {path} 0 512"))?;
    rig.origin.message("addbadblock 1000")?;
    rig.origin.message("enable")?;
    disk.stamp(1000, 8, 3)?;
    rig.origin.swap(&format!("0 {size} linear {path} 0"))?;
    let third = keep(Some(first))?;
    disk.stamp(0, 8, 4)?;
    rig.control.drop_snapshot(second)?;
    let fourth = keep(Some(second))?;
    rig.settle()?;
    disk.stamp(0, 400, 5)?;
    rig.control.drop_snapshot(third)?;
    rig.control.forget(second)?;
    edit(false, 0, 80)?;
    disk.discard(1200, 80)?;
    disk.zero(1300, 40)?;
    ensure!(
        portrait::snapshots(rig)? == [first, fourth],
        "live snapshots"
    );
    Ok(())
}

/// The store is closed then: what was logged would not be replayed. Every control is refused, and
/// after a power cut nothing is missing.
fn refused_while_suspended(_: &Env) -> Result<()> {
    let (mut rig, disk) = rig(&[])?;
    let first = rig.control.snapshot_keeping(None, 8)?;
    disk.stamp(0, 80, 2)?;
    let second = rig.control.snapshot_keeping(None, 8)?;
    rig.dm.suspend()?;
    for message in [
        &format!("drop {first}"),
        &format!("forget {first}"),
        &format!("release {first} 800 8"),
        "unprotect 0 800",
        "snapshot keep=8",
        "checkpoint",
        "grow",
        "trust",
    ] {
        ensure!(!rig.dm.try_message(message)?.ok, "{message} was accepted");
    }
    expect_errno("a snapshot", rig.control.snapshot(), Errno::NODEV)?;
    expect_errno("a drop", rig.control.drop_snapshot(first), Errno::NODEV)?;
    rig.dm.resume()?;
    ensure!(portrait::snapshots(&rig)? == [first, second], "snapshots");
    disk.stamp(400, 80, 3)?;
    let before = Portrait::of(&rig)?;
    drop(disk);
    rig.cut(true)?;
    rig.close()?;
    rig.mend()?;
    rig.open()?;
    before.compare(&Portrait::of(&rig)?)
}

/// Removes the device and creates it again; nothing was left to replay.
fn reopen_cleanly(rig: &mut Rig) -> Result<()> {
    let mut kernel = Kmsg::now()?;
    rig.reopen()?;
    said_nothing(&mut kernel)
}

/// Fails when the kernel has said that something was replayed or lost.
pub fn said_nothing(kernel: &mut Kmsg) -> Result<()> {
    let lines = kernel.lines()?;
    let loud = ["replayed", "lost", "LOST", "FAILED", "DAMAGED"];
    let found = lines
        .iter()
        .find(|line| loud.iter().any(|word| line.contains(word)));
    ensure!(found.is_none(), "the kernel said {found:?}");
    Ok(())
}

fn everything(_: &Env) -> Result<()> {
    let (mut rig, disk) = rig(&[])?;
    history(&rig, &disk)?;
    let before = Portrait::of(&rig)?;
    let now = disk.read(0, rig.sectors())?;
    drop(disk);
    for round in 0..3 {
        reopen_cleanly(&mut rig)?;
        let context = || format!("after removal {round}");
        before.compare(&Portrait::of(&rig)?).with_context(context)?;
    }
    // And it goes on from there.
    let disk = rig.disk()?;
    ensure!(disk.read(0, rig.sectors())?[..] == now[..], "the live data");
    disk.stamp_all(rig.sectors(), 6)?;
    let overwritten = Portrait::of(&rig)?;
    drop(disk);
    reopen_cleanly(&mut rig)?;
    overwritten.compare(&Portrait::of(&rig)?)?;
    let latest = rig.control.info()?.latest;
    let id = rig.control.snapshot_keeping(None, 8)?;
    ensure!(id == latest + 1, "id {id} after {latest}");
    let disk = rig.disk()?;
    disk.stamp_all(rig.sectors(), 7)?;
    let view = rig.view("vt-view", id, &[])?;
    // All but what is unprotected.
    view.check(80, &[6; 1500])
}

fn views(_: &Env) -> Result<()> {
    let (mut rig, disk) = rig(&[])?;
    let mut ids = Vec::new();
    for n in 0..4 {
        ids.push(rig.control.snapshot_keeping(None, 4)?);
        disk.stamp(n * 100, 300, 2 + n)?;
    }
    let shown = |rig: &Rig| -> Result<Vec<Vec<u8>>> {
        let all = ids.iter().map(|id| {
            let view = rig.view("vt-view", *id, &[])?;
            let disk = Disk::open_ro(view.path())?;
            Ok(disk.read(0, rig.sectors())?.to_vec())
        });
        all.collect()
    };
    let before = shown(&rig)?;
    drop(disk);
    reopen_cleanly(&mut rig)?;
    ensure!(shown(&rig)? == before, "a view shows something else");
    rig.disk()?.stamp_all(rig.sectors(), 9)?;
    ensure!(shown(&rig)? == before, "after everything was overwritten");
    reopen_cleanly(&mut rig)?;
    ensure!(shown(&rig)? == before, "after the second removal");
    Ok(())
}

fn rmmod(_: &Env) -> Result<()> {
    let (mut rig, disk) = rig(&[])?;
    history(&rig, &disk)?;
    let before = Portrait::of(&rig)?;
    drop(disk);
    rig.close()?;
    // Its own handle of the control device keeps the module.
    rig.forget_control()?;
    let gone = cmd::wait_until("the module can go", super::lifecycle::LIMIT, || {
        Ok(cmd::output("rmmod", &["dm_preserve"], "")?.ok)
    });
    runner::load_module()?;
    gone?;
    rig.open()?;
    before.compare(&Portrait::of(&rig)?)
}

fn suspended(_: &Env) -> Result<()> {
    let (mut rig, disk) = rig(&[])?;
    history(&rig, &disk)?;
    let before = Portrait::of(&rig)?;
    let mut kernel = Kmsg::now()?;
    for _ in 0..3 {
        rig.dm.suspend()?;
        rig.dm.resume()?;
        before.compare(&Portrait::of(&rig)?)?;
        rig.dm.suspend_noflush()?;
        rig.dm.resume()?;
    }
    said_nothing(&mut kernel)?;
    disk.stamp(1700, 8, 8)?;
    let before = Portrait::of(&rig)?;
    // A crash of a suspended device is none: it was closed.
    rig.dm.suspend()?;
    drop(disk);
    rig.cut(false)?;
    rig.close()?;
    rig.mend()?;
    let mut kernel = Kmsg::now()?;
    rig.open()?;
    said_nothing(&mut kernel)?;
    before.compare(&Portrait::of(&rig)?)
}

/// Preserved are only chunks that changed since the base, from the checkpoint on, and after
/// removals and crashes.
fn narrows(_: &Env) -> Result<()> {
    let (mut rig, disk) = rig(&[])?;
    let base = rig.snapshot()?;
    disk.stamp(80, 80, 2)?;
    let id = rig.control.incremental(base)?;
    // In any case nothing that is in its scope may be lost before.
    disk.stamp(80, 16, 3)?;
    rig.settle()?;
    let early = rig.control.chunks(0, id, ATTR_PRESERVED, ATTR_PRESERVED)?;
    ensure!(early == [10, 11], "{early:?}");
    let preserved = |rig: &Rig, wanted: std::ops::Range<u64>| {
        let found = rig.control.chunks(0, id, ATTR_PRESERVED, ATTR_PRESERVED)?;
        ensure!(found == wanted.collect::<Vec<_>>(), "preserved {found:?}");
        Ok(())
    };
    disk.stamp(0, 88, 4)?;
    disk.stamp(96, 8, 4)?;
    preserved(&rig, 10..13)?;
    drop(disk);
    reopen_cleanly(&mut rig)?;
    rig.disk()?.stamp(104, 8, 5)?;
    rig.disk()?.stamp(800, 80, 5)?;
    preserved(&rig, 10..14)?;
    rig.cut(true)?;
    rig.close()?;
    rig.mend()?;
    rig.open()?;
    preserved(&rig, 10..14)?;
    rig.disk()?.stamp_all(rig.sectors(), 6)?;
    preserved(&rig, 10..20)
}

fn checkpoint(_: &Env) -> Result<()> {
    let (mut rig, disk) = rig(&[])?;
    history(&rig, &disk)?;
    rig.dm.message("checkpoint")?;
    let before = Portrait::of(&rig)?;
    drop(disk);
    let mut kernel = Kmsg::now()?;
    rig.cut(false)?;
    rig.close()?;
    rig.mend()?;
    kernel.lines()?;
    rig.open()?;
    said_nothing(&mut kernel)?;
    before.compare(&Portrait::of(&rig)?)
}

fn designation(_: &Env) -> Result<()> {
    let (mut rig, disk) = rig(&["default=unprotected", "reset_protection"])?;
    drop(disk);
    rig.control.edit(true, &[Range { start: 80, len: 80 }])?;
    reopen_cleanly(&mut rig)?;
    let protected = |rig: &Rig| rig.set_in("protection_map");
    ensure!(protected(&rig)? == (10..20).collect::<Vec<_>>(), "before");
    rig.snapshot()?;
    ensure!(protected(&rig)?.is_empty(), "reset by the snapshot");
    let before = Portrait::of(&rig)?;
    reopen_cleanly(&mut rig)?;
    before.compare(&Portrait::of(&rig)?)
}
