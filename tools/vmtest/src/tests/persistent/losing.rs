// SPDX-License-Identifier: GPL-2.0

//! A chunk cannot be read, and that it is gone cannot be logged: two failures at a time, of the
//! origin and of the store.

#![forbid(unsafe_code)]

use std::thread;
use std::time::Duration;

use anyhow::anyhow;
use anyhow::ensure;
use anyhow::Result;
use preserve::uapi::STATE_BLOCKED;
use vmtest::cmd::wait_until;
use vmtest::rig::Rig;
use vmtest::rig::Spec;

use crate::tests::test;
use crate::tests::Test;

pub const TESTS: &[Test] = &[test(
    "i4_persistent_on_error_block_of_a_chunk_that_cannot_be_read",
    |_| blocks(),
)];

const CHUNK: u64 = 1600;
const LIMIT: Duration = Duration::from_secs(20);

/// A snapshot's chunk that cannot be read, and a store that fails altogether.
fn rig() -> Result<Rig> {
    let spec = Spec {
        args: &["on_error=block"],
        ..Spec::mb(2)
    };
    let rig = Rig::new(&spec.persistent())?;
    rig.dm.stamp(0, rig.sectors(), 1)?;
    rig.control.snapshot()?;
    let (sectors, disk) = (rig.sectors(), rig.origin_disk());
    rig.origin.swap(&format!("0 {sectors} dust {disk} 0 512"))?;
    rig.origin.message(&format!("addbadblock {CHUNK}"))?;
    rig.origin.message("enable")?;
    let size = rig.store_sectors();
    rig.store.swap(&format!("0 {size} error"))?;
    Ok(rig)
}

/// Its write waits, keeps no noflush suspend from its end, and passes when the store says that it
/// failed.
fn blocks() -> Result<()> {
    let rig = rig()?;
    let disk = rig.disk()?;
    thread::scope(|scope| {
        let writer = scope.spawn(|| disk.stamp(CHUNK, 8, 2));
        let blocked = wait_until("the state is blocked", LIMIT, || {
            Ok(rig.control.info()?.state == STATE_BLOCKED)
        });
        let suspended = blocked.and_then(|()| rig.dm.suspend_noflush());
        let resumed = suspended.and_then(|()| rig.dm.resume());
        thread::sleep(Duration::from_millis(1500));
        let waited = !writer.is_finished();
        // Whatever happened, the writer must come to its end.
        rig.mend_store()?;
        let done = wait_until("the write goes on", LIMIT, || Ok(writer.is_finished()));
        writer.join().map_err(|_| anyhow!("the writer died"))??;
        resumed?;
        ensure!(waited, "a write went on that was not logged");
        done
    })?;
    ensure!(rig.sysfs("state")? == "failed", "the state");
    disk.check(CHUNK, &[2; 8])
}
