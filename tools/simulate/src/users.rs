// SPDX-License-Identifier: GPL-2.0

//! What users do with a device, each in a task of their own: write, read, and ask for things.

#![forbid(unsafe_code)]

mod faults;
mod reads;
mod requests;
mod snapshots;
mod writes;

use crate::config::Config;
use crate::device::Machine;
use crate::mapped::Mapped;
use crate::oracle::Oracle;
use dm_shim::drive::Drive;
use dm_shim::NoReclaim;
use kernel::machine;
use std::cell::Cell;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::Arc as StdArc;

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
                // As whoever writes pages to free them.
                let _scope = NoReclaim::enter();
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
}
