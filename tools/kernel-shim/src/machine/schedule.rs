// SPDX-License-Identifier: GPL-2.0

//! Who runs next.

#![forbid(unsafe_code)]

use super::worker;
use super::worker::Job;
use super::worker::Worker;
use super::Hot;
use super::Key;
use super::Setup;
use super::HOT;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::mem::ManuallyDrop;
use std::rc::Rc;

/// Nanoseconds that pass at most between two points at which tasks change.
const STEP_NS: u64 = 2000;

thread_local! {
    pub(super) static SCHEDULE: RefCell<Schedule> = RefCell::new(Schedule::default());
}

/// A task.
struct Task {
    name: &'static str,
    number: u64,
    /// `None` while it runs.
    worker: Option<ManuallyDrop<Worker>>,
    is_interrupt: bool,
    /// [`Hot::atomic`], while it does not run.
    atomic: u32,
    /// Its time came before it was woken.
    was_late: bool,
}

impl Task {
    /// Returns how many reasons it has not to sleep when it begins.
    fn start_atomic(&self) -> u32 {
        u32::from(self.is_interrupt)
    }
}

/// A task that waits.
struct Parked {
    key: Key,
    until: Option<u64>,
    task: Task,
}

/// All tasks but the running one, and the interrupts to come.
#[derive(Default)]
pub(super) struct Schedule {
    ready: Vec<Task>,
    parked: Vec<Parked>,
    interrupts: BTreeMap<(u64, u64), Job>,
    running: Option<Task>,
    /// What the running task waits for, once it has left.
    wish: Option<(Key, Option<u64>)>,
    last: u64,
    steps: u64,
}

impl Schedule {
    /// Adds a task.
    pub(super) fn spawn(&mut self, name: &'static str, is_interrupt: bool, job: Job) {
        self.last += 1;
        self.ready.push(Task {
            name,
            number: self.last,
            worker: Some(Worker::begin(job)),
            is_interrupt,
            atomic: u32::from(is_interrupt),
            was_late: false,
        });
    }

    /// Returns the number of the running task; 0 if there is none.
    pub(super) fn running(&self) -> u64 {
        self.running.as_ref().map_or(0, |task| task.number)
    }

    /// Adds an interrupt.
    pub(super) fn interrupt_at(&mut self, at: u64, handler: Job) {
        self.last += 1;
        self.interrupts.insert((at, self.last), handler);
    }

    /// Lets everybody go on who is parked for `key`.
    pub(super) fn wake(&mut self, key: Key) {
        let mut at = 0;
        while let Some(parked) = self.parked.get(at) {
            match parked.key == key {
                true => self.ready.push(self.parked.swap_remove(at).task),
                false => at += 1,
            }
        }
    }

    /// Lets the first go on who is parked for `key`.
    pub(super) fn wake_one(&mut self, key: Key) {
        if let Some(at) = self.parked.iter().position(|parked| parked.key == key) {
            let task = self.parked.remove(at).task;
            self.ready.push(task);
        }
    }

    /// Makes those ready whose time has come.
    fn be_on_time(&mut self, now: u64) {
        while let Some(first) = self.interrupts.first_entry() {
            if first.key().0 > now {
                break;
            }
            let handler = first.remove();
            self.spawn("interrupt", true, handler);
        }
        let mut at = 0;
        while let Some(parked) = self.parked.get(at) {
            match parked.until.is_some_and(|until| until <= now) {
                true => {
                    let mut task = self.parked.swap_remove(at).task;
                    task.was_late = true;
                    self.ready.push(task);
                }
                false => at += 1,
            }
        }
    }

    /// Returns when the next thing happens by itself.
    fn next_time(&self) -> Option<u64> {
        let interrupt = self.interrupts.keys().next().map(|(at, _)| *at);
        let timed = self.parked.iter().filter_map(|parked| parked.until).min();
        match (interrupt, timed) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    /// Chooses the task that runs next; `None` when nothing is left to do.
    fn choose(&mut self, hot: &Hot) -> Option<Task> {
        loop {
            self.be_on_time(hot.now.get());
            if !self.ready.is_empty() {
                // CAST: A small count.
                let at = (super::random() % self.ready.len() as u64) as usize;
                return Some(self.ready.swap_remove(at));
            }
            match self.next_time() {
                Some(time) => hot.now.set(time.max(hot.now.get())),
                None if self.parked.is_empty() => return None,
                None => panic!("these wait for ever: {}", self.waiting()),
            }
        }
    }

    /// Takes the running task back, after its worker has left.
    fn put_back(&mut self, hot: &Hot, worker: ManuallyDrop<Worker>, has_ended: bool) {
        let Some(mut task) = self.running.take() else {
            return;
        };
        if has_ended {
            assert!(
                hot.atomic.get() == task.start_atomic(),
                "a task ends in atomic context"
            );
            return Worker::end(worker);
        }
        task.atomic = hot.atomic.get();
        task.worker = Some(worker);
        match self.wish.take() {
            Some((key, until)) => self.parked.push(Parked { key, until, task }),
            None => self.ready.push(task),
        }
    }

    /// Names those who wait.
    fn waiting(&self) -> String {
        let names = self.parked.iter().map(|parked| parked.task.name);
        names.collect::<Vec<_>>().join(", ")
    }

    /// Returns true if an interrupt with a number up to `last` is being handled.
    fn is_handling(&self, last: u64) -> bool {
        let parked = self.parked.iter().map(|parked| &parked.task);
        let mut tasks = self.ready.iter().chain(parked);
        tasks.any(|task| task.is_interrupt && task.number <= last)
    }
}

/// See [`super::run`].
pub(super) fn run<R: 'static>(setup: Setup, main: impl FnOnce() -> R + 'static) -> R {
    let result = Rc::new(RefCell::new(None));
    let slot = result.clone();
    HOT.with(|hot| {
        hot.random.set(setup.seed);
        hot.odds.set(setup.odds);
        hot.now.set(0);
        hot.atomic.set(0);
        hot.memory_odds.set(0);
        hot.is_short.set(false);
    });
    // What is left of a run that has failed is not dropped: it would go on.
    std::mem::forget(SCHEDULE.take());
    let job = Box::new(move || {
        let value = main();
        slot.replace(Some(value));
    });
    SCHEDULE.with_borrow_mut(|schedule| schedule.spawn("main", false, job));
    HOT.with(|hot| run_all(hot, setup.limit));
    let Some(result) = result.take() else {
        panic!("the first task has not ended");
    };
    result
}

/// Runs tasks until there is none.
fn run_all(hot: &Hot, limit: u64) {
    while let Some(mut task) = SCHEDULE.with_borrow_mut(|schedule| schedule.choose(hot)) {
        let Some(mut worker) = task.worker.take() else {
            continue;
        };
        hot.atomic.set(task.atomic);
        hot.now.set(hot.now.get() + super::random() % STEP_NS);
        SCHEDULE.with_borrow_mut(|schedule| {
            schedule.running = Some(task);
            schedule.steps += 1;
            assert!(schedule.steps < limit, "this does not come to rest");
        });
        let running = Running::begin(hot);
        let has_ended = worker.go_on();
        drop(running);
        SCHEDULE.with_borrow_mut(|schedule| schedule.put_back(hot, worker, has_ended));
    }
}

/// A task runs while this lives.
struct Running<'a>(&'a Hot);

impl<'a> Running<'a> {
    fn begin(hot: &'a Hot) -> Self {
        hot.is_running.set(true);
        Self(hot)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.is_running.set(false);
    }
}

/// Lets another task run.
pub(super) fn switch() {
    worker::leave();
}

/// See [`super::park`].
pub(super) fn park(key: Key, until: Option<u64>) -> bool {
    assert!(super::is_running(), "nobody else is there to wait for");
    SCHEDULE.with_borrow_mut(|schedule| {
        schedule.wish = Some((key, until));
        if let Some(task) = &mut schedule.running {
            task.was_late = false;
        }
    });
    worker::leave();
    SCHEDULE.with_borrow(|schedule| {
        let running = schedule.running.as_ref();
        !running.is_some_and(|task| task.was_late)
    })
}

/// See [`super::wait_for_interrupts`].
pub(super) fn wait_for_interrupts() {
    let last = SCHEDULE.with_borrow(|schedule| schedule.last);
    while SCHEDULE.with_borrow(|schedule| schedule.is_handling(last)) {
        switch();
    }
}
