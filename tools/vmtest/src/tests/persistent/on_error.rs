// SPDX-License-Identifier: GPL-2.0

//! `on_error=block`: a store in which not even a failure can be recorded holds writes up, and
//! nothing else.

#![forbid(unsafe_code)]

use std::thread;
use std::time::Duration;

use anyhow::ensure;
use anyhow::Result;
use preserve::uapi::EVENT_BLOCKED;
use preserve::uapi::EVENT_INVALID;
use preserve::uapi::STATE_BLOCKED;
use rustix::io::Errno;
use vmtest::cmd::wait_until;
use vmtest::disk::expect_errno;
use vmtest::disk::Disk;
use vmtest::kmsg::Kmsg;
use vmtest::rig::Rig;
use vmtest::rig::Spec;

use super::portrait::Portrait;
use crate::tests::bad_table::said;
use crate::tests::lifecycle::LIMIT;
use crate::tests::test;
use crate::tests::Test;
use crate::Env;

pub const TESTS: &[Test] = &[
    test("i4_persistent_on_error_block_until_the_store_is_back", back),
    test(
        "i4_persistent_on_error_block_until_continue_is_loaded",
        |_| continues(),
    ),
    test("i1_persistent_on_error_block_keeps_what_was_there", keeps),
];

/// A device with two snapshots, half of it not needed by anybody.
fn rig() -> Result<(Rig, Disk)> {
    rig_of(Spec::mb(1))
}

/// The same, of another kind.
pub fn rig_of(spec: Spec<'_>) -> Result<(Rig, Disk)> {
    let rig = Rig::new(
        &Spec {
            args: &["on_error=block"],
            ..spec
        }
        .persistent(),
    )?;
    let disk = rig.disk()?;
    disk.stamp_all(rig.sectors(), 1)?;
    rig.dm.message("unprotect 0 1024")?;
    rig.control.snapshot_keeping(None, 4)?;
    disk.stamp(1200, 80, 2)?;
    rig.control.snapshot_keeping(None, 4)?;
    rig.settle()?;
    Ok((rig, disk))
}

pub fn break_store(rig: &Rig) -> Result<()> {
    let size = rig.store_sectors();
    rig.store.swap(&format!("0 {size} error"))
}

/// Writes one chunk that must be logged, which waits; then does something that lets it go on.
pub fn waits(rig: &Rig, disk: &Disk, sector: u64, then: impl FnOnce() -> Result<()>) -> Result<()> {
    thread::scope(|scope| {
        let writer = scope.spawn(|| disk.stamp(sector, 8, 7));
        let waited = (|| {
            wait_until("the state is blocked", LIMIT, || {
                Ok(rig.control.info()?.state == STATE_BLOCKED)
            })?;
            ensure!(rig.sysfs("state")? == "blocked", "the state in sysfs");
            // Longer than until the next attempt.
            thread::sleep(Duration::from_millis(2500));
            ensure!(!writer.is_finished(), "a write went on that was not logged");
            // Everything else goes on, and no suspend hangs.
            disk.check(sector, &[1; 8])?;
            rig.dm.suspend_noflush()?;
            rig.dm.resume()?;
            ensure!(!writer.is_finished(), "a write went on behind a suspend");
            Ok(())
        })();
        // Whatever happened, the writer must come to its end.
        then()?;
        let done = wait_until("the write goes on", LIMIT, || Ok(writer.is_finished()));
        if done.is_err() {
            rig.mend_store()?;
        }
        waited.and(done)?;
        let written = writer.join();
        Ok(written.map_err(|_| anyhow::anyhow!("the writer died"))??)
    })
}

pub fn has_failed(rig: &Rig, seen: u64) -> Result<()> {
    ensure!(rig.sysfs("state")? == "failed", "the state");
    // The state says so before the event does.
    let wanted = EVENT_BLOCKED | EVENT_INVALID;
    wait_until("both events are told", LIMIT, || {
        let (_, kinds) = rig.control.wait(seen, 1000)?;
        Ok(kinds & wanted == wanted)
    })?;
    ensure!(rig.control.info()?.snapshots == 0, "snapshots");
    Ok(())
}

/// A chunk that nobody needs, and one that is to be copied.
pub const CHUNKS: [u64; 2] = [80, 1600];

fn back(_: &Env) -> Result<()> {
    for sector in CHUNKS {
        let (mut rig, disk) = rig()?;
        let before = rig.control.info()?;
        break_store(&rig)?;
        waits(&rig, &disk, sector, || rig.mend_store())?;
        has_failed(&rig, before.event)?;
        disk.check(sector, &[7; 8])?;
        drop(disk);
        let mut kernel = Kmsg::now()?;
        rig.reopen()?;
        // That could be written when it was back.
        said(&mut kernel, "failed in an earlier session")?;
        let after = rig.control.info()?;
        ensure!(after.generation != before.generation, "the generation");
        ensure!(after.snapshots == 0, "{after:?}");
    }
    Ok(())
}

fn continues() -> Result<()> {
    for sector in CHUNKS {
        let (rig, disk) = rig()?;
        let seen = rig.control.info()?.event;
        break_store(&rig)?;
        waits(&rig, &disk, sector, || {
            rig.dm.swap_noflush(&rig.table(rig.sectors(), &[]))
        })?;
        has_failed(&rig, seen)?;
        disk.check(sector, &[7; 8])?;
    }
    Ok(())
}

/// No write has passed that the store does not know of: when it is there again, everything in it
/// counts.
fn keeps(_: &Env) -> Result<()> {
    let (mut rig, disk) = rig()?;
    disk.stamp(1600, 8, 3)?;
    rig.settle()?;
    let before = Portrait::of(&rig)?;
    break_store(&rig)?;
    expect_errno("a drop", rig.control.drop_snapshot(1), Errno::IO)?;
    ensure!(rig.control.info()?.state == STATE_BLOCKED, "the state");
    // This the store knows of already.
    disk.stamp(1600, 8, 4)?;
    drop(disk);
    rig.close()?;
    rig.mend()?;
    rig.open()?;
    before.compare(&Portrait::of(&rig)?)?;
    rig.dm.check(1600, &[4; 8])
}
