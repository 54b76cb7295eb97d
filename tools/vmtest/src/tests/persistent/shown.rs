// SPDX-License-Identifier: GPL-2.0

//! Figures and events of a persistent store that are not those of a transient one.

#![forbid(unsafe_code)]

use anyhow::ensure;
use anyhow::Result;
use preserve::uapi::EVENT_LOW_SPACE;
use rustix::io::Errno;
use vmtest::disk::expect_errno;
use vmtest::rig::Rig;
use vmtest::rig::Spec;

use super::portrait::points;
use crate::tests::test;
use crate::tests::Test;
use crate::Env;

pub const TESTS: &[Test] = &[
    test("persistent_low_space_is_an_event_once", low_space),
    test("persistent_memory_is_what_it_should_be", |_| memory()),
];

/// Of what the store can hold, in percent.
const LOW: u64 = 20;

fn low_space(_: &Env) -> Result<()> {
    let spec = Spec {
        args: &["low_space=20"],
        ..Spec::mb(8)
    };
    let rig = Rig::with_store(&spec.persistent(), 16 << 11)?;
    let disk = rig.disk()?;
    let is_low = || -> Result<bool> {
        let status = rig.status()?;
        Ok(status.used * 100 >= status.total * LOW)
    };
    for round in 0..2 {
        rig.snapshot()?;
        rig.wait_store_empty()?;
        let seen = rig.control.info()?.event;
        let mut at = 0;
        while !is_low()? {
            expect_errno("below it", rig.control.wait(seen, 0), Errno::TIMEDOUT)?;
            ensure!(at < rig.sectors(), "{:?}", rig.status()?);
            disk.stamp(at, 64, round)?;
            at += 64;
        }
        let (number, kinds) = rig.control.wait(seen, 10_000)?;
        ensure!(kinds == EVENT_LOW_SPACE, "round {round}: kinds {kinds}");
        disk.stamp(at + 8, 640, round)?;
        expect_errno("above it", rig.control.wait(number, 300), Errno::TIMEDOUT)?;
    }
    Ok(())
}

/// 11 to 12 bytes for a scattered chunk, some pages for marks; the same after an activation; and it
/// comes back.
fn memory() -> Result<()> {
    let mut rig = Rig::new(&Spec::mb(8).persistent())?;
    let first = rig.control.snapshot_keeping(None, 4)?;
    let second = rig.control.snapshot_keeping(None, 4)?;
    rig.settle()?;
    let before = rig.number("memory_bytes")?;
    let disk = rig.disk()?;
    let scattered = (0..rig.chunks()).step_by(2);
    let count = scattered.clone().count() as u64;
    for chunk in scattered {
        disk.stamp(chunk * 8, 8, 2)?;
    }
    drop(disk);
    for round in 0..2 {
        let more = rig.number("memory_bytes")?.saturating_sub(before);
        ensure!(
            (count * 10..count * 12 + (16 << 10)).contains(&more),
            "round {round}: {count} scattered chunks take {more} bytes"
        );
        rig.reopen()?;
    }
    for id in [first, second] {
        rig.control.drop_snapshot(id)?;
        rig.control.forget(id)?;
    }
    rig.settle()?;
    ensure!(points(&rig)?.is_empty(), "points");
    let after = rig.number("memory_bytes")?;
    // The marks of the present epoch stay.
    ensure!(
        after < before + (8 << 10),
        "{after} bytes, {before} at first"
    );
    Ok(())
}
