// SPDX-License-Identifier: GPL-2.0

//! A device on which a write waits, as its store is full.

#![forbid(unsafe_code)]

use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::anyhow;
use anyhow::ensure;
use anyhow::Result;
use preserve::uapi::EVENT_BLOCKED;
use preserve::uapi::STATE_ACTIVE;
use preserve::uapi::STATE_BLOCKED;
use vmtest::cmd::wait_until;
use vmtest::disk::Disk;
use vmtest::live::Kind;
use vmtest::rig::Rig;
use vmtest::rig::Spec;

/// For what must come to its end.
pub const LIMIT: Duration = Duration::from_secs(15);
/// See [`fill`].
pub struct Writer {
    thread: JoinHandle<std::io::Result<()>>,
    at: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

/// Sectors that any store here takes.
pub const FIRST: u64 = 16 * 8;

/// Sizes of the device and of the whole store, of which the latter takes a part of the former: 16
/// chunks, or two segments.
pub fn sizes() -> (u64, u64) {
    match Spec::mb(1).kind {
        Kind::Transient => (512, FIRST),
        Kind::Persistent => (3072, 452 * 8),
    }
}

/// A device with one stamp everywhere, and with a store that does not take all of it.
pub fn rig() -> Result<Rig> {
    let (sectors, store) = sizes();
    let spec = Spec {
        sectors,
        args: &["on_full=block"],
        ..Spec::mb(1)
    };
    let rig = Rig::with_store(&spec, store)?;
    rig.disk()?.stamp_all(sectors, 1)?;
    Ok(rig)
}

/// A device on which the write of the chunk at sector `at` waits for space.
pub struct Blocked {
    pub writer: Writer,
    pub at: u64,
    pub id: u64,
    pub disk: Disk,
    pub rig: Rig,
}

/// Writes chunk after chunk, until one has to wait; that is the last, if it is told to stop.
pub fn fill(rig: &Rig, from: u64) -> Result<Writer> {
    let (at, stop) = (
        Arc::new(AtomicU64::new(from)),
        Arc::new(AtomicBool::new(false)),
    );
    let (disk, end) = (rig.disk()?, rig.sectors());
    let thread = thread::spawn({
        let (at, stop) = (at.clone(), stop.clone());
        move || {
            while at.load(Ordering::SeqCst) < end {
                disk.stamp(at.load(Ordering::SeqCst), 8, 2)?;
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                at.fetch_add(8, Ordering::SeqCst);
            }
            Ok(())
        }
    });
    wait_until("the state is blocked", LIMIT, || {
        Ok(rig.sysfs("state")? == "blocked")
    })?;
    Ok(Writer { thread, at, stop })
}

impl Writer {
    /// The first sector of what it writes now.
    pub fn at(&self) -> u64 {
        self.at.load(Ordering::SeqCst)
    }

    /// The write that is under way is the last.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    /// Whether it is done.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// What came of its last write.
    pub fn end(self) -> Result<std::io::Result<()>> {
        wait_until("the write goes on", LIMIT, || Ok(self.is_finished()))?;
        self.thread.join().map_err(|_| anyhow!("the writer died"))
    }
}

/// A snapshot that needs all, and a write that waits for space.
pub fn blocked() -> Result<Blocked> {
    let rig = rig()?;
    let disk = rig.disk()?;
    let id = rig.snapshot()?;
    rig.settle()?;
    disk.stamp(0, FIRST, 2)?;
    ensure!(rig.sysfs("state")? == "active", "nobody waits yet");
    let seen = rig.control.info()?.event;
    let writer = fill(&rig, FIRST)?;
    writer.stop();
    let at = writer.at();
    ensure!(rig.control.info()?.state == STATE_BLOCKED);
    ensure!(rig.status()?.state == "blocked");
    let (_, kinds) = rig.control.wait(seen, 1000)?;
    ensure!(kinds & EVENT_BLOCKED != 0, "kinds {kinds}");
    thread::sleep(Duration::from_millis(300));
    ensure!(!writer.is_finished(), "a write without space went on");
    Ok(Blocked {
        writer,
        at,
        id,
        disk,
        rig,
    })
}

/// And when it has gone on. The disk goes before the device that it keeps open.
pub struct Unblocked {
    pub disk: Disk,
    pub at: u64,
    pub id: u64,
    pub rig: Rig,
}

impl Blocked {
    /// The write must be done soon.
    pub fn unblocked(self) -> Result<Unblocked> {
        self.writer.end()??;
        self.disk.check(self.at, &[2; 8])?;
        let rig = self.rig;
        wait_until("the state is active", LIMIT, || {
            Ok(rig.control.info()?.state == STATE_ACTIVE)
        })?;
        Ok(Unblocked {
            disk: self.disk,
            at: self.at,
            id: self.id,
            rig,
        })
    }
}

/// So many sectors with a stamp each.
pub fn stamps(stamp: u64, sectors: u64) -> Vec<u64> {
    vec![stamp; sectors as usize]
}
