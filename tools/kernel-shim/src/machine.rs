// SPDX-License-Identifier: GPL-2.0

//! A machine with tasks, interrupts and a clock, in which everything happens in an order that a
//! seed decides.
//!
//! Tasks are coroutines of one thread. At each [`point`] (a lock, an atomic access, a wake-up) the
//! machine may go on with another one; so all orders are had that as many processors could have,
//! but for those that only weak memory shows. Time passes as tasks run, and jumps when all wait.
//!
//! What the kernel's checkers report ends in a panic here: sleeping in atomic context, tasks that
//! wait for ever, work that does not come to rest. Outside of [`run`] nothing of this has an
//! effect.
//!
//! # States of a task
//!
//! 1. *Ready*: it may run.
//! 2. *Running*: one at most.
//! 3. *Parked*: until it is woken, or until a time. Ready again then.
//! 4. *Done*.

#![forbid(unsafe_code)]

mod schedule;
mod worker;

use schedule::SCHEDULE;
use std::cell::Cell;
use std::cell::RefCell;
use std::collections::BTreeMap;

/// What a task waits for: the address of whatever is shared.
pub type Key = usize;

/// Returns the key of a shared thing.
pub fn key<T: ?Sized>(thing: &T) -> Key {
    std::ptr::from_ref(thing).cast::<()>() as usize
}

/// What is looked at all the time.
struct Hot {
    /// A task runs on this thread.
    is_running: Cell<bool>,
    random: Cell<u64>,
    /// The present task goes on at a point unless the random number is below this, of 2^16.
    odds: Cell<u64>,
    /// How many reasons the present task has not to sleep.
    atomic: Cell<u32>,
    /// Nanoseconds since the machine began.
    now: Cell<u64>,
    /// An allocation fails if the random number is below this, of 2^16.
    memory_odds: Cell<u64>,
    /// Memory is short: see [`set_shortage`].
    is_short: Cell<bool>,
}

thread_local! {
    static HOT: Hot = const {
        Hot {
            is_running: Cell::new(false),
            random: Cell::new(0),
            odds: Cell::new(0),
            atomic: Cell::new(0),
            now: Cell::new(0),
            memory_odds: Cell::new(0),
            is_short: Cell::new(false),
        }
    };
    /// How often each task is in a scope in which it does not wait for memory.
    static NO_RECLAIM: RefCell<BTreeMap<u64, u64>> = const { RefCell::new(BTreeMap::new()) };
    static LOG: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// How a machine behaves.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Decides everything.
    pub seed: u64,
    /// At how many points of 65536 another task goes on.
    pub odds: u64,
    /// Points at which a run is taken for one that never ends.
    pub limit: u64,
}

/// Runs `main` as a task, and what it leads to, until nothing is left to do. Returns its result.
///
/// # Panics
///
/// A task has panicked, sleeps where it must not, or waits for ever.
pub fn run<R: 'static>(setup: Setup, main: impl FnOnce() -> R + 'static) -> R {
    NO_RECLAIM.take();
    schedule::run(setup, main)
}

/// Returns true if the caller is a task of a machine.
pub fn is_running() -> bool {
    HOT.with(|hot| hot.is_running.get())
}

/// Returns the next random number.
pub fn random() -> u64 {
    HOT.with(|hot| {
        let state = hot.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        hot.random.set(state);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}

/// Returns a random number below `n`, which is not 0.
pub fn below(n: u64) -> u64 {
    random() % n
}

/// Returns the time in nanoseconds since the machine began.
pub fn now() -> u64 {
    HOT.with(|hot| hot.now.get())
}

/// A place where another task may go on. Any context.
#[inline]
pub fn point() {
    HOT.with(|hot| {
        if hot.is_running.get() && (random() & 0xffff) < hot.odds.get() {
            schedule::switch();
        }
    });
}

/// A place where the caller may sleep.
///
/// # Panics
///
/// It must not: it is an interrupt, or holds a spin lock.
pub fn might_sleep() {
    HOT.with(|hot| {
        assert!(
            !hot.is_running.get() || hot.atomic.get() == 0,
            "sleeping in atomic context"
        );
    });
}

/// The caller must not sleep until it says so.
pub fn enter_atomic() {
    HOT.with(|hot| hot.atomic.set(hot.atomic.get() + 1));
}

/// The end of what [`enter_atomic`] begins.
pub fn leave_atomic() {
    HOT.with(|hot| hot.atomic.set(hot.atomic.get().saturating_sub(1)));
}

/// Parks the present task until `key` is woken, or until a time. Returns false if the time has come
/// first.
///
/// Nothing happens between what the caller has looked at before and this.
pub fn park(key: Key, until: Option<u64>) -> bool {
    schedule::park(key, until)
}

/// Lets everybody go on who is parked for `key`.
pub fn wake(key: Key) {
    if is_running() {
        SCHEDULE.with(|schedule| schedule.borrow_mut().wake(key));
    }
}

/// Lets one go on who is parked for `key`.
pub fn wake_one(key: Key) {
    if is_running() {
        SCHEDULE.with(|schedule| schedule.borrow_mut().wake_one(key));
    }
}

/// Sleeps.
pub fn sleep(nanoseconds: u64) {
    might_sleep();
    let until = now().saturating_add(nanoseconds);
    while now() < until {
        // Nobody wakes this.
        park(0, Some(until));
    }
}

/// Returns the number of the present task; 0 outside of a machine.
pub fn current() -> u64 {
    SCHEDULE.with_borrow(|schedule| schedule.running())
}

/// Begins a task.
pub fn spawn(name: &'static str, job: impl FnOnce() + 'static) {
    let job = Box::new(job);
    SCHEDULE.with(|schedule| schedule.borrow_mut().spawn(name, false, job));
}

/// Has an interrupt come after a while.
pub fn interrupt_in(nanoseconds: u64, handler: impl FnOnce() + 'static) {
    let at = now().saturating_add(nanoseconds);
    let handler = Box::new(handler);
    SCHEDULE.with(|schedule| schedule.borrow_mut().interrupt_at(at, handler));
}

/// Waits until the interrupts that are being handled now have been.
pub fn wait_for_interrupts() {
    might_sleep();
    schedule::wait_for_interrupts();
}

/// Has allocations fail from now on, so many of 65536.
pub fn fail_memory(odds: u64) {
    HOT.with(|hot| hot.memory_odds.set(odds));
}

/// Begins or ends a shortage of memory. While it lasts, an allocation that must not sleep fails,
/// and one that may waits for the end, but for those of tasks that do not wait for memory.
pub fn set_shortage(is_short: bool) {
    HOT.with(|hot| {
        hot.is_short.set(is_short);
        wake(key(hot));
    });
}

/// The present task does not wait for memory until it says so.
pub fn enter_no_reclaim() {
    let task = current();
    NO_RECLAIM.with_borrow_mut(|tasks| *tasks.entry(task).or_default() += 1);
}

/// The end of what [`enter_no_reclaim`] begins.
pub fn leave_no_reclaim() {
    let task = current();
    NO_RECLAIM.with_borrow_mut(|tasks| {
        if let Some(count) = tasks.get_mut(&task) {
            *count -= 1;
        }
        tasks.retain(|_, count| *count > 0);
    });
}

/// Returns true if an allocation is to fail; waits in a shortage, if it `may_wait`.
pub(crate) fn memory_fails(may_wait: bool) -> bool {
    HOT.with(|hot| {
        if !hot.is_running.get() {
            return false;
        }
        if hot.is_short.get() && !may_wait {
            return true;
        }
        let waits = || !NO_RECLAIM.with_borrow(|tasks| tasks.contains_key(&current()));
        while hot.is_short.get() && waits() {
            might_sleep();
            park(key(hot), None);
        }
        let odds = hot.memory_odds.get();
        odds > 0 && (random() & 0xffff) < odds
    })
}

/// Keeps what is printed from now on, for [`take_log`]. Nothing is kept otherwise.
pub fn keep_log() {
    LOG.set(Some(Vec::new()));
}

/// Returns what was printed.
pub fn take_log() -> Vec<String> {
    LOG.take().unwrap_or_default()
}

/// Prints a line of the kernel's log.
#[doc(hidden)]
pub fn print(line: std::fmt::Arguments<'_>) {
    LOG.with_borrow_mut(|log| {
        if let Some(log) = log {
            log.push(format!("[{:>12}] {}", now(), line.to_string().trim_end()));
        }
    });
}

#[cfg(test)]
mod tests;
