// SPDX-License-Identifier: GPL-2.0

//! What lets a write go is durable before: no record counts before all earlier ones, and a drop, a
//! release or a narrower scope has no effect before its record. A part of the store is held, so
//! that something is not durable; a write that it would let go must wait, and after a power cut at
//! that moment every promise holds.
//!
//! The traps are those of the model's `crash` part with the same names.

#![forbid(unsafe_code)]

use std::thread;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use preserve::uapi::ATTR_CHANGED;
use vmtest::disk::Disk;
use vmtest::rig::Rig;
use vmtest::rig::Spec;

use super::errors::Area;
use super::portrait::snapshots;
use super::slices::Slices;
use super::slices::Write;
use super::slices::WHILE;
use crate::tests::slow;
use crate::tests::test;
use crate::tests::Test;

pub const TESTS: &[Test] = &[
    test("i3_persistent_region_waits_for_earlier_records", |_| {
        region_behind()
    }),
    test("i1_persistent_drop_waits_for_earlier_records", |_| {
        behind_contents(|id| format!("drop {id}"))
    }),
    test("i1_persistent_release_waits_for_earlier_records", |_| {
        behind_contents(|id| format!("release {id} {NEEDED} 8"))
    }),
    test("i1_persistent_snapshot_waits_for_earlier_records", |_| {
        snapshot_behind()
    }),
    test("i1_persistent_drop_takes_effect_when_durable", |_| {
        shrinks(|id| format!("drop {id}"))
    }),
    test("i1_persistent_release_takes_effect_when_durable", |_| {
        shrinks(|id| format!("release {id} {NEEDED} 8"))
    }),
    slow("i1_persistent_scope_narrows_when_durable", 120, |_| {
        narrows(Area::Ring)
    }),
    slow(
        "i1_persistent_scope_narrows_after_its_checkpoint",
        120,
        |_| narrows(Area::Images),
    ),
];

/// Sectors of a region: one record says that something in it may be written.
const REGION: u64 = 8192;
/// Sectors of the device, whose last region nobody needs; nor the first ten chunks.
const SECTORS: u64 = 3 * REGION;
const UNNEEDED: u64 = 2 * REGION;
/// A chunk that the snapshot needs, and a second one.
const NEEDED: u64 = 800;
const OTHER: u64 = 1600;

/// The device, with one stamp everywhere.
fn device() -> Result<Slices> {
    let spec = Spec {
        sectors: SECTORS,
        ..Spec::mb(1)
    };
    let rig = Rig::new(&spec.persistent())?;
    rig.disk()?.stamp_all(SECTORS, 1)?;
    rig.dm.message("unprotect 0 80")?;
    rig.dm.message(&format!("unprotect {UNNEEDED} {REGION}"))?;
    Slices::of(rig)
}

/// The present epoch has a segment, and the first region is announced: the records that are left
/// are those which the test is about.
fn ready(rig: &Rig) -> Result<()> {
    let disk = rig.disk()?;
    disk.stamp(0, 8, 2)?;
    Ok(disk.stamp(80, 8, 2)?)
}

/// With a snapshot, and no checkpoint under way.
fn with_snapshot() -> Result<(Slices, u64)> {
    let slices = device()?;
    let id = slices.rig.snapshot()?;
    thread::sleep(WHILE / 4);
    slices.rig.settle()?;
    ready(&slices.rig)?;
    Ok((slices, id))
}

/// The chunks of a snapshot have the content of its instant.
fn check(rig: &Rig, id: u64, chunks: &[u64]) -> Result<()> {
    ensure!(snapshots(rig)?.contains(&id), "snapshot {id} is not there");
    let view = rig.view("vt-view", id, &[])?;
    let frozen = Disk::open_ro(view.path())?;
    let mut all = chunks.iter();
    all.try_for_each(|start| {
        frozen
            .check(*start, &[1; 8])
            .with_context(|| format!("the frozen chunk at {start}"))
    })
}

/// Trap out-of-order, with a region's record behind one of contents.
fn region_behind() -> Result<()> {
    for cut in [true, false] {
        let (mut slices, id) = with_snapshot()?;
        slices.hold(Area::Contents)?;
        let first = Write::begin(&slices.rig, NEEDED, 3)?;
        first.waits("whose copy is not durable")?;
        let second = Write::begin(&slices.rig, UNNEEDED, 3)?;
        second.waits("though a record before that of its region is not durable")?;
        if !cut {
            slices.let_go(Area::Contents)?;
            first.end()??;
            second.end()??;
            check(&slices.rig, id, &[NEEDED])?;
            continue;
        }
        slices.cut()?;
        ensure!(first.end()?.is_err() && second.end()?.is_err(), "no error");
        slices.restart(slices.rig.store_sectors())?;
        let rig = &slices.rig;
        check(rig, id, &[NEEDED])?;
        let changed = rig.control.chunks(id, 0, ATTR_CHANGED, ATTR_CHANGED)?;
        let written = rig.dm.check(UNNEEDED, &[1; 8]).is_err();
        let counts = changed.contains(&(UNNEEDED / 8));
        ensure!(counts || !written, "a change was missed");
    }
    Ok(())
}

/// Trap out-of-order, with something that shrinks need behind the contents.
fn behind_contents(what: impl Fn(u64) -> String) -> Result<()> {
    let (mut slices, id) = with_snapshot()?;
    slices.hold(Area::Contents)?;
    let first = Write::begin(&slices.rig, OTHER, 3)?;
    first.waits("whose copy is not durable")?;
    slices.message(&what(id))?;
    let second = Write::begin(&slices.rig, NEEDED, 3)?;
    second.waits("that is needed as long as earlier records are not durable")?;
    slices.cut()?;
    ensure!(first.end()?.is_err() && second.end()?.is_err(), "no error");
    slices.end()?;
    slices.restart(slices.rig.store_sectors())?;
    check(&slices.rig, id, &[NEEDED, OTHER, 80])
}

/// Trap out-of-order, with a snapshot behind the contents. It is promised when it returns.
fn snapshot_behind() -> Result<()> {
    let (mut slices, id) = with_snapshot()?;
    slices.hold(Area::Contents)?;
    let first = Write::begin(&slices.rig, OTHER, 3)?;
    first.waits("whose copy is not durable")?;
    slices.message("snapshot keep=8")?;
    slices.cut()?;
    ensure!(first.end()?.is_err(), "no error");
    slices.end()?;
    slices.restart(slices.rig.store_sectors())?;
    check(&slices.rig, id, &[OTHER, 80])
}

/// What shrinks need cannot be logged yet. Traps drop-early-effect and release-early-effect.
fn shrinks(what: impl Fn(u64) -> String) -> Result<()> {
    for cut in [true, false] {
        let (mut slices, id) = with_snapshot()?;
        slices.hold(Area::Ring)?;
        slices.message(&what(id))?;
        let write = Write::begin(&slices.rig, NEEDED, 3)?;
        write.waits(&format!("while {:?} is not durable", what(id)))?;
        if !cut {
            slices.let_go(Area::Ring)?;
            write.end()??;
            slices.finish()?;
            continue;
        }
        slices.cut()?;
        ensure!(write.end()?.is_err(), "no error");
        slices.end()?;
        slices.restart(slices.rig.store_sectors())?;
        check(&slices.rig, id, &[NEEDED, 80])?;
    }
    Ok(())
}

/// An incremental scope has no effect before a checkpoint is durable that has its base's epochs as
/// closed (held: the image), nor before its own record (held: the ring). A chunk outside it is
/// needed until then. Traps narrow-unsaved and narrow-early-effect.
fn narrows(held: Area) -> Result<()> {
    let mut slices = device()?;
    let rig = &slices.rig;
    let base = rig.snapshot()?;
    rig.settle()?;
    // In the scope: changed since the base.
    rig.disk()?.stamp(OTHER, 8, 1)?;
    slices.hold(Area::Images)?;
    let id = rig.control.incremental(base)?;
    thread::sleep(WHILE);
    ready(rig)?;
    rig.disk()?.stamp(OTHER, 8, 3)?;
    if held == Area::Ring {
        slices.hold(Area::Ring)?;
        slices.let_go(Area::Images)?;
        thread::sleep(WHILE);
    }
    let write = Write::begin(rig, NEEDED, 3)?;
    // Where there is room for its copy it may go on.
    thread::sleep(WHILE);
    slices.cut()?;
    // The error, if there is one, is that of the cut.
    let _ = write.end()?;
    slices.restart(slices.rig.store_sectors())?;
    check(&slices.rig, id, &[NEEDED, OTHER])
}
