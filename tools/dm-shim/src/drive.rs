// SPDX-License-Identifier: GPL-2.0

//! Simulated drives: what block devices are made of here.
//!
//! Requests take a while, so they complete in any order, by interrupts. What is written is in a
//! volatile cache until it is flushed or forced out ([`SimDisk`]).

#![forbid(unsafe_code)]

use crate::block_device::DevT;
use crate::status::Status;
use dm_preserve_core::format::BLOCK_BYTES;
use dm_preserve_core::maps::SECTOR_BYTES;
use kernel::machine;
use sim::Data;
use sim::SimDisk;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

const BLOCK_SECTORS: u64 = BLOCK_BYTES as u64 / SECTOR_BYTES;
/// The longest that a request usually takes, in nanoseconds.
const USUAL_NS: u64 = 30_000;
/// The longest that it takes when the drive is slow.
const SLOW_NS: u64 = 3_000_000;

type Watcher = Rc<dyn Fn()>;
/// Gets the result, and what was read: one item for each 4 KiB.
pub(crate) type End = Box<dyn FnOnce(Status, Vec<Data>)>;

thread_local! {
    static DRIVES: RefCell<BTreeMap<DevT, Arc<Drive>>> = const { RefCell::new(BTreeMap::new()) };
    static WATCHER: RefCell<Option<Watcher>> = const { RefCell::new(None) };
}

/// Has `f` called after each change of a drive: a write has begun, has ended, or a flush has.
pub fn watch(f: Option<Watcher>) {
    WATCHER.set(f);
}

/// Puts a drive into the machine, in place of one with the same number.
pub fn plug_in(devt: DevT, disk: SimDisk) -> Arc<Drive> {
    let drive = Arc::new(Drive {
        devt,
        sectors: AtomicU64::new(disk.blocks() * BLOCK_SECTORS),
        disk: Mutex::new(disk),
        faults: Faults::default(),
    });
    DRIVES.with_borrow_mut(|drives| drives.insert(devt, drive.clone()));
    drive
}

/// Returns a drive.
pub(crate) fn find(devt: DevT) -> Option<Arc<Drive>> {
    DRIVES.with_borrow(|drives| drives.get(&devt).cloned())
}

/// What goes wrong with a drive. All odds are of 65536.
#[derive(Default)]
pub struct Faults {
    /// Reads fail.
    pub reads: AtomicU64,
    /// Writes fail; something of them may be there.
    pub writes: AtomicU64,
    /// Flushes fail.
    pub flushes: AtomicU64,
    /// What fails does so with errors that some drives have of their own, not with `EIO`.
    pub has_own_errors: AtomicBool,
    /// Requests take long.
    pub slow: AtomicU64,
}

impl Faults {
    /// Returns how what fails ends.
    fn status(&self) -> Status {
        match self.has_own_errors.load(Relaxed).then(|| machine::below(3)) {
            Some(0) => Status::NO_SPACE,
            Some(1) => Status::OFFLINE,
            _ => Status::IO_ERROR,
        }
    }
}

fn happens(odds: &AtomicU64) -> bool {
    let odds = odds.load(Relaxed);
    odds > 0 && (machine::random() & 0xffff) < odds
}

/// What a drive is asked for.
pub(crate) enum Request {
    Read {
        sector: u64,
        bytes: u64,
    },
    Write {
        sector: u64,
        data: Vec<Data>,
        is_forced: bool,
    },
    Flush,
}

/// A drive.
pub struct Drive {
    devt: DevT,
    sectors: AtomicU64,
    disk: Mutex<SimDisk>,
    /// What goes wrong.
    pub faults: Faults,
}

impl Drive {
    /// Returns its number.
    pub fn devt(&self) -> DevT {
        self.devt
    }

    /// Returns its size in sectors.
    pub fn sectors(&self) -> u64 {
        self.sectors.load(Relaxed)
    }

    /// Returns what is on it. Nobody else may look until the guard is dropped.
    pub fn disk(&self) -> MutexGuard<'_, SimDisk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It has become larger.
    pub fn grow(&self, blocks: u64) {
        self.disk().grow(blocks);
        self.sectors.store(blocks * BLOCK_SECTORS, Relaxed);
    }

    /// Begins a request; `end` is called in an interrupt.
    pub(crate) fn submit(self: &Arc<Self>, request: Request, end: End) {
        machine::point();
        match request {
            Request::Read { sector, bytes } => self.read(sector, bytes, end),
            Request::Write {
                sector,
                data,
                is_forced,
            } => self.write(sector, data, is_forced, end),
            Request::Flush => self.flush(end),
        }
    }

    fn after_a_while(&self, f: impl FnOnce() + 'static) {
        let longest = match happens(&self.faults.slow) {
            true => SLOW_NS,
            false => USUAL_NS,
        };
        machine::interrupt_in(1 + machine::below(longest), f);
    }

    fn changed(&self) {
        let watcher = WATCHER.with_borrow(Clone::clone);
        if let Some(watcher) = watcher {
            watcher();
        }
    }

    fn read(self: &Arc<Self>, sector: u64, bytes: u64, end: End) {
        // It sees what is there at some moment until its end.
        let early = (machine::below(2) == 0).then(|| self.get(sector, bytes));
        let this = self.clone();
        self.after_a_while(move || {
            let data = early.unwrap_or_else(|| this.get(sector, bytes));
            match data {
                Some(data) if !happens(&this.faults.reads) => end(Status::OK, data),
                Some(_) => end(this.faults.status(), Vec::new()),
                None => end(Status::IO_ERROR, Vec::new()),
            }
        });
    }

    /// Returns what is there; `None` beyond the end.
    fn get(&self, sector: u64, bytes: u64) -> Option<Vec<Data>> {
        let disk = self.disk();
        if sector.is_multiple_of(BLOCK_SECTORS) {
            let first = sector / BLOCK_SECTORS;
            let count = bytes.div_ceil(BLOCK_BYTES as u64);
            return (first..first + count)
                .map(|at| disk.get(at).cloned())
                .collect();
        }
        // Not whole blocks: piece by piece.
        let mut out = Vec::new();
        let end = sector + bytes / SECTOR_BYTES;
        let mut at = sector;
        while at < end {
            let mut block = [0; BLOCK_BYTES];
            for (n, to) in block.chunks_mut(SECTOR_BYTES as usize).enumerate() {
                let from = at + n as u64;
                if from < end {
                    let data = disk.get(from / BLOCK_SECTORS)?;
                    let within = (from % BLOCK_SECTORS * SECTOR_BYTES) as usize;
                    to.copy_from_slice(data.get(within..within + SECTOR_BYTES as usize)?);
                }
            }
            out.push(Arc::new(block));
            at += BLOCK_SECTORS;
        }
        Some(out)
    }

    fn write(self: &Arc<Self>, sector: u64, data: Vec<Data>, is_forced: bool, end: End) {
        let first = sector / BLOCK_SECTORS;
        let is_whole = sector.is_multiple_of(BLOCK_SECTORS);
        assert!(is_whole, "a write that does not begin with a block");
        let last = first + data.len() as u64;
        if last > self.disk().blocks() {
            return self.after_a_while(move || end(Status::IO_ERROR, Vec::new()));
        }
        let blocks = (first..).zip(data).collect();
        let id = self.disk().submit(blocks);
        self.changed();
        let this = self.clone();
        self.after_a_while(move || {
            let fails = happens(&this.faults.writes);
            match fails && machine::below(2) == 0 {
                true => this.disk().lose(id),
                false => this.disk().complete(id, is_forced && !fails),
            }
            this.changed();
            match fails {
                true => end(this.faults.status(), Vec::new()),
                false => end(Status::OK, Vec::new()),
            }
        });
    }

    fn flush(self: &Arc<Self>, end: End) {
        let completed = self.disk().completed();
        let this = self.clone();
        self.after_a_while(move || {
            if happens(&this.faults.flushes) {
                return end(this.faults.status(), Vec::new());
            }
            this.disk().sync_up_to(completed);
            this.changed();
            end(Status::OK, Vec::new());
        });
    }

    /// Does a request and waits for it. Returns what was read.
    ///
    /// Errors: `EIO`, and the drive's own.
    pub(crate) fn run(self: &Arc<Self>, request: Request) -> kernel::error::Result<Vec<Data>> {
        machine::might_sleep();
        let done = Rc::new(RefCell::new(None));
        let slot = done.clone();
        let end = move |status, data| {
            *slot.borrow_mut() = Some((status, data));
            machine::wake(machine::key(&*slot));
        };
        self.submit(request, Box::new(end));
        loop {
            let result: Option<(Status, Vec<Data>)> = done.borrow_mut().take();
            match result {
                Some((status, data)) => return status.to_result().map(|()| data),
                None => machine::park(machine::key(&*done), None),
            };
        }
    }
}
