// SPDX-License-Identifier: GPL-2.0

//! Work queues.

#![forbid(unsafe_code)]

use kernel::prelude::*;
use kernel::workqueue::Queue;
use kernel::workqueue::Work;
use std::ops::Deref;

/// A queue, destroyed when dropped.
pub struct WorkQueue(Queue);

impl WorkQueue {
    /// Creates a queue.
    ///
    /// Errors: none here.
    pub fn new(_name: &CStr) -> Result<Self> {
        Ok(Self(Queue::new()))
    }

    /// As [`Self::new`].
    ///
    /// Errors: none here.
    pub fn new_unhurried(name: &CStr) -> Result<Self> {
        Self::new(name)
    }

    /// Waits until nothing is queued or running, however often work queues itself.
    pub fn drain(&self) {
        self.0.drain();
    }
}

impl Deref for WorkQueue {
    type Target = Queue;

    fn deref(&self) -> &Queue {
        &self.0
    }
}

impl Drop for WorkQueue {
    fn drop(&mut self) {
        if kernel::machine::is_running() && !std::thread::panicking() {
            self.0.drain();
        }
    }
}

/// Waits until a work item is neither queued nor running.
pub fn flush<T>(work: &Work<T>) {
    work.flush();
}
