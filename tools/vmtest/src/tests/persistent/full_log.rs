// SPDX-License-Identifier: GPL-2.0

//! A checkpoint takes long, the log's ring fills meanwhile, and then the store fails: no record is
//! in flight whose failure could tell the writes that wait.

#![forbid(unsafe_code)]

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use anyhow::anyhow;
use anyhow::ensure;
use anyhow::Result;
use vmtest::cmd::wait_until;
use vmtest::cmd::Background;
use vmtest::dm::Dm;
use vmtest::rig::Rig;
use vmtest::rig::Spec;

use super::errors::Area;
use crate::tests::test;
use crate::tests::Test;
use crate::Env;

pub const TESTS: &[Test] = &[test(
    "i4_persistent_store_that_fails_while_the_log_is_full",
    fails_while_full,
)];

/// Sectors of a region: one record says that something in it may be written.
const REGION: u64 = 8192;
/// More than the ring of a store of 16 MiB has blocks.
const REGIONS: u64 = 64;
const STORE: u64 = 16 << 11;
const LIMIT: Duration = Duration::from_secs(20);

/// The store's image areas, through which its checkpoints go, a device of which only the last
/// region is needed by a snapshot, and the sectors of the former.
fn rig() -> Result<(Dm, Rig, u64)> {
    let spec = Spec {
        sectors: REGIONS * REGION,
        ..Spec::mb(1)
    };
    let rig = Rig::with_store(&spec.persistent(), STORE)?;
    let unneeded = (REGIONS - 1) * REGION;
    rig.dm.message(&format!("unprotect 0 {unneeded}"))?;
    rig.control.snapshot()?;
    rig.settle()?;
    let (disk, areas) = (rig.store_disk(), Area::Images.of(&rig)?);
    let (start, end, len) = (areas.start, areas.end, areas.end - areas.start);
    let images = Dm::linear("vt-images", disk, start, len)?;
    rig.store.swap(&format!(
        "0 {start} linear {disk} 0\n{start} {len} linear {} 0\n{end} {} linear {disk} {end}\n",
        images.path(),
        STORE - end
    ))?;
    Ok((images, rig, len))
}

/// A checkpoint begins, and does not come to its end before the image areas are resumed. After that
/// all regions have to be announced again, and no further one begins, so each that is written takes
/// one record.
fn begin_checkpoint(rig: &Rig, images: &Dm) -> Result<Background> {
    images.suspend()?;
    let words = ["message", rig.dm.name(), "0", "checkpoint"];
    let checkpoint = Background::start("dmsetup", &words)?;
    thread::sleep(Duration::from_millis(1500));
    Ok(checkpoint)
}

/// How many regions the ring has room for while a checkpoint does not come to its end.
fn room() -> Result<u64> {
    let (images, rig, _) = rig()?;
    let disk = rig.disk()?;
    let written = AtomicU64::new(0);
    let checkpoint = begin_checkpoint(&rig, &images)?;
    thread::scope(|scope| {
        let fills = scope.spawn(|| {
            (0..REGIONS - 1).try_for_each(|region| {
                disk.stamp(region * REGION, 8, 2)?;
                written.store(region + 1, Ordering::Relaxed);
                std::io::Result::Ok(())
            })
        });
        let mut last = u64::MAX;
        let stopped = wait_until("the ring is full", LIMIT, || {
            thread::sleep(Duration::from_millis(1500));
            let now = written.load(Ordering::Relaxed);
            Ok(core::mem::replace(&mut last, now) == now)
        });
        images.resume()?;
        fills.join().map_err(|_| anyhow!("the writer died"))??;
        stopped?;
        checkpoint.finish(LIMIT)?;
        ensure!(last < REGIONS - 1, "the ring was not filled");
        Ok(last)
    })
}

fn fails_while_full(_: &Env) -> Result<()> {
    let room = room()?;
    let (images, rig, len) = rig()?;
    let disk = rig.disk()?;
    let mut checkpoint = begin_checkpoint(&rig, &images)?;
    for region in 0..room {
        disk.stamp(region * REGION, 8, 2)?;
    }
    let needed = (REGIONS - 1) * REGION;
    thread::scope(|scope| {
        // Its content needs a segment, and that a record in the ring.
        let waits = scope.spawn(|| disk.stamp(needed, 8, 2));
        thread::sleep(Duration::from_millis(1500));
        let waited = !waits.is_finished();
        images.load(&format!("0 {len} error"))?;
        images.resume()?;
        let done = wait_until("the write goes on", LIMIT, || Ok(waits.is_finished()));
        if done.is_err() {
            // Another write lets it go, so that this test comes to its end.
            disk.stamp(room * REGION, 8, 2)?;
        }
        waits.join().map_err(|_| anyhow!("the writer died"))??;
        ensure!(
            waited,
            "a write went on that was not logged, behind {room} regions"
        );
        done
    })?;
    checkpoint.wait(LIMIT)?;
    ensure!(rig.sysfs("state")? == "failed", "the state");
    for region in (0..room).chain([REGIONS - 1]) {
        disk.check(region * REGION, &[2; 8])?;
    }
    Ok(())
}
