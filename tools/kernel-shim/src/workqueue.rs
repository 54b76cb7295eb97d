// SPDX-License-Identifier: GPL-2.0

//! Work queues, whose work runs in tasks of the [machine](crate::machine): as many at once as there
//! are, each work item in one only.

#![forbid(unsafe_code)]

use crate::machine;
use crate::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::Arc as StdArc;
use std::sync::Mutex as StdMutex;
use std::sync::PoisonError;

/// Something that a queue can run.
pub trait WorkItem: HasWork + 'static {
    /// How it is queued.
    type Pointer;

    /// Does the work.
    fn run(this: Self::Pointer);
}

/// Something with a [`Work`] in it.
pub trait HasWork: Sized {
    /// Returns that.
    fn work(&self) -> &Work<Self>;
}

/// The part of a work item that a queue needs.
pub struct Work<T> {
    state: StdArc<WorkState>,
    kind: std::marker::PhantomData<fn(T)>,
}

/// How often a work item was queued, and how often it has run.
#[derive(Default)]
struct WorkState {
    is_queued: AtomicBool,
    is_running: AtomicBool,
    queued: AtomicU64,
    ended: AtomicU64,
}

impl<T> Work<T> {
    /// It is not queued.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self {
            state: StdArc::default(),
            kind: std::marker::PhantomData,
        }
    }

    /// Waits until what is queued or running now has ended (`flush_work()`).
    pub fn flush(&self) {
        machine::might_sleep();
        machine::point();
        let last = self.state.queued.load(Relaxed);
        while self.state.ended.load(Relaxed) < last {
            machine::park(machine::key(&*self.state), None);
        }
    }
}

/// Something that can be queued: a reference to a work item.
pub trait RawWorkItem<const ID: u64>: Sized {
    /// Queues it.
    ///
    /// Errors: the item itself, if it is queued already.
    fn enqueue_on(self, queue: &Queue) -> Result<(), Self>;
}

impl<T: WorkItem<Pointer = Arc<T>>> RawWorkItem<0> for Arc<T> {
    fn enqueue_on(self, queue: &Queue) -> Result<(), Self> {
        let state = self.work().state.clone();
        if state.is_queued.swap(true, Relaxed) {
            return Err(self);
        }
        queue.begin(std::any::type_name::<T>(), state, move || T::run(self));
        Ok(())
    }
}

/// A work queue.
#[derive(Default)]
pub struct Queue {
    /// Numbers of the runs that are queued or under way.
    runs: StdArc<StdMutex<Vec<u64>>>,
    last: AtomicU64,
}

impl Queue {
    /// Nothing is queued.
    pub fn new() -> Self {
        Self::default()
    }

    /// Queues a work item.
    ///
    /// Errors: the item itself, if it is queued already.
    pub fn enqueue<W: RawWorkItem<ID>, const ID: u64>(&self, item: W) -> Result<(), W> {
        machine::point();
        item.enqueue_on(self)
    }

    /// Queues a run of something whose work has this state.
    fn begin(&self, name: &'static str, state: StdArc<WorkState>, what: impl FnOnce() + 'static) {
        state.queued.fetch_add(1, Relaxed);
        let run = self.last.fetch_add(1, Relaxed) + 1;
        self.with_runs(|runs| runs.push(run));
        let runs = self.runs.clone();
        machine::spawn(name, move || {
            while state.is_running.load(Relaxed) {
                machine::park(machine::key(&*state), None);
            }
            state.is_queued.store(false, Relaxed);
            state.is_running.store(true, Relaxed);
            machine::point();
            what();
            state.is_running.store(false, Relaxed);
            state.ended.fetch_add(1, Relaxed);
            with(&runs, |runs| runs.retain(|other| *other != run));
            machine::wake(machine::key(&*state));
            machine::wake(machine::key(&*runs));
        });
    }

    fn with_runs<R>(&self, f: impl FnOnce(&mut Vec<u64>) -> R) -> R {
        with(&self.runs, f)
    }

    /// Waits until all that is queued or running now has ended (`flush_workqueue()`).
    pub fn flush(&self) {
        machine::might_sleep();
        machine::point();
        let last = self.last.load(Relaxed);
        while self.with_runs(|runs| runs.iter().any(|run| *run <= last)) {
            machine::park(machine::key(&*self.runs), None);
        }
    }

    /// Waits until nothing is queued or running (`drain_workqueue()`).
    pub fn drain(&self) {
        while !self.with_runs(|runs| runs.is_empty()) {
            self.flush();
        }
    }
}

fn with<T, R>(shared: &StdMutex<T>, f: impl FnOnce(&mut T) -> R) -> R {
    f(&mut shared.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Says where a type has its [`Work`].
#[macro_export]
macro_rules! impl_has_work {
    (impl HasWork<Self> for $type:ident { self.$field:ident }) => {
        impl $crate::workqueue::HasWork for $type {
            fn work(&self) -> &$crate::workqueue::Work<Self> {
                &self.$field
            }
        }
    };
}

/// Initialises a [`Work`].
#[macro_export]
macro_rules! new_work {
    ($($name:literal)?) => {
        $crate::init::FromFn(move || {
            ::core::result::Result::<_, ::core::convert::Infallible>::Ok(
                $crate::workqueue::Work::new(),
            )
        })
    };
}
