// SPDX-License-Identifier: GPL-2.0

//! A reload to another target waits for writes, and the table is loaded again meanwhile: it must
//! not become active as if nothing had been written past it.

#![forbid(unsafe_code)]

use std::thread;
use std::time::Duration;

use anyhow::anyhow;
use anyhow::ensure;
use anyhow::Result;
use preserve::uapi::STATE_BLOCKED;
use vmtest::cmd::wait_until;
use vmtest::cmd::Background;
use vmtest::kmsg::Kmsg;
use vmtest::rig::Rig;
use vmtest::rig::Spec;

use super::bad_table::said;
use super::both;
use super::test;
use super::Test;

pub const TESTS: &[Test] = &[both(test(
    "i1_i3_a_table_that_writes_have_gone_past_is_refused",
    |_| passed(),
))];

const SECTORS: u64 = 64 << 11;
const LIMIT: Duration = Duration::from_secs(30);

fn rig() -> Result<Rig> {
    let spec = Spec {
        sectors: SECTORS,
        args: &["on_full=block"],
        ..Spec::mb(1)
    };
    Rig::with_store(&spec, 16 << 11)
}

fn passed() -> Result<()> {
    let rig = rig()?;
    let disk = rig.disk()?;
    let id = rig.control.snapshot()?;
    let before = rig.control.info()?;
    let line = rig.table(SECTORS, &["on_full=block"]);
    thread::scope(|scope| {
        let writer = scope.spawn(|| disk.stamp_all(SECTORS, 2));
        let swapped = (|| {
            wait_until("writes wait", LIMIT, || {
                Ok(rig.control.info()?.state == STATE_BLOCKED)
            })?;
            rig.dm
                .load(&format!("0 {SECTORS} linear {} 0", rig.origin.path()))?;
            let resume = Background::start("dmsetup", &["resume", "--noudevsync", rig.dm.name()])?;
            thread::sleep(Duration::from_millis(1500));
            rig.dm.load(&line)?;
            Ok(resume)
        })();
        // Whatever happened, the writer must come to its end.
        let dropped = rig.control.drop_snapshot(id);
        writer.join().map_err(|_| anyhow!("the writer died"))??;
        dropped?;
        let resume: Result<Background> = swapped;
        resume?.finish(LIMIT).map(drop)
    })?;
    ensure!(rig.dm.table()?.contains("linear"), "{}", rig.dm.table()?);
    disk.stamp(0, 80, 3)?;
    let mut kernel = Kmsg::now()?;
    ensure!(rig.dm.resume().is_err(), "a stale table became active");
    said(&mut kernel, "load it again")?;
    rig.dm.load(&line)?;
    rig.dm.resume()?;
    let after = rig.control.info()?;
    ensure!(after.snapshots == 0, "{after:?}");
    ensure!(after.generation != before.generation, "the generation");
    disk.check(0, &[3; 80])?;
    rig.control.snapshot()?;
    Ok(())
}
