// SPDX-License-Identifier: GPL-2.0

//! The store fails: the live device goes on, and the snapshots are given up.

#![forbid(unsafe_code)]

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use preserve::uapi::EVENT_INVALID;
use rustix::io::Errno;
use vmtest::disk::expect_errno;
use vmtest::disk::Buffer;
use vmtest::disk::Disk;
use vmtest::rig::Rig;
use vmtest::rig::Spec;

use super::test;
use super::Test;
use crate::Env;

pub const TESTS: &[Test] = &[
    test("i4_store_write_error_at_the_first_step", |_| write_error(0)),
    test("i4_store_write_error_at_a_middle_step", |_| write_error(20)),
    test("i4_store_write_error_at_the_last_step", |_| write_error(63)),
    test("i4_store_vanishes_with_many_copies_in_flight", many),
    test("i1_store_read_errors_are_errors", read_error),
];

const SECTORS: u64 = 512;
const STORE: u64 = 2048;

fn rig() -> Result<(Rig, Disk, u64)> {
    let rig = Rig::new(&Spec {
        sectors: SECTORS,
        store: STORE,
        ..Spec::mb(1)
    })?;
    let disk = rig.disk()?;
    disk.stamp_all(SECTORS, 1)?;
    let id = rig.snapshot()?;
    Ok((rig, disk, id))
}

/// The snapshot is gone for everybody, and tracking goes on.
fn given_up(rig: &Rig, id: u64, view: &Disk) -> Result<()> {
    let info = rig.control.info()?;
    ensure!(
        (info.snapshots, info.invalidated, info.state) == (0, 1, preserve::uapi::STATE_ACTIVE),
        "{info:?}"
    );
    for start in [0, SECTORS - 8] {
        expect_errno("the view", view.read(start, 8), Errno::IO)?;
        let read = rig.control.read(id, start, &mut Buffer::new(8));
        expect_errno("the ioctl", read, Errno::NOENT)?;
    }
    Ok(())
}

fn write_error(step: u64) -> Result<()> {
    let (rig, disk, id) = rig()?;
    let view = rig.view("vt-view", id, &[])?;
    let frozen = Disk::open_ro(view.path())?;
    let seen = rig.control.info()?.event;
    for chunk in 0..64 {
        if chunk == step {
            frozen.check(0, &[1; SECTORS as usize])?;
            rig.store.swap(&format!("0 {STORE} error"))?;
        }
        disk.stamp(chunk * 8, 8, 2)
            .with_context(|| format!("the write of chunk {chunk}"))?;
    }
    disk.check(0, &[2; SECTORS as usize])?;
    given_up(&rig, id, &frozen)?;
    let (_, kinds) = rig.control.wait(seen, 1000)?;
    ensure!(kinds & EVENT_INVALID != 0, "kinds {kinds}");
    // What changed is still known: the bookmark is a base.
    ensure!(rig.number("changed_chunks")? == 64);
    drop(frozen);
    drop(view);
    // With the store back, the next snapshot is as good as any.
    let path = rig.store_disk();
    rig.store.swap(&format!("0 {STORE} linear {path} 0"))?;
    let next = rig.control.incremental(id)?;
    disk.stamp(0, SECTORS, 3)?;
    let view = rig.view("vt-view", next, &[])?;
    view.check(0, &[2; SECTORS as usize])
}

fn many(_: &Env) -> Result<()> {
    let (rig, disk, id) = rig()?;
    let view = rig.view("vt-view", id, &[])?;
    let frozen = Disk::open_ro(view.path())?;
    rig.store.swap(&format!("0 {STORE} error"))?;
    disk.stamp(0, SECTORS, 2)?;
    disk.check(0, &[2; SECTORS as usize])?;
    given_up(&rig, id, &frozen)?;
    // A new snapshot on a broken store is given up at the first write, and that is all.
    for round in 0..3 {
        rig.snapshot()?;
        disk.stamp(0, SECTORS, 3 + round)?;
        disk.check(0, &[3 + round; SECTORS as usize])?;
        let info = rig.control.info()?;
        ensure!(
            (info.snapshots, info.invalidated) == (0, 2 + round),
            "round {round}: {info:?}"
        );
    }
    Ok(())
}

fn read_error(_: &Env) -> Result<()> {
    let (rig, disk, id) = rig()?;
    disk.stamp(0, 80, 2)?;
    let view = rig.view("vt-view", id, &[])?;
    let frozen = Disk::open_ro(view.path())?;
    frozen.check(0, &[1; SECTORS as usize])?;
    rig.store.swap(&format!("0 {STORE} error"))?;
    for chunk in 0..10 {
        expect_errno("the view", frozen.read(chunk * 8, 8), Errno::IO)?;
        let read = rig.control.read(id, chunk * 8, &mut Buffer::new(8));
        expect_errno("the ioctl", read, Errno::IO)?;
    }
    // What is not in the store is not affected, nor is the live device.
    frozen.check(80, &[1; 432])?;
    disk.check(0, &[2; 80])?;
    let path = rig.store_disk();
    rig.store.swap(&format!("0 {STORE} linear {path} 0"))?;
    frozen.check(0, &[1; SECTORS as usize])
}
