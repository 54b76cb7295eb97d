// SPDX-License-Identifier: GPL-2.0

//! Work queues of our own.
//!
//! C header: [`include/linux/workqueue.h`](srctree/include/linux/workqueue.h)

use crate::bindings;
use core::ops::Deref;
use core::ptr::NonNull;
use kernel::prelude::*;
use kernel::workqueue::Queue;
use kernel::workqueue::Work;

/// A work queue, destroyed when dropped.
///
/// Dropping waits for queued work, so a work item must not drop the queue that it runs on.
///
/// Wraps the C `struct workqueue_struct`; dereferences to the kernel crate's
/// [`Queue`](kernel::workqueue::Queue). See
/// [`Documentation/core-api/workqueue.rst`](srctree/Documentation/core-api/workqueue.rst).
///
/// # Examples
///
/// ```
/// use crate::dm::sleep_ms;
/// use crate::dm::WorkQueue;
/// use kernel::impl_has_work;
/// use kernel::new_work;
/// use kernel::sync::atomic::Atomic;
/// use kernel::sync::atomic::Relaxed;
/// use kernel::sync::Arc;
/// use kernel::workqueue::Work;
/// use kernel::workqueue::WorkItem;
///
/// /// Queues itself again until it has run ten times.
/// #[pin_data]
/// struct Counter {
///     queue: Arc<WorkQueue>,
///     runs: Atomic<u64>,
///     #[pin]
///     work: Work<Counter>,
/// }
///
/// impl_has_work! {
///     impl HasWork<Self> for Counter { self.work }
/// }
///
/// impl WorkItem for Counter {
///     type Pointer = Arc<Counter>;
///
///     fn run(this: Arc<Counter>) {
///         sleep_ms(2);
///         if this.runs.fetch_add(1, Relaxed) + 1 < 10 {
///             let queue = this.queue.clone();
///             // Not queued now, as it runs.
///             let _ = queue.enqueue(this);
///         }
///     }
/// }
///
/// let queue = Arc::new(WorkQueue::new(c"dm-example")?, GFP_KERNEL)?;
/// let its_queue = queue.clone();
/// let counter = pin_init!(Counter {
///     queue: its_queue,
///     runs: Atomic::new(0),
///     work <- new_work!("Counter::work"),
/// });
/// let counter = Arc::pin_init(counter, GFP_KERNEL)?;
/// assert!(queue.enqueue(counter.clone()).is_ok());
/// queue.drain();
/// assert_eq!(counter.runs.load(Relaxed), 10);
/// ```
///
/// # Invariants
///
/// The pointer is a live work queue, owned by this object.
pub struct WorkQueue(NonNull<bindings::workqueue_struct>);

// SAFETY: Work queues may be used from any thread.
unsafe impl Send for WorkQueue {}
// SAFETY: Work queues do their own locking.
unsafe impl Sync for WorkQueue {}

impl WorkQueue {
    /// Creates a queue that is not bound to a CPU (`WQ_UNBOUND`), and makes progress under memory
    /// pressure (`WQ_MEM_RECLAIM`): `alloc_workqueue()`. `name`, or its first 31 characters, is
    /// shown in the kernel's tools. Errors: `ENOMEM`.
    pub fn new(name: &CStr) -> Result<Self> {
        Self::with_flags(name, bindings::wq_flags_WQ_MEM_RECLAIM)
    }

    /// As [`Self::new`], without a thread in reserve: for work that freeing memory never waits for.
    /// Errors: `ENOMEM`.
    pub fn new_unhurried(name: &CStr) -> Result<Self> {
        Self::with_flags(name, 0)
    }

    fn with_flags(name: &CStr, flags: bindings::wq_flags) -> Result<Self> {
        let flags = flags | bindings::wq_flags_WQ_UNBOUND;
        // SAFETY: The format takes one string, which is valid and nul-terminated, and is copied.
        let queue = unsafe {
            bindings::alloc_workqueue_noprof(c"%s".as_char_ptr(), flags, 0, name.as_char_ptr())
        };
        // INVARIANT: Just created, and owned by nobody else.
        NonNull::new(queue).map(Self).ok_or(ENOMEM)
    }

    /// Waits until no work is queued or running (`drain_workqueue()`), work that queues itself
    /// again included. Nobody but the queue's own work may queue more meanwhile.
    pub fn drain(&self) {
        // SAFETY: By the type invariant the queue is live.
        unsafe { bindings::drain_workqueue(self.0.as_ptr()) };
    }
}

/// Waits until a work item is neither queued nor running (`flush_work()`): one of this object,
/// whatever else its queue has to do.
pub fn flush<T: ?Sized, const ID: u64>(work: &Work<T, ID>) {
    // SAFETY: A reference is valid.
    let work = unsafe { Work::raw_get(work) };
    // SAFETY: Initialised, as all work items are, and live while it is borrowed.
    unsafe { bindings::flush_work(work) };
}

impl Deref for WorkQueue {
    type Target = Queue;

    fn deref(&self) -> &Queue {
        // SAFETY: By the type invariant the queue is live, for as long as `self` is borrowed.
        unsafe { Queue::from_raw(self.0.as_ptr()) }
    }
}

impl Drop for WorkQueue {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the queue is live, and nobody can use it after this.
        unsafe { bindings::destroy_workqueue(self.0.as_ptr()) };
    }
}
