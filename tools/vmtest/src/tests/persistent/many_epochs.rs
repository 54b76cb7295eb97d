// SPDX-License-Identifier: GPL-2.0

//! One snapshot stays while hundreds come and go: at the limit the next one is refused, and nothing
//! is lost.

#![forbid(unsafe_code)]

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use rustix::io::Errno;
use vmtest::disk::expect_errno;
use vmtest::kmsg::Kmsg;
use vmtest::rig::Rig;
use vmtest::rig::Spec;

use super::portrait::Portrait;
use crate::tests::bad_table::said;
use crate::tests::slow;
use crate::tests::Test;

pub const TESTS: &[Test] = &[slow(
    "i1_i3_persistent_too_many_epochs_are_refused_in_time",
    120,
    |_| refused(),
)];

/// As in the module's `timeline::MAX_SCOPE`.
const MAX_SCOPE: u64 = 500;

fn refused() -> Result<()> {
    let mut rig = Rig::new(&Spec::mb(1).persistent())?;
    rig.dm.stamp(0, rig.sectors(), 1)?;
    let first = rig.control.snapshot()?;
    rig.dm.stamp(0, 80, 2)?;
    let passing = |base: u64| -> Result<u64> {
        let id = rig.control.snapshot_keeping(Some(base), 4)?;
        rig.control.drop_snapshot(id)?;
        Ok(id)
    };
    let mut last = first;
    for _ in 1..MAX_SCOPE {
        last = passing(last)?;
    }
    // A checkpoint has room for this one, ...
    let id = rig.control.snapshot_keeping(Some(first), 4)?;
    rig.settle().context("a checkpoint with the widest scope")?;
    rig.control.drop_snapshot(id)?;
    // ... and would not for the next.
    let mut kernel = Kmsg::now()?;
    let refused = rig.control.snapshot_keeping(Some(first), 4);
    expect_errno("a scope of too many epochs", refused, Errno::OVERFLOW)?;
    said(&mut kernel, "too many snapshots were taken since the base")?;
    passing(id)?;
    rig.settle()?;
    ensure!(rig.control.info()?.snapshots == 1, "the first one is gone");
    let before = Portrait::of(&rig)?;
    rig.reopen()?;
    before.compare(&Portrait::of(&rig)?)?;
    let view = rig.view("vt-view", first, &[])?;
    view.check(0, &[1; 2048])
}
