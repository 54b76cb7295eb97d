// SPDX-License-Identifier: GPL-2.0

//! Stores that do not fit, were changed behind our back, or are damaged: each has its own words,
//! and none does harm.

#![forbid(unsafe_code)]

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use vmtest::disk::Buffer;
use vmtest::disk::Disk;
use vmtest::dm::Dm;
use vmtest::kmsg::Kmsg;
use vmtest::live;
use vmtest::live::Kind;
use vmtest::rig::Rig;
use vmtest::rig::Spec;

use super::portrait::points;
use super::portrait::Portrait;
use crate::tests::bad_table::refused;
use crate::tests::bad_table::said;
use crate::tests::test;
use crate::tests::Test;
use crate::Env;

pub const TESTS: &[Test] = &[
    test("i8_persistent_stores_that_do_not_fit_are_refused", misfits),
    test("i8_persistent_foreign_data_is_not_overwritten", foreign),
    test(
        "i8_persistent_one_damaged_superblock_is_no_loss",
        superblock,
    ),
    test("i8_persistent_damaged_checkpoint_is_refused", image),
    test("i3_persistent_origin_written_behind_our_back", behind),
    test(
        "i3_persistent_origin_written_between_load_and_resume",
        between,
    ),
    test("persistent_larger_store_and_larger_origin", larger),
];

fn rig() -> Result<Rig> {
    let rig = Rig::new(&Spec::mb(2).persistent())?;
    let disk = rig.disk()?;
    disk.stamp_all(rig.sectors(), 1)?;
    rig.control.snapshot_keeping(None, 4)?;
    disk.stamp(160, 80, 2)?;
    rig.control.snapshot_keeping(None, 4)?;
    disk.stamp(200, 80, 3)?;
    Ok(rig)
}

fn line(rig: &Rig, kind: Kind, sectors: u64, chunk: u64) -> String {
    let (origin, store) = (rig.origin.path(), rig.store.path());
    live::table(kind, sectors, origin, store, chunk, &[])
}

fn misfits(_: &Env) -> Result<()> {
    let mut rig = rig()?;
    let before = Portrait::of(&rig)?;
    // While it exists.
    let mut kernel = Kmsg::now()?;
    let table = line(&rig, Kind::Transient, 4096, 8);
    ensure!(rig.dm.load(&table).is_err(), "transient by a reload");
    said(&mut kernel, "transient cannot be added or taken away")?;
    rig.close()?;
    let disk = Disk::open_ro(rig.store_disk())?;
    let store = disk.read(0, 1024)?;
    let persistent = |sectors, chunk| line(&rig, Kind::Persistent, sectors, chunk);
    refused(&persistent(4096, 16), "another chunk size", false)?;
    refused(&persistent(4088, 8), "belongs to a larger device", false)?;
    let transient = line(&rig, Kind::Transient, 4096, 8);
    refused(&transient, "holds persistent snapshots", false)?;
    let path = rig.store_disk();
    rig.store.swap(&format!("0 8192 linear {path} 0"))?;
    refused(&persistent(4096, 8), "smaller than it was", false)?;
    rig.store.swap(&format!("0 1024 linear {path} 0"))?;
    refused(&persistent(4096, 8), "smaller than it was", false)?;
    rig.mend_store()?;
    // None of them has changed anything.
    ensure!(
        disk.read(0, 1024)?[..] == store[..],
        "the store has changed"
    );
    drop(disk);
    rig.open()?;
    before.compare(&Portrait::of(&rig)?)
}

/// Changes one byte of the store.
fn damage(rig: &Rig, sector: u64, byte: usize) -> Result<()> {
    let disk = Disk::open(rig.store_disk())?;
    let mut found = disk.read(sector, 8)?;
    found[byte] ^= 0x10;
    Ok(disk.write(sector, &found)?)
}

fn foreign(_: &Env) -> Result<()> {
    let mut rig = rig()?;
    rig.close()?;
    let disk = Disk::open(rig.store_disk())?;
    for block in [0, 8] {
        let kept = disk.read(block, 8)?;
        disk.stamp(block, 8, 77)?;
        let other = disk.read(8 - block, 8)?;
        // One that is ours beside a block that is not: it was ours.
        disk.write(8 - block, &Buffer::new(8))?;
        let table = line(&rig, Kind::Persistent, 4096, 8);
        refused(&table, "holds something else", false)?;
        disk.check(block, &[77; 8])?;
        disk.write(block, &kept)?;
        disk.write(8 - block, &other)?;
    }
    disk.stamp(0, 16, 78)?;
    let table = line(&rig, Kind::Persistent, 4096, 8);
    refused(&table, "holds something else", false)?;
    disk.check(0, &[78; 16])?;
    // A transient one takes it; a persistent one only when it is wiped.
    drop(Dm::create("vt-bad", &line(&rig, Kind::Transient, 4096, 8))?);
    disk.write(0, &Buffer::new(16))?;
    drop(disk);
    rig.open()?;
    ensure!(points(&rig)?.is_empty(), "snapshots in a wiped store");
    rig.snapshot()?;
    rig.reopen()?;
    ensure!(points(&rig)?.len() == 1, "the first snapshot");
    Ok(())
}

fn superblock(_: &Env) -> Result<()> {
    let mut rig = rig()?;
    let before = Portrait::of(&rig)?;
    for block in [0, 8] {
        rig.close()?;
        damage(&rig, block, 100)?;
        rig.open()?;
        before.compare(&Portrait::of(&rig)?)?;
    }
    rig.close()?;
    damage(&rig, 0, 300)?;
    damage(&rig, 8, 300)?;
    let table = line(&rig, Kind::Persistent, 4096, 8);
    refused(&table, "both superblocks of the store are damaged", false)?;
    damage(&rig, 8, 300)?;
    rig.open()?;
    before.compare(&Portrait::of(&rig)?)
}

fn image(_: &Env) -> Result<()> {
    let mut rig = rig()?;
    rig.close()?;
    let superblock = Disk::open_ro(rig.store_disk())?.read(0, 8)?;
    let field = |at: usize| -> Result<u64> {
        let bytes = superblock.get(at..at + 8).context("a short superblock")?;
        Ok(u64::from_le_bytes(bytes.try_into()?))
    };
    // See `errors::Area`: the images' start and length, and which one counts.
    let (start, blocks, area) = (field(120)?, field(128)?, field(168)? & 1);
    let table = line(&rig, Kind::Persistent, 4096, 8);
    for byte in [0, 20, 100, 4000] {
        let sector = (start + area * blocks) * 8;
        damage(&rig, sector, byte)?;
        refused(&table, "checkpoint is damaged", false).with_context(|| format!("byte {byte}"))?;
        damage(&rig, sector, byte)?;
    }
    rig.open()?;
    ensure!(points(&rig)?.len() == 2, "the snapshots");
    Ok(())
}

fn behind(_: &Env) -> Result<()> {
    for round in 0..2 {
        let mut rig = rig()?;
        let before = rig.control.info()?;
        let mut kernel = Kmsg::now()?;
        rig.close()?;
        // Where a filesystem has its superblock.
        Disk::open(rig.origin.path())?.stamp(2, 1, 99)?;
        rig.open()?;
        said(
            &mut kernel,
            "was written while its live device was not active",
        )?;
        let info = rig.control.info()?;
        ensure!(info.generation != before.generation, "the generation");
        ensure!(points(&rig)?.is_empty(), "snapshots are still there");
        ensure!(info.changed_chunks == 0, "{info:?}");
        rig.dm.check(0, &[1, 1, 99, 1])?;
        if round == 0 {
            // It is said once.
            rig.reopen()?;
            let lines = kernel.lines()?;
            let again = lines.iter().find(|line| line.contains("not active"));
            ensure!(again.is_none(), "the kernel said {again:?}");
            ensure!(rig.control.info()?.generation == info.generation);
        }
        let id = rig.snapshot()?;
        rig.disk()?.stamp_all(rig.sectors(), 4)?;
        rig.reopen()?;
        let view = rig.view("vt-view", id, &[])?;
        view.check(0, &[1, 1, 99, 1])?;
        view.check(160, &[&[2; 40][..], &[3; 80], &[1; 1000]].concat())?;
    }
    Ok(())
}

/// A table that is loaded has looked at the store; until it is active, another one lets writes
/// through.
fn between(_: &Env) -> Result<()> {
    let mut rig = rig()?;
    let before = Portrait::of(&rig)?;
    rig.close()?;
    let table = line(&rig, Kind::Persistent, 4096, 8);
    let mut other = Dm::linear("vt-live", rig.origin.path(), 0, 4096)?;
    other.load(&table)?;
    other.resume()?;
    other.remove()?;
    // Nothing was written, so nothing is lost.
    rig.open()?;
    before.compare(&Portrait::of(&rig)?)?;
    rig.close()?;
    let mut other = Dm::linear("vt-live", rig.origin.path(), 0, 4096)?;
    other.load(&table)?;
    other.stamp(2, 1, 99)?;
    let mut kernel = Kmsg::now()?;
    other.resume()?;
    said(
        &mut kernel,
        "was written while its live device was not active",
    )?;
    let control = vmtest::control::Control::open(other.device())?;
    ensure!(control.info()?.snapshots == 0, "snapshots are still there");
    other.stamp(0, 4096, 98)?;
    drop(control);
    other.remove()?;
    rig.open()?;
    said(&mut kernel, "failed in an earlier session")?;
    ensure!(points(&rig)?.is_empty(), "snapshots have come back");
    Ok(())
}

fn larger(_: &Env) -> Result<()> {
    let mut rig = rig()?;
    let before = Portrait::of(&rig)?;
    let size = rig.store_sectors();
    let more = size + 8192;
    let path = rig.store_disk().to_string();
    let capacity = rig.number("store_sectors")?;
    rig.close()?;
    rig.store.swap(&format!("0 {more} linear {path} 0"))?;
    let origin = rig.origin_disk().to_string();
    rig.origin.swap(&format!("0 4200 linear {origin} 0"))?;
    rig.open()?;
    before.compare(&Portrait::of(&rig)?)?;
    let grown = rig.number("store_sectors")?;
    ensure!(grown > capacity, "{grown} sectors, {capacity} before");
    // And while it is there.
    rig.store
        .swap(&format!("0 {} linear {path} 0", more + 8192))?;
    rig.dm.swap(&rig.table(4096, &[]))?;
    ensure!(rig.number("store_sectors")? > grown, "after a reload");
    before.compare(&Portrait::of(&rig)?)?;
    // The origin.
    let path = rig.origin_disk().to_string();
    rig.origin.swap(&format!("0 6000 linear {path} 0"))?;
    rig.dm.swap(&rig.table(6000, &[]))?;
    let ids: Vec<u64> = points(&rig)?.iter().map(|point| point.id).collect();
    let changed = |rig: &Rig| rig.control.chunks(ids[1], 0, 1, 1);
    let now = changed(&rig)?;
    ensure!(now.contains(&749) && now.contains(&512), "{now:?}");
    rig.close()?;
    let table = line(&rig, Kind::Persistent, 6000, 8);
    let again = Dm::create("vt-live", &table)?;
    let control = vmtest::control::Control::open(again.device())?;
    let info = control.info()?;
    ensure!(info.origin_sectors == 6000, "{info:?}");
    ensure!(info.latest == ids[1], "{info:?}");
    ensure!(control.chunks(ids[1], 0, 1, 1)? == now, "what has changed");
    again.stamp(0, 6000, 9)?;
    let shown = format!("0 4096 preserve-view {} {}", again.path(), ids[1]);
    let view = Dm::create_readonly("vt-view", &shown)?;
    view.check(0, &[1; 160])?;
    view.check(200, &[&[2; 40][..], &[1; 3800]].concat())
}
