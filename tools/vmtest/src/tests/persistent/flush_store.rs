// SPDX-License-Identifier: GPL-2.0

//! A persistent store that can be read and written, but not flushed. Only checkpoints flush it:
//! records go to the disk with FUA.

#![forbid(unsafe_code)]

use std::thread;

use anyhow::anyhow;
use anyhow::ensure;
use anyhow::Result;
use preserve::uapi::Info;
use vmtest::disk::Disk;
use vmtest::kmsg::Kmsg;
use vmtest::rig::Rig;
use vmtest::rig::Spec;

use super::errors;
use super::errors::Area;
use super::faults;
use super::faults::Part;
use super::on_error;
use super::portrait::Portrait;
use crate::tests::bad_table::said;
use crate::tests::test;
use crate::tests::Test;
use crate::Env;

pub const TESTS: &[Test] = &[
    test("i4_persistent_store_that_cannot_be_flushed", |_| never()),
    test("i4_persistent_image_that_cannot_be_flushed", image),
    test("i4_persistent_superblock_that_cannot_be_flushed", |_| {
        superblock()
    }),
    test(
        "i4_persistent_on_error_block_until_flushes_pass",
        on_error_block,
    ),
    test("i1_persistent_last_checkpoint_cannot_be_flushed", closing),
    test("i4_persistent_first_superblock_cannot_be_flushed", opening),
];

/// Said when not even a superblock is known to be written.
const NOT_WRITTEN: &str = "do not use its content again";

fn rig() -> Result<(Rig, Disk)> {
    errors::rig_of(&Spec::mb(1).persistent().cached())
}

/// Flushes of the store fail from now on.
fn break_flushes(rig: &Rig) -> Result<()> {
    let table = faults::no_flushes(rig.store_disk(), rig.store_sectors());
    rig.store.swap(&table)
}

fn checkpoint_fails(rig: &Rig) -> Result<()> {
    ensure!(!rig.dm.try_message("checkpoint")?.ok, "a checkpoint");
    Ok(())
}

/// The kernel has said that the store failed, and whether that could be written to it.
fn told(kernel: &mut Kmsg, written: bool) -> Result<()> {
    let lines = kernel.lines()?;
    let heard = |words: &str| lines.iter().any(|line| line.contains(words));
    ensure!(heard("THE STORE FAILED"), "the kernel said {lines:?}");
    ensure!(heard(NOT_WRITTEN) != written, "the kernel said {lines:?}");
    Ok(())
}

/// The store has failed. When it is there again nothing in it is used: whatever the flush did, a
/// superblock says so.
fn ends(mut rig: Rig, disk: Disk, before: &Info) -> Result<()> {
    errors::has_failed(&rig, &disk, before.event)?;
    drop(disk);
    rig.close()?;
    rig.mend()?;
    let mut kernel = Kmsg::now()?;
    rig.open()?;
    said(&mut kernel, "failed in an earlier session")?;
    errors::begins_anew(&mut rig, before.generation)
}

fn never() -> Result<()> {
    let (rig, disk) = rig()?;
    let before = rig.control.info()?;
    break_flushes(&rig)?;
    faults::only_flushes_fail(&rig.store)?;
    // Nothing but a checkpoint notices.
    disk.stamp(800, 80, 3)?;
    rig.control.snapshot_keeping(None, 4)?;
    let mut kernel = Kmsg::now()?;
    checkpoint_fails(&rig)?;
    told(&mut kernel, false)?;
    ends(rig, disk, &before)
}

/// A checkpoint begins with this table for the store, and when the store was flushed, or that
/// failed, another one follows.
fn swaps(rig: &Rig, table: &str, then: impl FnOnce() -> Result<()>) -> Result<()> {
    rig.store.swap(table)?;
    let flushes = faults::flushes(rig.store_disk())?;
    thread::scope(|scope| {
        let checkpoint = scope.spawn(|| checkpoint_fails(rig));
        let swapped = faults::flushed(rig.store_disk(), flushes).and_then(|()| then());
        let failed = checkpoint.join().map_err(|_| anyhow!("a thread died"))?;
        swapped.and(failed)
    })
}

/// A table for the store: writes of superblocks wait, and a part may fail flushes.
fn held(rig: &Rig, flush: &Part) -> Result<String> {
    let (path, size) = (rig.store_disk(), rig.store_sectors());
    let superblocks = (Area::Superblocks.of(rig)?, faults::slow(path, 0));
    let parts = [superblocks, flush.target()];
    Ok(faults::with_parts(path, size, &parts))
}

/// The flush of the image fails, and no other: no superblock leads to what may not be there.
fn image(_: &Env) -> Result<()> {
    let (rig, disk) = rig()?;
    let before = rig.control.info()?;
    let flush = Part::new(rig.store_disk(), faults::behind(rig.store_sectors()))?;
    let superblocks = Disk::open_ro(rig.store_disk())?.read(0, 16)?;
    flush.fail()?;
    let mut kernel = Kmsg::now()?;
    swaps(&rig, &held(&rig, &flush)?, || {
        let now = Disk::open_ro(rig.store_disk())?.read(0, 16)?;
        ensure!(now[..] == superblocks[..], "a superblock was written");
        // Now that waits which says so.
        flush.mend()?;
        rig.mend_store()
    })?;
    told(&mut kernel, true)?;
    ends(rig, disk, &before)
}

/// The image is flushed; behind the first superblock no flush passes.
fn superblock() -> Result<()> {
    let (rig, disk) = rig()?;
    let before = rig.control.info()?;
    let flush = Part::new(rig.store_disk(), faults::behind(rig.store_sectors()))?;
    let mut kernel = Kmsg::now()?;
    swaps(&rig, &held(&rig, &flush)?, || {
        flush.fail()?;
        break_flushes(&rig)
    })?;
    told(&mut kernel, false)?;
    ends(rig, disk, &before)
}

/// A superblock that was not flushed is none: writes wait until one is.
fn on_error_block(_: &Env) -> Result<()> {
    for sector in on_error::CHUNKS {
        let (mut rig, disk) = on_error::rig_of(Spec::mb(1).cached())?;
        let before = rig.control.info()?;
        break_flushes(&rig)?;
        checkpoint_fails(&rig)?;
        on_error::waits(&rig, &disk, sector, || rig.mend_store())?;
        on_error::has_failed(&rig, before.event)?;
        disk.check(sector, &[7; 8])?;
        drop(disk);
        let mut kernel = Kmsg::now()?;
        rig.reopen()?;
        said(&mut kernel, "failed in an earlier session")?;
    }
    Ok(())
}

/// The last checkpoint's flush.
fn closing(_: &Env) -> Result<()> {
    let (rig, disk) = rig()?;
    disk.stamp(300, 84, 7)?;
    let before = Portrait::of(&rig)?;
    drop(disk);
    break_flushes(&rig)?;
    errors::log_has_it(rig, &mut Kmsg::now()?, &before)
}

/// The image is exact, but that a session begins cannot be made sure.
fn opening(_: &Env) -> Result<()> {
    let (mut rig, disk) = rig()?;
    let before = rig.control.info()?;
    drop(disk);
    rig.close()?;
    break_flushes(&rig)?;
    let mut kernel = Kmsg::now()?;
    rig.open()?;
    told(&mut kernel, false)?;
    let disk = rig.disk()?;
    // A session's events are its own.
    ends(rig, disk, &Info { event: 0, ..before })
}
