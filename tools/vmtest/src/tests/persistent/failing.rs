// SPDX-License-Identifier: GPL-2.0

//! While a store fails in which not even that can be recorded, nothing takes effect that it does
//! not know of. When the device is gone and the store is found again, everything is as it was.

#![forbid(unsafe_code)]

use std::thread;
use std::time::Duration;

use anyhow::ensure;
use anyhow::Result;
use preserve::uapi::Range;
use preserve::uapi::EVENT_INVALID;
use preserve::uapi::STATE_BLOCKED;
use rustix::io::Errno;
use vmtest::cmd::wait_until;
use vmtest::disk::expect_errno;
use vmtest::disk::Disk;
use vmtest::kmsg::Kmsg;
use vmtest::reboot;
use vmtest::rig::Rig;
use vmtest::rig::Spec;

use super::on_error;
use super::portrait::points;
use super::portrait::Portrait;
use crate::tests::lifecycle::LIMIT;
use crate::tests::test;
use crate::tests::Test;

pub const TESTS: &[Test] = &[
    test(
        "i1_i3_persistent_failing_store_keeps_need_behind_a_snapshot",
        |_| needed_waits(Refused::Snapshot),
    ),
    test(
        "i1_i3_persistent_failing_store_keeps_need_behind_a_drop",
        |_| needed_waits(Refused::Drop),
    ),
    test(
        "i1_i3_persistent_failing_store_refuses_what_it_cannot_log",
        |_| refuses(),
    ),
    test(
        "i1_i3_persistent_failing_store_under_a_device_that_grows",
        |_| grows(),
    ),
    test(
        "i4_persistent_failing_store_holds_up_no_other_write",
        |_| passes(),
    ),
];

/// What the user wants when it is found that the store has failed.
#[derive(Clone, Copy)]
enum Refused {
    Snapshot,
    Drop,
}

/// Of two snapshots. The third one is a bookmark.
const SECOND: u64 = 2;
const BOOKMARK: u64 = 3;
/// The first sectors, which nobody needs.
const UNNEEDED: u64 = 1024;
/// A chunk that both snapshots need, and that has never been copied.
const NEEDED: u64 = 1600;
/// Longer than until the next attempt to write to the store.
const WHILE: Duration = Duration::from_millis(2500);

/// A device whose only region is announced in the log, by writes of the first so many sectors.
fn rig(written: u64) -> Result<(Rig, Disk)> {
    let (rig, disk) = on_error::rig_of(Spec::mb(1))?;
    rig.control.snapshot_keeping(None, 4)?;
    rig.control.drop_snapshot(BOOKMARK)?;
    // The checkpoints of the snapshots must come to their end, as the next one forgets what is
    // announced.
    rig.settle()?;
    thread::sleep(Duration::from_secs(1));
    disk.stamp(0, written, 3)?;
    Ok((rig, disk))
}

/// The store fails, which the user is told; the snapshots are still there.
fn fail(rig: &Rig, refused: Refused) -> Result<()> {
    let (seen, all) = (rig.control.info()?.event, points(rig)?);
    let mut kernel = Kmsg::now()?;
    on_error::break_store(rig)?;
    match refused {
        Refused::Snapshot => expect_errno("a snapshot", rig.control.snapshot(), Errno::IO)?,
        Refused::Drop => expect_errno("a drop", rig.control.drop_snapshot(SECOND), Errno::IO)?,
    }
    let mut said = Vec::new();
    wait_until("the kernel tells of it", LIMIT, || {
        said.append(&mut kernel.lines()?);
        let heard = |line: &String| line.contains("not even a superblock can be written");
        Ok(said.iter().any(heard))
    })?;
    let lost = said.iter().find(|line| line.contains("is given up"));
    ensure!(lost.is_none(), "the kernel said {lost:?}");
    kept(rig, seen)?;
    ensure!(points(rig)? == all, "{:?}", points(rig)?);
    Ok(())
}

/// Nothing is lost yet, and nothing else is said.
fn kept(rig: &Rig, seen: u64) -> Result<()> {
    let info = rig.control.info()?;
    ensure!(
        (info.state, info.snapshots, info.invalidated) == (STATE_BLOCKED, 2, 0),
        "{info:?}"
    );
    let kinds = match rig.control.wait(seen, 1000) {
        Ok((_, kinds)) => kinds,
        // Nothing has happened since.
        Err(e) if e.raw_os_error() == Some(Errno::TIMEDOUT.raw_os_error()) => 0,
        Err(e) => return Err(e.into()),
    };
    ensure!(kinds & EVENT_INVALID == 0, "kinds {kinds}");
    Ok(())
}

/// Begins writes of one chunk each, all of which must wait. They fail when another table takes the
/// device's place. The machine restarts, as that is the way out that keeps the snapshots: behind
/// another table in the same boot the store is not believed. The store can be written then.
fn wait(mut rig: Rig, disk: Disk, writes: &[u64], before: &Portrait) -> Result<()> {
    let table = format!("0 {} error", disk.sectors());
    let passed: Vec<u64> = thread::scope(|scope| {
        let disk = &disk;
        let begin = |at: u64| (at, scope.spawn(move || disk.stamp(at, 8, 7)));
        let writers: Vec<_> = writes.iter().copied().map(begin).collect();
        thread::sleep(WHILE);
        let passed = writers.iter().filter(|(_, writer)| writer.is_finished());
        let passed = passed.map(|(at, _)| *at).collect();
        let swapped = rig.dm.swap_noflush(&table);
        if swapped.is_err() {
            // The writers must come to their end.
            rig.mend_store()?;
        }
        swapped.map(|()| passed)
    })?;
    drop(disk);
    rig.close()?;
    rig.mend()?;
    reboot::pass(rig.store_disk())?;
    rig.open()?;
    before.compare(&Portrait::of(&rig)?)?;
    ensure!(passed.is_empty(), "writes at {passed:?} went on");
    Ok(())
}

/// Behind a snapshot that was refused every write waits: its record may be on the disk.
fn needed_waits(refused: Refused) -> Result<()> {
    let (rig, disk) = rig(UNNEEDED)?;
    let before = Portrait::of(&rig)?;
    fail(&rig, refused)?;
    let writes: &[u64] = match refused {
        Refused::Snapshot => &[NEEDED, 80],
        Refused::Drop => &[NEEDED],
    };
    wait(rig, disk, writes, &before)
}

/// What the user is told to be done would not be found again, and what is not needed for it would
/// not be marked.
fn refuses() -> Result<()> {
    let (rig, disk) = rig(UNNEEDED)?;
    let before = Portrait::of(&rig)?;
    fail(&rig, Refused::Drop)?;
    let (seen, control) = (rig.control.info()?.event, &rig.control);
    for id in 1..=SECOND {
        expect_errno("a drop", control.drop_snapshot(id), Errno::IO)?;
        expect_errno("a release", control.release(id, NEEDED, 8), Errno::IO)?;
    }
    expect_errno("to forget", control.forget(BOOKMARK), Errno::IO)?;
    let range = Range { start: 0, len: 80 };
    expect_errno("an edit", control.edit(true, &[range]), Errno::IO)?;
    expect_errno("a snapshot", control.snapshot(), Errno::IO)?;
    ensure!(control.info()?.event == seen, "events");
    wait(rig, disk, &[NEEDED], &before)
}

/// Its new epoch cannot be logged. So nothing is known of it that would let a write pass.
fn grows() -> Result<()> {
    let (rig, disk) = rig(UNNEEDED)?;
    let before = Portrait::of(&rig)?;
    fail(&rig, Refused::Drop)?;
    let (seen, larger) = (rig.control.info()?.event, 2 * rig.sectors());
    let path = rig.origin_disk();
    rig.origin.swap(&format!("0 {larger} linear {path} 0"))?;
    rig.dm
        .swap_noflush(&rig.table(larger, &["on_error=block"]))?;
    kept(&rig, seen)?;
    drop(disk);
    let disk = rig.disk()?;
    ensure!(disk.sectors() == larger, "it has not grown");
    wait(rig, disk, &[NEEDED, 80, larger - 8], &before)
}

/// Chunks that are marked already, and others that nobody needs in a region that the log has.
fn passes() -> Result<()> {
    let (mut rig, disk) = rig(8)?;
    fail(&rig, Refused::Drop)?;
    thread::scope(|scope| {
        let writer = scope.spawn(|| [0, 80].iter().try_for_each(|at| disk.stamp(*at, 8, 7)));
        let done = wait_until("the writes go on", LIMIT, || Ok(writer.is_finished()));
        if done.is_err() {
            rig.mend_store()?;
        }
        let written = writer.join();
        done.and(Ok(written.map_err(|_| anyhow::anyhow!("the writer died"))??))
    })?;
    drop(disk);
    rig.close()?;
    rig.mend()?;
    rig.open()?;
    ensure!(rig.control.info()?.snapshots == 2, "snapshots");
    let changed = rig.set_in("snapshot_map")?;
    ensure!(changed.contains(&0) && changed.contains(&10), "{changed:?}");
    rig.dm.check(80, &[7; 8])
}
