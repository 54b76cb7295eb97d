// SPDX-License-Identifier: GPL-2.0

//! What users do with a device: write, and ask for things.

#![forbid(unsafe_code)]

use crate::config::Config;
use crate::config::Faults;
use crate::config::GROWTH;
use crate::device::Machine;
use crate::mapped::Mapped;
use crate::mapped::UserIo;
use crate::oracle;
use crate::oracle::Instant;
use crate::oracle::Oracle;
use crate::oracle::Snap;
use crate::verify;
use dm_preserve_core::uapi::args::ScopeWanted;
use dm_preserve_engine::engine::read_deadline;
use dm_shim::drive::Drive;
use dm_shim::on_close;
use dm_shim::Op;
use dm_shim::Parts;
use dm_shim::Span;
use kernel::machine;
use kernel::prelude::*;
use sim::Data;
use std::cell::Cell;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::Arc as StdArc;

/// How the error of a read ends that would have to wait for the device's resume.
const SUSPENDED: &str = "Error(-11)";

/// What all users of a device share.
pub(crate) struct Users {
    pub(crate) config: Config,
    pub(crate) mapped: StdArc<Mapped>,
    origin: StdArc<Drive>,
    store: StdArc<Drive>,
    pub(crate) oracle: Rc<RefCell<Oracle>>,
    /// Those who have not done all that they want.
    left: Cell<u64>,
    /// Those of them who write.
    writing: Cell<u64>,
    /// The hot chunk that somebody has last done something with, by its place in the list.
    last: Cell<usize>,
    /// Tells writes apart.
    writes: Cell<u64>,
}

impl Users {
    /// The users of a device that is in use.
    pub(crate) fn new(
        config: &Config,
        machine: &Machine,
        mapped: &StdArc<Mapped>,
        oracle: Rc<RefCell<Oracle>>,
        written: u64,
    ) -> Rc<Self> {
        Rc::new(Self {
            config: config.clone(),
            mapped: mapped.clone(),
            origin: machine.origin.clone(),
            store: machine.store.clone(),
            oracle,
            left: Cell::new(0),
            writing: Cell::new(0),
            last: Cell::new(0),
            writes: Cell::new(written),
        })
    }

    /// Returns how many blocks have been written.
    pub(crate) fn written(&self) -> u64 {
        self.writes.get()
    }

    /// Lets all of them do what they want, and waits.
    pub(crate) fn run(self: &Rc<Self>) {
        let slow = |drive: &Drive, odds| drive.faults.slow.store(odds, Relaxed);
        slow(&self.origin, self.config.get("slow_origin"));
        slow(&self.store, self.config.get("slow_store"));
        self.begin("requests", Self::ask);
        self.writing.set(self.config.get("writers"));
        for _ in 0..self.config.get("writers") {
            self.begin("writer", |this| {
                this.write();
                this.writing.set(this.writing.get() - 1);
            });
        }
        self.begin("reader", Self::read);
        self.begin("relief", Self::relieve);
        self.begin("faults", Self::fail);
        self.begin("listener", Self::listen);
        while self.left.get() > 0 {
            machine::park(machine::key(&**self), None);
        }
    }

    fn begin(self: &Rc<Self>, name: &'static str, what: fn(&Self)) {
        self.left.set(self.left.get() + 1);
        let this = self.clone();
        machine::spawn(name, move || {
            what(&this);
            this.left.set(this.left.get() - 1);
            machine::wake(machine::key(&*this));
        });
    }

    fn is_once_in(n: u64) -> bool {
        machine::below(n) == 0
    }

    fn pause(longest: u64) {
        machine::sleep(1 + machine::below(longest));
    }

    /// Returns a run of hot chunks that are neighbours, by their places.
    fn some_run(&self) -> std::ops::Range<usize> {
        // Often where others have just been.
        let first = match Self::is_once_in(2) {
            true => self.last.get(),
            false => machine::below(self.config.hot.len() as u64) as usize,
        };
        self.last.set(first);
        let longest = 1 + machine::below(self.config.get("longest").max(1)) as usize;
        let mut end = first + 1;
        while end < self.config.hot.len()
            && end - first < longest
            && self.config.hot[end] == self.config.hot[end - 1] + 1
        {
            end += 1;
        }
        first..end
    }

    /// Returns the sectors of a run.
    fn sectors(&self, run: &std::ops::Range<usize>) -> (u64, u64) {
        let chunk_sectors = self.config.chunk_sectors();
        (
            self.config.hot[run.start] * chunk_sectors,
            run.len() as u64 * chunk_sectors,
        )
    }

    /// Returns a block that nobody has written before.
    fn some_data(&self) -> Data {
        let number = self.writes.get() + 1;
        self.writes.set(number);
        let mut block = [0; 4096];
        for sector in block.chunks_mut(512) {
            sector[..8].copy_from_slice(&number.to_le_bytes());
        }
        StdArc::new(block)
    }

    /// Writes, discards and flushes.
    fn write(&self) {
        let chunk_sectors = self.config.chunk_sectors();
        for _ in 0..machine::below(self.config.get("writes")) {
            if (machine::random() & 0xffff) < self.config.get("releases") {
                self.release();
            }
            let run = self.some_run();
            let (mut start, mut len) = self.sectors(&run);
            if start + len > self.mapped.sectors() {
                continue;
            }
            if Self::is_once_in(3) {
                // Less than whole chunks.
                start += 8 * machine::below(self.config.chunk_blocks());
                len = 8;
            }
            let op = match machine::below(20) {
                0 => Op::Discard,
                1 | 2 => Op::WriteZeroes,
                3 => Op::Flush,
                4 => Op::Read,
                _ => Op::Write,
            };
            let data = match op {
                Op::Write => (0..len / 8).map(|_| self.some_data()).collect(),
                _ => Vec::new(),
            };
            let is_nowait = Self::is_once_in(20);
            let parts = Parts {
                op,
                span: Span {
                    start,
                    len: match op {
                        Op::Flush => 0,
                        _ => len,
                    },
                },
                data,
                is_forced: Self::is_once_in(8),
                is_nowait,
            };
            let number = self.writes.get();
            pr_info!(
                "user: {op:?} at chunk {} begins ({number})",
                start / chunk_sectors
            );
            let is_done = UserIo::run(&self.mapped, parts);
            pr_info!(
                "user: {op:?} at chunk {} ends: {is_done}",
                start / chunk_sectors
            );
            let may_fail = is_nowait || self.config.faults == Faults::Origin;
            assert!(is_done || may_fail, "a {op:?} has failed");
            if Self::is_once_in(4) {
                Self::pause(100_000);
            }
        }
    }

    /// Reads snapshots while they may be dropped.
    fn read(&self) {
        for _ in 0..machine::below(10) {
            Self::pause(200_000);
            let active = self
                .mapped
                .engine
                .phases()
                .wait_until_active(read_deadline());
            assert!(active.is_ok(), "the device is not resumed: {active:?}");
            let timeline = self.mapped.engine.state().timeline();
            let live = self.oracle.borrow().live();
            let Some(id) = live.get(machine::below(live.len().max(1) as u64) as usize) else {
                continue;
            };
            let Some(entry) = timeline.snapshot(*id).cloned() else {
                continue;
            };
            let snap = self.oracle.borrow().snaps[id].clone();
            let result = verify::snapshot(&self.config, &self.mapped, &timeline, &entry, &snap);
            if let Err(what) = &result {
                assert!(
                    !what.contains(verify::WRONG),
                    "snapshot {id}, read in use: {what}"
                );
            }
            // It may have gone meanwhile, or chunks of it been released.
            let was_there = self
                .oracle
                .borrow()
                .snaps
                .get(id)
                .is_some_and(|now| !now.may_be_gone && now.released == snap.released);
            match result {
                Err(_) if self.config.faults != Faults::None => (),
                Err(what) if was_there && self.is_there(*id) && !what.ends_with(SUSPENDED) => {
                    panic!("snapshot {id}, read in use: {what}");
                }
                _ => (),
            }
        }
    }

    /// Waits for events.
    fn listen(&self) {
        let mut seen = 0;
        for _ in 0..machine::below(5) {
            match self.mapped.engine.events().wait(seen, 1) {
                Ok((number, kinds)) => {
                    assert!(
                        number > seen && kinds != 0,
                        "event {number} after {seen}: {kinds}"
                    );
                    seen = number;
                }
                Err(error) => assert_eq!(error, ETIMEDOUT),
            }
        }
    }

    fn is_there(&self, id: u64) -> bool {
        let timeline = self.mapped.engine.state().timeline();
        timeline
            .snapshot(id)
            .is_some_and(|entry| !entry.is_dropped())
    }

    /// Has something go wrong for a while.
    fn fail(&self) {
        for _ in 0..1 + machine::below(2) {
            Self::pause(1_500_000);
            // Now and then, often, or each time.
            self.set_faults(match machine::below(4) {
                0 => 1 + machine::below(3000),
                1 => 1 + machine::below(65536),
                _ => 65536,
            });
            Self::pause(if Self::is_once_in(3) {
                20_000_000
            } else {
                1_500_000
            });
            self.set_faults(0);
        }
    }

    fn set_faults(&self, odds: u64) {
        pr_info!("faults: {odds} of 65536, {:?}", self.config.faults);
        let faults = match self.config.faults {
            Faults::None => return,
            Faults::Memory => return machine::fail_memory(odds.min(3000)),
            Faults::Origin => &self.origin.faults,
            Faults::Store => &self.store.faults,
        };
        for kind in [&faults.reads, &faults.writes, &faults.flushes] {
            let is_hit = odds == 0 || Self::is_once_in(2);
            if is_hit {
                kind.store(odds, Relaxed);
            }
        }
        let is_store = self.config.faults == Faults::Store;
        faults
            .has_own_errors
            .store(is_store && Self::is_once_in(2), Relaxed);
    }

    /// Returns true if a request may fail like this.
    fn may_fail(&self, error: Error) -> bool {
        let has_failed = self.mapped.engine.has_failed() && [EIO, ENODEV].contains(&error);
        match self.config.faults {
            Faults::None => false,
            Faults::Origin => error == EIO || has_failed,
            Faults::Store => error == EIO || has_failed,
            Faults::Memory => error == ENOMEM || has_failed,
        }
    }

    /// Asks for one thing after another.
    fn ask(&self) {
        for _ in 0..self.config.get("edits") {
            self.edit();
        }
        for _ in 0..machine::below(self.config.get("requests")) {
            Self::pause(300_000);
            match machine::below(17) {
                0..=4 => self.take(),
                5..=6 => self.drop(),
                7 => self.forget(),
                8..=9 => self.edit(),
                10..=11 => self.release(),
                12..=13 => {
                    let made = self.mapped.engine.upkeep().checkpoint_now();
                    let is_right = made.err().is_none_or(|error| self.may_fail(error));
                    assert!(is_right, "a checkpoint: {made:?}");
                }
                14 if self.config.get("grows") > 0 => self.grow_store(),
                _ => self.suspend(),
            }
        }
    }

    /// Drops snapshots while writes wait for space, for which a suspend may wait.
    fn relieve(&self) {
        while self.writing.get() > 0 {
            Self::pause(2_000_000);
            let timeline = self.mapped.engine.state().timeline();
            let oldest = timeline.snapshots().first().map(|oldest| oldest.id);
            if let (true, Some(id)) = (self.mapped.engine.writes().is_blocked(), oldest) {
                self.drop_one(id);
            }
        }
    }

    fn take(&self) {
        let base = self.some_base();
        let scope = match base {
            Some(id) => ScopeWanted::Incremental(Some(id)),
            None => ScopeWanted::Full,
        };
        let keep = 1 + machine::below(self.config.get("keep").max(1));
        self.expect_closing(base);
        {
            // What goes for it may be gone when it is there.
            let mut oracle = self.oracle.borrow_mut();
            let live = oracle.live();
            let too_many = (live.len() as u64 + 1).saturating_sub(keep) as usize;
            for id in &live[..too_many] {
                oracle.snaps.get_mut(id).unwrap().may_be_gone = true;
            }
        }
        // CAST: At most 4.
        let taken = self
            .mapped
            .engine
            .upkeep()
            .take_snapshot(scope, keep as u32);
        on_close(None);
        pr_info!("user: snapshot, {scope:?}: {taken:?}");
        match taken {
            Ok(id) => {
                let mut oracle = self.oracle.borrow_mut();
                assert_eq!(id, oracle.next_id);
                assert!(oracle.taking.is_some(), "the gate was not closed");
                oracle.taken(id, &self.config);
            }
            Err(ENOENT | EOVERFLOW) => self.oracle.borrow_mut().taking = None,
            // Its record may be there all the same, or it was taken and given up at once.
            Err(error) if self.may_fail(error) => {
                if let Some(taking) = self.oracle.borrow_mut().taking.as_mut() {
                    taking.may_be_gone = true;
                }
            }
            Err(error) => panic!("taking a snapshot: {error:?}"),
        }
    }

    /// Returns what a snapshot may be incremental to.
    fn some_base(&self) -> Option<u64> {
        let all: Vec<u64> = self.oracle.borrow().snaps.keys().copied().collect();
        match machine::below(3) {
            0 => all
                .get(machine::below(all.len().max(1) as u64) as usize)
                .copied(),
            _ => None,
        }
    }

    /// Has the instant noted when the gate has been closed by the present task.
    fn expect_closing(&self, base: Option<u64>) {
        let task = machine::current();
        let (config, origin) = (self.config.clone(), self.origin.clone());
        let oracle = self.oracle.clone();
        let base = base.and_then(|id| Some(self.oracle.borrow().snaps.get(&id)?.at.clone()));
        on_close(Some(Rc::new(move || {
            if machine::current() != task {
                return;
            }
            let protected = oracle.borrow().protected.clone();
            let image = oracle::image(&config, &origin);
            oracle.borrow_mut().taking = Some(Snap {
                at: Rc::new(Instant { image, protected }),
                base: base.clone(),
                released: BTreeSet::new(),
                keep_unprotected: config.options.keep_unprotected,
                may_be_gone: false,
                is_dropped: false,
            });
        })));
    }

    fn drop(&self) {
        let live = self.oracle.borrow().live();
        let Some(id) = live.get(machine::below(live.len().max(1) as u64) as usize) else {
            return;
        };
        self.drop_one(*id);
    }

    fn drop_one(&self, id: u64) {
        // One that has just been taken may not be known yet.
        let mut oracle = self.oracle.borrow_mut();
        let Some(snap) = oracle.snaps.get_mut(&id) else {
            return;
        };
        snap.may_be_gone = true;
        drop(oracle);
        let dropped = self.mapped.engine.upkeep().drop_snapshot(id);
        pr_info!("user: drop {id}: {dropped:?}");
        match dropped {
            Ok(()) => {
                if let Some(snap) = self.oracle.borrow_mut().snaps.get_mut(&id) {
                    snap.is_dropped = true;
                }
            }
            // Given up already, or there will be another time.
            Err(ENOENT | ENODEV) => (),
            Err(error) if self.may_fail(error) => (),
            Err(error) => panic!("dropping a snapshot: {error:?}"),
        }
    }

    fn forget(&self) {
        let oracle = self.oracle.borrow();
        let dropped = oracle.snaps.iter().filter(|(_, snap)| snap.is_dropped);
        let dropped: Vec<u64> = dropped.map(|(id, _)| *id).collect();
        drop(oracle);
        let Some(id) = dropped.first() else {
            return;
        };
        match self.mapped.engine.changes().forget_bookmark(*id) {
            Ok(()) | Err(ENOENT) => {
                self.oracle.borrow_mut().snaps.remove(id);
            }
            Err(error) if self.may_fail(error) => (),
            Err(error) => panic!("forgetting a bookmark: {error:?}"),
        }
    }

    fn edit(&self) {
        let run = self.some_run();
        let range = self.sectors(&run);
        if range.0 + range.1 > self.mapped.sectors() {
            return;
        }
        if self.oracle.borrow().edited.is_some() {
            // The record of the last one failed, and may be there.
            return;
        }
        let protect = Self::is_once_in(2);
        let mut after = self.oracle.borrow().protected.clone();
        after[run].fill(protect);
        self.oracle.borrow_mut().edited = Some(after.clone());
        pr_info!("user: edit {range:?}, {protect}");
        let edited = self
            .mapped
            .engine
            .changes()
            .edit_designation(&[range], protect);
        match edited {
            Ok(()) => {
                let mut oracle = self.oracle.borrow_mut();
                oracle.edited = None;
                oracle.protected = after;
            }
            Err(ENOMEM) if self.may_fail(ENOMEM) => self.oracle.borrow_mut().edited = None,
            // Its record may be there all the same.
            Err(error) if self.may_fail(error) => (),
            Err(error) => panic!("an edit: {error:?}"),
        }
    }

    fn release(&self) {
        let live = self.oracle.borrow().live();
        let Some(id) = live.get(machine::below(live.len().max(1) as u64) as usize) else {
            return;
        };
        let run = self.some_run();
        let (start, len) = self.sectors(&run);
        if start + len > self.mapped.sectors() {
            return;
        }
        let mut oracle = self.oracle.borrow_mut();
        if let Some(snap) = oracle.snaps.get_mut(id) {
            snap.released.extend(run);
        }
        drop(oracle);
        let released = self.mapped.engine.changes().release(*id, start, len);
        pr_info!("user: release {id}, {start}+{len}: {released:?}");
        match released {
            // It has gone, or the device has been suspended, meanwhile.
            Ok(()) | Err(ENOENT | ENODEV) => (),
            Err(error) if self.may_fail(error) => (),
            Err(error) => panic!("a release: {error:?}"),
        }
    }

    fn suspend(&self) {
        self.mapped.suspend(Self::is_once_in(2));
        pr_info!("user: suspended");
        Self::pause(50_000);
        if self.config.get("grows") > 0 && Self::is_once_in(3) {
            let grown = self.config.origin_blocks() + GROWTH * self.config.chunk_blocks();
            self.origin.grow(grown);
        }
        loop {
            match self
                .mapped
                .resume(self.origin.sectors(), self.config.options)
            {
                Ok(()) => return,
                Err(error) if self.may_fail(error) => Self::pause(50_000),
                Err(error) => panic!("a resume: {error:?}"),
            }
        }
    }

    fn grow_store(&self) {
        let blocks = self.store.sectors() / 8 + machine::below(300);
        self.store.grow(blocks);
        match self.mapped.engine.upkeep().grow_store() {
            Ok(()) => (),
            Err(error) if self.may_fail(error) => (),
            Err(error) => panic!("growing the store: {error:?}"),
        }
    }
}
