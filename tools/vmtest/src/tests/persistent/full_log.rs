// SPDX-License-Identifier: GPL-2.0

//! A checkpoint takes long, the log's ring fills meanwhile, and then the store fails: no record is in flight whose failure
//! could tell the writes that wait.

#![forbid(unsafe_code)]

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use anyhow::anyhow;
use anyhow::ensure;
use anyhow::Result;
use vmtest::cmd::wait_until;
use vmtest::dm::Dm;
use vmtest::rig::Rig;
use vmtest::rig::Spec;

use super::errors::Area;
use crate::tests::lifecycle::LIMIT;
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

/// A device of which only the last region is needed by a snapshot, and the store's image areas, through which all of the
/// store's checkpoints go.
fn rig() -> Result<(Rig, Dm, u64)> {
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
    Ok((rig, images, len))
}

fn fails_while_full(_: &Env) -> Result<()> {
    let (rig, images, len) = rig()?;
    let disk = rig.disk()?;
    let needed = (REGIONS - 1) * REGION;
    let written = AtomicU64::new(0);
    // The next checkpoint does not come to its end.
    images.suspend()?;
    thread::scope(|scope| {
        let fills = scope.spawn(|| {
            (0..REGIONS - 1).try_for_each(|region| {
                disk.stamp(region * REGION, 8, 2)?;
                written.store(region + 1, Ordering::Relaxed);
                std::io::Result::Ok(())
            })
        });
        let mut last = u64::MAX;
        let waited = wait_until("the ring is full", LIMIT, || {
            thread::sleep(Duration::from_millis(1500));
            let now = written.load(Ordering::Relaxed);
            Ok(core::mem::replace(&mut last, now) == now)
        });
        let was_full = last < REGIONS - 1;
        // Its content needs a segment, and that a record in the ring.
        let waits = scope.spawn(|| disk.stamp(needed, 8, 2));
        thread::sleep(Duration::from_millis(1500));
        let waiting = !fills.is_finished() && !waits.is_finished();
        images.load(&format!("0 {len} error"))?;
        images.resume()?;
        for writer in [fills, waits] {
            wait_until("the writes go on", LIMIT, || Ok(writer.is_finished()))?;
            writer.join().map_err(|_| anyhow!("a writer died"))??;
        }
        waited?;
        ensure!(
            was_full && waiting,
            "{last} regions written, and no write waited"
        );
        Ok(())
    })?;
    ensure!(rig.sysfs("state")? == "failed", "the state");
    for region in 0..REGIONS {
        disk.check(region * REGION, &[2; 8])?;
    }
    Ok(())
}
