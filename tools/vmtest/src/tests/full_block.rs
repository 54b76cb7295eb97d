// SPDX-License-Identifier: GPL-2.0

//! A full store with `on_full=block`: the writes wait, and everything that can give them space
//! does.

#![forbid(unsafe_code)]

pub mod blocked;

use std::thread;
use std::time::Duration;

use anyhow::ensure;
use anyhow::Result;
use preserve::uapi::TakeSnapshot;
use rustix::io::Errno;
use vmtest::cmd::wait_until;
use vmtest::cmd::Background;
use vmtest::disk::expect_errno;
use vmtest::disk::Buffer;
use vmtest::disk::Disk;

use super::both;
use super::persistent::io_counts::number;
use super::test;
use super::Test;
use blocked::blocked;
use blocked::rig;
use blocked::stamps;
use blocked::Unblocked;
use blocked::FIRST;
use blocked::LIMIT;

pub const TESTS: &[Test] = &[
    both(test("full_store_blocks_and_drop_unblocks", |_| {
        drop_unblocks()
    })),
    both(test(
        "full_store_blocks_and_a_drop_message_unblocks",
        |_| message(),
    )),
    both(test("full_store_blocks_and_release_unblocks", |_| {
        release()
    })),
    both(test(
        "full_store_blocks_and_a_new_snapshot_unblocks",
        |_| snapshot(),
    )),
    both(test(
        "full_store_blocks_and_a_larger_store_unblocks",
        |_| larger(),
    )),
    both(test(
        "full_store_blocks_and_a_grow_message_unblocks",
        |_| grow(),
    )),
    both(test(
        "full_store_blocks_and_on_full_invalidate_unblocks",
        |_| invalidate(),
    )),
    both(test("blocked_writes_do_not_hold_up_others", |_| others())),
    both(test(
        "a_write_that_waits_is_no_idleness_and_counts_with_its_time",
        |_| not_idle(),
    )),
    both(test("full_store_blocks_within_one_large_write", |_| {
        one_write()
    })),
    both(test(
        "i1_an_interrupted_noflush_suspend_ends_no_write",
        |_| interrupted(),
    )),
    both(test(
        "i4_a_drop_message_ends_a_flushing_suspend_of_a_full_store",
        |_| flushing(|id, _| format!("drop {id}")),
    )),
    both(test(
        "i4_a_release_message_ends_a_flushing_suspend_of_a_full_store",
        |_| flushing(|id, at| format!("release {id} {at} 8")),
    )),
];

/// Columns of a device's `stat`.
const WRITES: usize = 4;
const WRITE_MS: usize = 7;
const IN_FLIGHT: usize = 8;

fn not_idle() -> Result<()> {
    let blocked = blocked()?;
    let device = blocked
        .rig
        .dm
        .path()
        .trim_start_matches("/dev/")
        .to_string();
    let (writes, ms) = (number(&device, WRITES)?, number(&device, WRITE_MS)?);
    let wish = TakeSnapshot {
        idle_ms: 50,
        timeout_ms: 500,
        ..TakeSnapshot::default()
    };
    let taken = blocked.rig.control.take(wish, 0);
    expect_errno("idleness while a write waits", taken, Errno::TIMEDOUT)?;
    blocked.rig.control.drop_snapshot(blocked.id)?;
    let Unblocked {
        rig, disk: _disk, ..
    } = blocked.unblocked()?;
    // It was one write, which began before all this.
    let (writes, ms) = (
        number(&device, WRITES)? - writes,
        number(&device, WRITE_MS)? - ms,
    );
    ensure!(writes == 1 && ms >= 500, "{writes} writes took {ms} ms");
    let in_flight = number(&device, IN_FLIGHT)?;
    ensure!(in_flight == 0, "{in_flight} still in flight");
    rig.control.take(wish, 0).map(drop).map_err(Into::into)
}

fn drop_unblocks() -> Result<()> {
    let blocked = blocked()?;
    blocked.rig.control.drop_snapshot(blocked.id)?;
    let Unblocked {
        rig, disk: _disk, ..
    } = blocked.unblocked()?;
    ensure!(
        rig.control.info()?.invalidated == 0,
        "a dropped one is not given up"
    );
    Ok(())
}

fn message() -> Result<()> {
    let blocked = blocked()?;
    blocked.rig.dm.message(&format!("drop {}", blocked.id))?;
    blocked.unblocked().map(drop)
}

fn release() -> Result<()> {
    let blocked = blocked()?;
    let (at, end) = (blocked.at, blocked.rig.sectors());
    // Somewhere else helps nobody.
    blocked.rig.control.release(blocked.id, end - 8, 8)?;
    thread::sleep(Duration::from_millis(500));
    ensure!(!blocked.writer.is_finished(), "an unrelated release");
    blocked.rig.control.release(blocked.id, at, 8)?;
    let Unblocked {
        rig,
        id,
        disk: _disk,
        ..
    } = blocked.unblocked()?;
    // The snapshot is still there, but for that chunk.
    let view = rig.view("vt-view", id, &[])?;
    let frozen = Disk::open_ro(view.path())?;
    frozen.check(0, &stamps(1, at))?;
    frozen.check(at + 8, &stamps(1, end - at - 8))?;
    ensure!(frozen.read(at, 8).is_err(), "the released chunk");
    Ok(())
}

fn snapshot() -> Result<()> {
    let blocked = blocked()?;
    let id = blocked.rig.snapshot()?;
    let Unblocked {
        rig,
        at,
        disk: _disk,
        ..
    } = blocked.unblocked()?;
    // The write came after it, so it needed a copy for it.
    let view = rig.view("vt-view", id, &[])?;
    let frozen = Disk::open_ro(view.path())?;
    frozen.check(0, &[stamps(2, at), stamps(1, rig.sectors() - at)].concat())
}

fn larger() -> Result<()> {
    let blocked = blocked()?;
    let rig = &blocked.rig;
    let (path, sectors, before) = (
        rig.store_disk(),
        rig.sectors(),
        rig.number("store_sectors")?,
    );
    let larger = rig.store_sectors() * 2;
    rig.store.swap(&format!("0 {larger} linear {path} 0"))?;
    // A write that waits cannot be flushed out; without a flush it goes back to device-mapper.
    rig.dm
        .swap_noflush(&rig.table(sectors, &["on_full=block"]))?;
    let Unblocked { rig, id, disk, at } = blocked.unblocked()?;
    ensure!(rig.number("store_sectors")? > before, "the store's size");
    for chunk in 1..15 {
        disk.stamp(at + chunk * 8, 8, 3)?;
    }
    let view = rig.view("vt-view", id, &[])?;
    view.check(0, &stamps(1, sectors))
}

/// Without any suspend of the live device.
fn grow() -> Result<()> {
    let blocked = blocked()?;
    let rig = &blocked.rig;
    let (path, before) = (rig.store_disk(), rig.number("store_sectors")?);
    rig.dm.message("grow")?;
    ensure!(!blocked.writer.is_finished(), "the store is not larger yet");
    let larger = rig.store_sectors() * 2;
    rig.store.swap(&format!("0 {larger} linear {path} 0"))?;
    rig.dm.message("grow")?;
    let Unblocked { rig, id, .. } = blocked.unblocked()?;
    ensure!(rig.number("store_sectors")? > before, "the store's size");
    let view = rig.view("vt-view", id, &[])?;
    view.check(0, &stamps(1, rig.sectors()))
}

fn invalidate() -> Result<()> {
    let blocked = blocked()?;
    let rig = &blocked.rig;
    rig.dm.swap_noflush(&rig.table(rig.sectors(), &[]))?;
    let Unblocked {
        rig, disk: _disk, ..
    } = blocked.unblocked()?;
    ensure!(rig.control.info()?.invalidated == 1, "given up");
    Ok(())
}

fn others() -> Result<()> {
    let blocked = blocked()?;
    let (rig, disk) = (&blocked.rig, &blocked.disk);
    // Reads, frozen reads, writes that need no copy, flushes, and everything that looks.
    let at = blocked.at;
    disk.check(at, &[1; 8])?;
    disk.stamp(0, FIRST, 4)?;
    disk.flush()?;
    let view = rig.view("vt-view", blocked.id, &[])?;
    view.check(0, &stamps(1, rig.sectors()))?;
    rig.control.read(blocked.id, at, &mut Buffer::new(8))?;
    rig.dm.message("protect 0 8")?;
    disk.discard(at + 8, 8)?;
    ensure!(rig.status()?.state == "blocked");
    ensure!(!blocked.writer.is_finished());
    drop(view);
    rig.control.drop_snapshot(blocked.id)?;
    blocked.unblocked().map(drop)
}

fn one_write() -> Result<()> {
    let rig = rig()?;
    let (disk, sectors) = (rig.disk()?, rig.sectors());
    let id = rig.snapshot()?;
    let other = rig.disk()?;
    let writer = thread::spawn(move || other.stamp(0, sectors, 2));
    wait_until("the state is blocked", LIMIT, || {
        Ok(rig.sysfs("state")? == "blocked")
    })?;
    // Nothing of it may have been written where the content is not preserved.
    let view = rig.view("vt-view", id, &[])?;
    view.check(0, &stamps(1, sectors))?;
    drop(view);
    rig.control.drop_snapshot(id)?;
    wait_until("the write goes on", LIMIT, || Ok(writer.is_finished()))?;
    writer
        .join()
        .map_err(|_| anyhow::anyhow!("the writer died"))??;
    disk.check(0, &stamps(2, sectors))
}

/// The write that waits goes back to device-mapper; another one is held up on the origin, so the
/// suspend cannot end, until it is interrupted. Then the first one waits as before.
fn interrupted() -> Result<()> {
    let blocked = blocked()?;
    let rig = &blocked.rig;
    rig.origin.suspend_noflush()?;
    let other = rig.disk()?;
    let held = thread::spawn(move || other.stamp(0, 8, 3));
    let interrupted = (|| {
        thread::sleep(Duration::from_millis(300));
        let args = ["suspend", "--nolockfs", "--noflush", rig.dm.name()];
        let mut suspend = Background::start("dmsetup", &args)?;
        thread::sleep(Duration::from_millis(500));
        ensure!(!suspend.ended()?, "it ended: {}", suspend.output());
        // This kills it.
        drop(suspend);
        // What waits looks again.
        Ok(blocked
            .rig
            .control
            .release(blocked.id, blocked.rig.sectors() - 8, 8)?)
    })();
    rig.origin.resume()?;
    interrupted?;
    let held = held.join();
    held.map_err(|_| anyhow::anyhow!("the writer died"))??;
    thread::sleep(Duration::from_millis(300));
    ensure!(!blocked.writer.is_finished(), "it went on without space");
    blocked.rig.control.drop_snapshot(blocked.id)?;
    blocked.unblocked().map(drop)
}

/// A suspend that flushes waits for the write that waits for space; a message that lets the write
/// go gets through meanwhile.
fn flushing(what: impl Fn(u64, u64) -> String) -> Result<()> {
    let blocked = blocked()?;
    let name = blocked.rig.dm.name();
    let mut suspend = Background::start("dmsetup", &["suspend", "--nolockfs", name])?;
    thread::sleep(Duration::from_millis(500));
    ensure!(!suspend.ended()?, "it ended: {}", suspend.output());
    ensure!(!blocked.writer.is_finished(), "it went on without space");
    let words = what(blocked.id, blocked.at);
    let words: Vec<&str> = words.split(' ').collect();
    let sent = Background::start("dmsetup", &[&["message", name, "0"], &words[..]].concat())?;
    sent.finish(LIMIT)?;
    suspend.finish(LIMIT)?;
    wait_until("the write is done", LIMIT, || {
        Ok(blocked.writer.is_finished())
    })?;
    blocked.rig.dm.resume()?;
    let unblocked = blocked.unblocked()?;
    ensure!(unblocked.rig.control.info()?.invalidated == 0, "given up");
    Ok(())
}
