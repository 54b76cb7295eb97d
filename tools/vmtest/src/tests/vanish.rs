// SPDX-License-Identifier: GPL-2.0

//! The origin or the store goes away under a busy device: errors for those concerned, and nothing
//! else.

#![forbid(unsafe_code)]

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::ensure;
use anyhow::Result;
use rustix::io::Errno;
use vmtest::cmd;
use vmtest::disk::expect_errno;
use vmtest::disk::Disk;
use vmtest::fio::Job;
use vmtest::rig::Rig;
use vmtest::rig::Spec;

use super::lifecycle::busy;
use super::lifecycle::LIMIT;
use super::slow;
use super::Test;
use crate::Env;

pub const TESTS: &[Test] = &[
    slow("origin_vanishes_during_io", 120, origin),
    slow("i4_store_vanishes_during_io", 120, store),
];

fn origin(_: &Env) -> Result<()> {
    let rig = Rig::new(&Spec::mb(8))?;
    let disk = rig.disk()?;
    disk.stamp_all(rig.sectors(), 1)?;
    let id = rig.snapshot()?;
    // Only the first half is overwritten; the frozen content of the other stays on the origin.
    let mut fio = Job {
        path: rig.dm.path(),
        offset: 0,
        size: 8192 * 512,
        loops: 50,
        block: "4k",
        depth: 8,
        seed: 1,
        more: &[],
    }
    .start()?;
    let view = rig.view("vt-view", id, &[])?;
    let frozen = Disk::open_ro(view.path())?;
    // How long fio takes to begin depends on the machine, and on what its kernel checks.
    cmd::wait_until("something is preserved", LIMIT, || {
        Ok(rig.number("preserved_chunks")? > 100)
    })?;
    // Some reads of the view are under way, too.
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let reader = thread::spawn(move || {
        let mut failed = 0;
        while !stopped.load(Ordering::Relaxed) {
            for start in (0..16384).step_by(64) {
                failed += u64::from(frozen.read(start, 8).is_err());
            }
        }
        (frozen, failed)
    });
    let swapped = rig.origin.swap("0 16384 error");
    let status = fio.wait(LIMIT);
    thread::sleep(Duration::from_millis(300));
    stop.store(true, Ordering::Relaxed);
    swapped?;
    let status = status?;
    ensure!(
        status.is_some_and(|s| !s.success()),
        "fio did not notice: {status:?}"
    );
    let (frozen, failed) = reader
        .join()
        .map_err(|_| anyhow::anyhow!("the reader died"))?;
    ensure!(failed > 0, "no frozen read failed");
    expect_errno("a write", disk.stamp(0, 8, 2), Errno::IO)?;
    expect_errno("a read", disk.read(0, 8), Errno::IO)?;
    // What is preserved is there still.
    let preserved = rig.control.chunks(0, id, 4, 4)?;
    ensure!(!preserved.is_empty(), "nothing was preserved");
    for chunk in preserved.iter().take(100) {
        frozen.check(chunk * 8, &[1; 8])?;
    }
    // And the device can be looked at, and removed.
    rig.status()?;
    let path = rig.origin_disk();
    rig.origin.swap(&format!("0 16384 linear {path} 0"))?;
    disk.stamp(0, 8, 3)?;
    rig.origin.swap("0 16384 error")
}

fn store(env: &Env) -> Result<()> {
    let rig = Rig::new(&Spec::mb(8))?;
    let mut fio = busy(&rig, env.rounds(4, 2) as u32)?;
    let path = rig.store_disk();
    let mut rounds = 0;
    while !fio.ended()? {
        rig.store.swap("0 16384 error")?;
        thread::sleep(Duration::from_millis(100));
        rig.snapshot()?;
        thread::sleep(Duration::from_millis(100));
        rig.store.swap(&format!("0 16384 linear {path} 0"))?;
        rig.snapshot()?;
        thread::sleep(Duration::from_millis(100));
        rounds += 1;
    }
    // Every write succeeded, and what was read back was right.
    fio.finish(LIMIT)?;
    ensure!(rounds >= 1, "fio was too quick");
    ensure!(rig.control.info()?.invalidated >= 1, "nothing was given up");
    Ok(())
}
