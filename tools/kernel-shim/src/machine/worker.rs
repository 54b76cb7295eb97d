// SPDX-License-Identifier: GPL-2.0

//! Coroutines that run one job after another, since a stack is expensive to make.
//!
//! One that is dropped in the middle of a job would unwind it; so none is ever dropped. A thread
//! has as many as it ever needed at once.

#![forbid(unsafe_code)]
// What takes the place of these hands on a scope, which only the coroutine's own function has; a
// job yields from anywhere.
#![allow(deprecated)]

use generator::Generator;
use generator::Gn;
use std::cell::Cell;
use std::cell::RefCell;
use std::mem::ManuallyDrop;

/// What a task does.
pub(super) type Job = Box<dyn FnOnce()>;

/// Words of a stack.
const STACK_WORDS: usize = 1 << 15;

thread_local! {
    static IDLE: RefCell<Vec<ManuallyDrop<Worker>>> = const { RefCell::new(Vec::new()) };
    /// The job that the worker which goes on now is to begin.
    static NEXT: RefCell<Option<Job>> = const { RefCell::new(None) };
    /// The job of the worker that has left last has ended.
    static HAS_ENDED: Cell<bool> = const { Cell::new(false) };
}

/// A coroutine.
pub(super) struct Worker {
    coroutine: Generator<'static, (), ()>,
    job: Option<Job>,
}

impl Worker {
    /// Returns a worker that is to do a job.
    pub(super) fn begin(job: Job) -> ManuallyDrop<Self> {
        let mut worker = IDLE.with_borrow_mut(Vec::pop).unwrap_or_else(|| {
            ManuallyDrop::new(Self {
                coroutine: Gn::<()>::new_opt(STACK_WORDS, work),
                job: None,
            })
        });
        worker.job = Some(job);
        worker
    }

    /// Goes on until the job leaves or ends. Returns true if it has ended.
    pub(super) fn go_on(&mut self) -> bool {
        if let Some(job) = self.job.take() {
            NEXT.set(Some(job));
        }
        HAS_ENDED.set(false);
        let _ = self.coroutine.resume();
        HAS_ENDED.get()
    }

    /// Leaves a worker whose job has ended to whoever needs one.
    pub(super) fn end(worker: ManuallyDrop<Self>) {
        IDLE.with_borrow_mut(|idle| idle.push(worker));
    }
}

/// Does one job after another.
fn work() {
    loop {
        if let Some(job) = NEXT.take() {
            job();
        }
        HAS_ENDED.set(true);
        leave();
    }
}

/// Leaves the present coroutine until it goes on.
pub(super) fn leave() {
    generator::yield_with(());
}
