// SPDX-License-Identifier: GPL-2.0

//! A work queue of one engine, and the reaper that destroys such queues.
//!
//! # States of a queue
//!
//! 1. *In use*: parts of its engine hold it, and queue work.
//! 2. *Given up*: the last of them is gone. That may have been in a work item of this very queue,
//!    which destroying the queue waits for; so the queue is given to the reaper, which is a queue
//!    of the module's.
//! 3. *Destroyed*. The module is not unloaded before all are.

#![forbid(unsafe_code)]

use crate::dm::WorkQueue;
use kernel::impl_has_work;
use kernel::new_condvar;
use kernel::new_mutex;
use kernel::new_work;
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::sync::CondVar;
use kernel::sync::Mutex;
use kernel::workqueue::RawWorkItem;
use kernel::workqueue::Work;
use kernel::workqueue::WorkItem;

/// Destroys queues that have been given up.
#[pin_data]
pub(super) struct Reaper {
    queue: WorkQueue,
    /// Queues that are not destroyed. A lock that is taken alone.
    #[pin]
    queues: Mutex<usize>,
    /// There are none.
    #[pin]
    all_destroyed: CondVar,
}

impl Reaper {
    /// Makes a reaper. May sleep.
    ///
    /// Errors: `ENOMEM`.
    pub(super) fn new() -> Result<Arc<Self>> {
        let init = try_pin_init!(Self {
            queue: WorkQueue::new_unhurried(c"dm-preserve-reaper")?,
            queues <- new_mutex!(0, "Reaper::queues"),
            all_destroyed <- new_condvar!("Reaper::all_destroyed"),
        }? Error);
        Arc::pin_init(init, GFP_KERNEL)
    }

    /// Waits until every queue is destroyed, and the reaper has nothing to do. No engine is made
    /// any longer, and whoever still holds parts of one lets go of them.
    pub(super) fn wait(&self) {
        let mut queues = self.queues.lock();
        while *queues > 0 {
            self.all_destroyed.wait(&mut queues);
        }
        drop(queues);
        self.queue.drain();
    }
}

/// A queue, and the work that destroys it.
#[pin_data]
struct Reaped {
    queue: WorkQueue,
    reaper: Arc<Reaper>,
    #[pin]
    work: Work<Reaped>,
}

impl_has_work! {
    impl HasWork<Self> for Reaped { self.work }
}

impl WorkItem for Reaped {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        let reaper = this.reaper.clone();
        // The last reference. Waits for the work item that may have given the queue up.
        drop(this);
        let mut queues = reaper.queues.lock();
        *queues = queues.saturating_sub(1);
        reaper.all_destroyed.notify_all();
    }
}

/// A queue of one engine, which parts of the engine share.
pub struct OwnQueue {
    /// Always there, until this is dropped.
    reaped: Option<Arc<Reaped>>,
}

impl OwnQueue {
    /// Creates a queue. May sleep.
    ///
    /// Errors: `ENOMEM`.
    pub(super) fn new(name: &CStr, reaper: &Arc<Reaper>) -> Result<Self> {
        let init = try_pin_init!(Reaped {
            queue: WorkQueue::new(name)?,
            reaper: reaper.clone(),
            work <- new_work!("Reaped::work"),
        }? Error);
        let reaped = Arc::pin_init(init, GFP_KERNEL)?;
        *reaper.queues.lock() += 1;
        Ok(Self {
            reaped: Some(reaped),
        })
    }

    /// Queues work. When it is queued already, it will see what there is to do. Any context.
    pub(in crate::engine) fn enqueue<W, const ID: u64>(&self, work: W)
    where
        W: RawWorkItem<ID> + Send + 'static,
    {
        if let Some(reaped) = &self.reaped {
            let _ = reaped.queue.enqueue(work);
        }
    }
}

impl Drop for OwnQueue {
    fn drop(&mut self) {
        if let Some(reaped) = self.reaped.take() {
            let reaper = reaped.reaper.clone();
            // It has not been queued before.
            let _ = reaper.queue.enqueue(reaped);
        }
    }
}
