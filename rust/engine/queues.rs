// SPDX-License-Identifier: GPL-2.0

//! The module's work queues, which all engines share.
//!
//! They are the module's, not an engine's, so that an engine's parts may be dropped by their own
//! work items: destroying a queue waits for its work. Each has its own reason:
//!
//! - `writes`: the copier and checkpoints, which writes wait for.
//! - `log`: the logs alone. The others may wait for a log, so its work must never have
//!   to wait for a worker that does.
//! - `events`: what is told to user space. The kernel allocates with I/O under the locks that this
//!   takes (`uevent_sock_mutex`), so whoever holds them may be waiting for a write to one of our
//!   devices; no write may wait for this queue.
//! - `waits`: reads of frozen content that wait for a live device's resume, each view's in a worker
//!   of its own. Nobody waits for this queue but a view that is removed, whose reads have ended by
//!   then.

#![forbid(unsafe_code)]

use crate::dm::WorkQueue;
use kernel::prelude::*;

/// See the [module's documentation](self).
pub struct Queues {
    /// The copier's and the checkpoints'.
    pub writes: WorkQueue,
    /// The logs'.
    pub(super) log: WorkQueue,
    /// Where events are sent from.
    pub events: WorkQueue,
    /// Where reads wait for a resume.
    pub waits: WorkQueue,
}

impl Queues {
    /// Creates the queues. May sleep.
    ///
    /// Errors: `ENOMEM`.
    pub fn new() -> Result<Self> {
        Ok(Self {
            writes: WorkQueue::new(c"dm-preserve")?,
            log: WorkQueue::new(c"dm-preserve-log")?,
            events: WorkQueue::new_unhurried(c"dm-preserve-events")?,
            waits: WorkQueue::new_unhurried(c"dm-preserve-waits")?,
        })
    }

    /// Waits for all work, which holds the last references to parts of engines that have ended.
    pub fn flush(&self) {
        self.log.flush();
        self.writes.flush();
        self.events.flush();
        self.waits.flush();
    }
}
