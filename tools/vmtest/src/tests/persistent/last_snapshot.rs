// SPDX-License-Identifier: GPL-2.0

//! The last snapshot goes while much is being copied for it, by a drop or because the store is
//! full, and no other follows: what is under way has no segment to go to any longer, and no write
//! may wait for one.

#![forbid(unsafe_code)]

use std::thread;
use std::time::Duration;

use anyhow::anyhow;
use anyhow::ensure;
use anyhow::Result;
use vmtest::cmd::wait_until;
use vmtest::disk::Disk;
use vmtest::rig::Rig;
use vmtest::rig::Spec;

use crate::tests::test;
use crate::tests::Test;
use crate::Env;

pub const TESTS: &[Test] = &[
    test(
        "i1_i4_persistent_no_write_waits_for_a_dropped_snapshot",
        |env| goes(env, 96, true),
    ),
    test(
        "i1_i4_persistent_no_write_waits_for_a_snapshot_given_up",
        |env| goes(env, 12, false),
    ),
];

const MB: u64 = 2048;
const SIZE: u64 = 16 * MB;
/// More than the records that can be in flight, so that contents wait behind them.
const WRITERS: u64 = 16;
/// Sectors of a write: a run that is copied at once.
const RUN: u64 = 128;
const LIMIT: Duration = Duration::from_secs(20);

/// Writes everything, many writes at a time.
fn write_all(disk: &Disk, writer: u64, stamp: u64) -> std::io::Result<()> {
    let runs = (writer..SIZE / RUN).step_by(WRITERS as usize);
    runs.map(|run| run * RUN)
        .try_for_each(|start| disk.stamp(start, RUN, stamp))
}

/// On a store of so many MiB: the snapshot is dropped, or given up as the store is full.
fn goes(env: &Env, store_mb: u64, dropped: bool) -> Result<()> {
    let spec = Spec {
        sectors: SIZE,
        ..Spec::mb(1)
    };
    let rig = Rig::with_store(&spec.persistent(), store_mb * MB)?;
    let disk = rig.disk()?;
    for round in 1..=env.rounds(8, 4) {
        let id = rig.control.snapshot()?;
        thread::scope(|scope| {
            let disk = &disk;
            let write = |writer| scope.spawn(move || write_all(disk, writer, round));
            let writers: Vec<_> = (0..WRITERS).map(write).collect();
            if dropped {
                thread::sleep(Duration::from_millis(20 * round));
                rig.control.drop_snapshot(id)?;
            }
            let done = wait_until("the writes are done", LIMIT, || {
                Ok(writers.iter().all(|writer| writer.is_finished()))
            });
            if done.is_err() {
                // The next epoch lets them go, so that this test comes to its end.
                rig.control.snapshot()?;
            }
            for writer in writers {
                writer.join().map_err(|_| anyhow!("a writer died"))??;
            }
            done
        })?;
        ensure!(rig.control.info()?.snapshots == 0, "the snapshot is there");
        disk.check(0, &vec![round; SIZE as usize])?;
    }
    ensure!(rig.sysfs("state")? == "active", "the state");
    Ok(())
}
