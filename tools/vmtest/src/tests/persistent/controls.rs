// SPDX-License-Identifier: GPL-2.0

//! Controls that cannot be logged: they fail, and with them the store. Snapshot, drop and edit are
//! in `errors.rs`.

#![forbid(unsafe_code)]

use std::cell::Cell;
use std::cell::RefCell;
use std::time::Duration;

use anyhow::ensure;
use anyhow::Result;
use rustix::io::Errno;
use vmtest::cmd::wait_until;
use vmtest::disk::expect_errno;
use vmtest::rig::Rig;

use super::errors::fails_behind;
use super::errors::field;
use super::errors::Area;
use super::faults;
use super::faults::Part;
use super::portrait::points;
use crate::tests::test;
use crate::tests::Test;

pub const TESTS: &[Test] = &[
    test("i4_persistent_release_cannot_be_written", |_| release()),
    test("i4_persistent_forget_cannot_be_written", |_| forget()),
    test("i4_persistent_narrowing_cannot_be_written", |_| narrow()),
];

const LIMIT: Duration = Duration::from_secs(20);
/// Where a superblock has the number of its checkpoint.
const IMAGE_NUMBER: usize = 160;

fn release() -> Result<()> {
    fails_behind(
        |_| Ok(()),
        Area::Ring,
        |rig| {
            let id = rig.control.info()?.latest;
            expect_errno("a release", rig.control.release(id, 800, 80), Errno::IO)
        },
    )
}

fn forget() -> Result<()> {
    let drop_first = |rig: &Rig| Ok(rig.control.drop_snapshot(points(rig)?[0].id)?);
    fails_behind(drop_first, Area::Ring, |rig| {
        let id = points(rig)?[0].id;
        expect_errno("a forget", rig.control.forget(id), Errno::IO)
    })
}

/// The checkpoint that lets a scope take effect is held up, and when it goes on the log cannot be
/// written.
fn narrow() -> Result<()> {
    let number = Cell::new(0);
    // Its device is there for longer than the store's.
    let ring = RefCell::new(None);
    let prepare = |rig: &Rig| {
        number.set(field(rig, IMAGE_NUMBER)?);
        let (disk, images) = (rig.store_disk(), Area::Images.of(rig)?);
        let part = Part::new(disk, Area::Ring.of(rig)?)?;
        let slow = faults::slow(disk, images.start);
        let parts = [part.target(), (images, slow)];
        rig.store
            .swap(&faults::with_parts(disk, rig.store_sectors(), &parts))?;
        rig.control.snapshot_keeping(Some(0), 4)?;
        ensure!(rig.sysfs("state")? == "active", "the state");
        part.fail()?;
        ring.replace(Some(part));
        Ok(())
    };
    fails_behind(prepare, Area::Ring, |rig| {
        wait_until("the store fails", LIMIT, || {
            Ok(rig.sysfs("state")? == "failed")
        })?;
        // The checkpoint itself is complete.
        wait_until("the checkpoint is there", LIMIT, || {
            Ok(field(rig, IMAGE_NUMBER)? > number.get())
        })
    })
}
