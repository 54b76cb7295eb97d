// SPDX-License-Identifier: GPL-2.0

//! A table becomes active over a store that is slow, or fails just then.

#![forbid(unsafe_code)]

use anyhow::ensure;
use anyhow::Result;
use vmtest::disk::Buffer;
use vmtest::disk::Disk;
use vmtest::dm::Dm;
use vmtest::kmsg::Kmsg;
use vmtest::rig::Rig;
use vmtest::rig::Spec;

use super::errors::Area;
use super::portrait::Portrait;
use crate::tests::bad_table::said;
use crate::tests::test;
use crate::tests::Test;

pub const TESTS: &[Test] = &[
    test("persistent_other_users_of_the_devices_are_told_of", |_| {
        shared()
    }),
    test("persistent_ring_of_a_new_store_is_zeroed", |_| {
        ring_is_zeroed()
    }),
    test("persistent_recovery_tells_how_far_it_is", |_| slow()),
    test(
        "i4_persistent_resume_goes_on_when_growth_cannot_be_logged",
        |_| grows_without_a_log(),
    ),
];

fn rig() -> Result<Rig> {
    let rig = Rig::new(&Spec::mb(1).persistent())?;
    rig.disk()?.stamp_all(rig.sectors(), 1)?;
    rig.control.snapshot()?;
    rig.disk()?.stamp(160, 80, 2)?;
    Ok(rig)
}

/// Another mapped device over the origin, and one over the store.
fn shared() -> Result<()> {
    let mut rig = rig()?;
    let mut kernel = Kmsg::now()?;
    rig.reopen()?;
    let alone = kernel.lines()?;
    let warned = |lines: &[String], what: &str| {
        let words = format!("another mapped device uses the {what}");
        lines.iter().any(|line| line.contains(&words))
    };
    ensure!(
        !warned(&alone, "origin") && !warned(&alone, "store"),
        "{alone:?}"
    );
    let paths = [rig.origin.path(), rig.store.path()].map(str::to_string);
    for (name, path) in ["origin", "store"].into_iter().zip(paths) {
        let _other = Dm::linear("vt-other", &path, 0, 8)?;
        rig.close()?;
        rig.open()?;
        said(
            &mut kernel,
            &format!("another mapped device uses the {name}"),
        )?;
    }
    Ok(())
}

/// Else each recovery before the ring has gone round would look through the whole store for what it
/// may have named.
fn ring_is_zeroed() -> Result<()> {
    let mut rig = rig()?;
    let ring = Area::Ring.of(&rig)?;
    rig.close()?;
    rig.store.stamp(0, rig.store_sectors(), 9)?;
    {
        let disk = Disk::open(rig.store.path())?;
        disk.write(0, &Buffer::new(16))?;
    }
    rig.open()?;
    rig.control.snapshot()?;
    rig.close()?;
    let disk = Disk::open_ro(rig.store.path())?;
    let blocks = disk.read(ring.start, ring.end - ring.start)?;
    let used = blocks
        .chunks(4096)
        .filter(|block| block.iter().any(|byte| *byte != 0));
    let used = used.count();
    ensure!(
        (1..8).contains(&used),
        "{used} blocks of the ring are not zero"
    );
    Ok(())
}

fn slow() -> Result<()> {
    let mut rig = rig()?;
    let before = Portrait::of(&rig)?;
    rig.close()?;
    let (size, disk) = (rig.store_sectors(), rig.store_disk());
    // Reads take 0.4 s.
    let table = format!("0 {size} delay {disk} 0 400 {disk} 0 0");
    rig.store.swap(&table)?;
    let mut kernel = Kmsg::now()?;
    rig.open()?;
    said(&mut kernel, "MiB so far, at block")?;
    rig.mend_store()?;
    before.compare(&Portrait::of(&rig)?)
}

fn grows_without_a_log() -> Result<()> {
    let rig = rig()?;
    let disk = rig.origin_disk();
    let larger = rig.sectors() + 2048;
    rig.origin.swap(&format!("0 {larger} linear {disk} 0"))?;
    Area::Ring.break_it(&rig)?;
    let mut kernel = Kmsg::now()?;
    rig.dm.swap(&rig.table(larger, &[]))?;
    said(&mut kernel, "THE STORE FAILED")?;
    ensure!(rig.sysfs("state")? == "failed", "the state");
    rig.dm.stamp(0, larger, 3)?;
    rig.dm.check(0, &vec![3; larger as usize])
}
