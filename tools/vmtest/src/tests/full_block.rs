// SPDX-License-Identifier: GPL-2.0

//! A full store with `on_full=block`: the writes wait, and everything that can give them space does.

#![forbid(unsafe_code)]

use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::ensure;
use anyhow::Result;
use preserve::uapi::EVENT_BLOCKED;
use preserve::uapi::STATE_ACTIVE;
use preserve::uapi::STATE_BLOCKED;
use vmtest::cmd::wait_until;
use vmtest::cmd::Background;
use vmtest::disk::Buffer;
use vmtest::disk::Disk;
use vmtest::rig::Rig;
use vmtest::rig::Spec;

use super::test;
use super::Test;

pub const TESTS: &[Test] = &[
    test("full_store_blocks_and_drop_unblocks", |_| drop_unblocks()),
    test("full_store_blocks_and_a_drop_message_unblocks", |_| {
        message()
    }),
    test("full_store_blocks_and_release_unblocks", |_| release()),
    test("full_store_blocks_and_a_new_snapshot_unblocks", |_| {
        snapshot()
    }),
    test("full_store_blocks_and_a_larger_store_unblocks", |_| {
        larger()
    }),
    test("full_store_blocks_and_a_grow_message_unblocks", |_| grow()),
    test("full_store_blocks_and_on_full_invalidate_unblocks", |_| {
        invalidate()
    }),
    test("blocked_writes_do_not_hold_up_others", |_| others()),
    test("full_store_blocks_within_one_large_write", |_| one_write()),
    test("i1_an_interrupted_noflush_suspend_ends_no_write", |_| {
        interrupted()
    }),
];

const SECTORS: u64 = 512;
const STORE: u64 = 16 * 8;
const LIMIT: Duration = Duration::from_secs(15);

/// A device on which the write of chunk 20 waits for space.
struct Blocked {
    writer: JoinHandle<std::io::Result<()>>,
    id: u64,
    disk: Disk,
    rig: Rig,
}

fn blocked() -> Result<Blocked> {
    let rig = Rig::new(&Spec {
        sectors: SECTORS,
        store: STORE,
        args: &["on_full=block"],
        ..Spec::mb(1)
    })?;
    let disk = rig.disk()?;
    disk.stamp_all(SECTORS, 1)?;
    let id = rig.snapshot()?;
    for chunk in 0..16 {
        disk.stamp(chunk * 8, 8, 2)?;
    }
    ensure!(
        rig.sysfs("state")? == "active",
        "full, but nobody waits yet"
    );
    let seen = rig.control.info()?.event;
    let other = rig.disk()?;
    let writer = thread::spawn(move || other.stamp(20 * 8, 8, 2));
    wait_until("the state is blocked", LIMIT, || {
        Ok(rig.sysfs("state")? == "blocked")
    })?;
    ensure!(rig.control.info()?.state == STATE_BLOCKED);
    ensure!(rig.status()?.state == "blocked");
    let (_, kinds) = rig.control.wait(seen, 1000)?;
    ensure!(kinds & EVENT_BLOCKED != 0, "kinds {kinds}");
    thread::sleep(Duration::from_millis(300));
    ensure!(!writer.is_finished(), "a write without space went on");
    Ok(Blocked {
        writer,
        id,
        disk,
        rig,
    })
}

/// And when it has gone on. The disk goes before the device that it keeps open.
struct Unblocked {
    disk: Disk,
    id: u64,
    rig: Rig,
}

impl Blocked {
    /// The write must be done soon.
    fn unblocked(self) -> Result<Unblocked> {
        wait_until("the write goes on", LIMIT, || Ok(self.writer.is_finished()))?;
        self.writer
            .join()
            .map_err(|_| anyhow::anyhow!("the writer died"))??;
        self.disk.check(160, &[2; 8])?;
        let rig = self.rig;
        wait_until("the state is active", LIMIT, || {
            Ok(rig.control.info()?.state == STATE_ACTIVE)
        })?;
        Ok(Unblocked {
            disk: self.disk,
            id: self.id,
            rig,
        })
    }
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
    // Somewhere else helps nobody.
    blocked.rig.control.release(blocked.id, 400, 8)?;
    thread::sleep(Duration::from_millis(500));
    ensure!(!blocked.writer.is_finished(), "an unrelated release");
    blocked.rig.control.release(blocked.id, 160, 8)?;
    let Unblocked {
        rig,
        id,
        disk: _disk,
    } = blocked.unblocked()?;
    // The snapshot is still there, but for that chunk.
    let view = rig.view("vt-view", id, &[])?;
    let frozen = Disk::open_ro(view.path())?;
    frozen.check(0, &[1; 160])?;
    frozen.check(168, &[1; 300])?;
    ensure!(frozen.read(160, 8).is_err(), "the released chunk");
    Ok(())
}

fn snapshot() -> Result<()> {
    let blocked = blocked()?;
    let id = blocked.rig.snapshot()?;
    let Unblocked {
        rig, disk: _disk, ..
    } = blocked.unblocked()?;
    // The write came after it, so it needed a copy for it.
    let view = rig.view("vt-view", id, &[])?;
    let frozen = Disk::open_ro(view.path())?;
    frozen.check(0, &[&[2; 128][..], &[1; 384]].concat())
}

fn larger() -> Result<()> {
    let blocked = blocked()?;
    let rig = &blocked.rig;
    let path = rig.store_disk();
    let larger = STORE * 2;
    rig.store.swap(&format!("0 {larger} linear {path} 0"))?;
    // A write that waits cannot be flushed out; without a flush it goes back to device-mapper.
    rig.dm
        .swap_noflush(&rig.table(SECTORS, &["on_full=block"]))?;
    let Unblocked { rig, id, disk } = blocked.unblocked()?;
    ensure!(rig.number("store_sectors")? == larger, "the store's size");
    for chunk in 32..47 {
        disk.stamp(chunk * 8, 8, 3)?;
    }
    let view = rig.view("vt-view", id, &[])?;
    view.check(0, &[1; SECTORS as usize])
}

/// Without any suspend of the live device.
fn grow() -> Result<()> {
    let blocked = blocked()?;
    let rig = &blocked.rig;
    let path = rig.store_disk();
    rig.dm.message("grow")?;
    ensure!(!blocked.writer.is_finished(), "the store is not larger yet");
    let larger = STORE * 2;
    rig.store.swap(&format!("0 {larger} linear {path} 0"))?;
    rig.dm.message("grow")?;
    let Unblocked { rig, id, .. } = blocked.unblocked()?;
    ensure!(rig.number("store_sectors")? == larger, "the store's size");
    let view = rig.view("vt-view", id, &[])?;
    view.check(0, &[1; SECTORS as usize])
}

fn invalidate() -> Result<()> {
    let blocked = blocked()?;
    let rig = &blocked.rig;
    rig.dm.swap_noflush(&rig.table(SECTORS, &[]))?;
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
    disk.check(160, &[1; 8])?;
    disk.stamp(0, 128, 4)?;
    disk.flush()?;
    let view = rig.view("vt-view", blocked.id, &[])?;
    view.check(0, &[1; SECTORS as usize])?;
    rig.control.read(blocked.id, 160, &mut Buffer::new(8))?;
    rig.dm.message("protect 0 8")?;
    disk.discard(168, 8)?;
    ensure!(rig.status()?.state == "blocked");
    ensure!(!blocked.writer.is_finished());
    drop(view);
    rig.control.drop_snapshot(blocked.id)?;
    blocked.unblocked().map(drop)
}

fn one_write() -> Result<()> {
    let rig = Rig::new(&Spec {
        sectors: SECTORS,
        store: STORE,
        args: &["on_full=block"],
        ..Spec::mb(1)
    })?;
    let disk = rig.disk()?;
    disk.stamp_all(SECTORS, 1)?;
    let id = rig.snapshot()?;
    let other = rig.disk()?;
    let writer = thread::spawn(move || other.stamp(0, SECTORS, 2));
    wait_until("the state is blocked", LIMIT, || {
        Ok(rig.sysfs("state")? == "blocked")
    })?;
    // Nothing of it may have been written where the content is not preserved.
    let view = rig.view("vt-view", id, &[])?;
    view.check(0, &[1; SECTORS as usize])?;
    drop(view);
    rig.control.drop_snapshot(id)?;
    wait_until("the write goes on", LIMIT, || Ok(writer.is_finished()))?;
    writer
        .join()
        .map_err(|_| anyhow::anyhow!("the writer died"))??;
    disk.check(0, &[2; SECTORS as usize])
}

/// The write that waits goes back to device-mapper; another one is held up on the origin, so the suspend cannot end, until it
/// is interrupted. Then the first one waits as before.
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
        Ok(blocked.rig.control.release(blocked.id, 400, 8)?)
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
