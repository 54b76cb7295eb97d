// SPDX-License-Identifier: GPL-2.0

//! The work queues: those that all engines share, and each engine's own.
//!
//! An engine's own are those in which others' writes may come to wait. Devices are stacked: an
//! origin, or a store, may be another live device, or lie on one. When there is no memory for
//! another worker, a queue has one that was made with it, the *rescuer*. If engines shared it, it
//! might be at work for the upper device, waiting for a write to the lower one, which waits for the
//! same rescuer.
//!
//! - `writes`: the copier and checkpoints, which writes wait for.
//! - `log`: the log alone. The others may wait for it, so its work must never have to wait for a
//!   worker that does.
//!
//! They go to the reaper in the end; see [`own`].
//!
//! The module's, for all engines:
//!
//! - `events`: what is told to user space. The kernel allocates with I/O under the locks that this
//!   takes (`uevent_sock_mutex`), so whoever holds them may be waiting for a write to one of our
//!   devices; no write may wait for this queue.
//! - `waits`: what waits for long and holds nothing: reads of frozen content that wait for a live
//!   device's resume, each view's in a worker of its own, and the filling of reserves of memory.
//!   Nobody waits for this queue but a view that is removed, whose reads have ended by then.

#![forbid(unsafe_code)]

mod own;

use crate::dm::DevT;
use crate::dm::WorkQueue;
use kernel::prelude::*;
use kernel::str::CString;
use kernel::sync::Arc;
use own::OwnQueue;
use own::Reaper;

/// The queues of the module. See the [module's documentation](self).
pub struct SharedQueues {
    /// Where events are sent from.
    pub(super) events: WorkQueue,
    /// Where reads wait for a resume, and reserves for memory.
    pub(super) waits: WorkQueue,
    reaper: Arc<Reaper>,
}

impl SharedQueues {
    /// Creates the queues. May sleep.
    ///
    /// Errors: `ENOMEM`.
    pub fn new() -> Result<Arc<Self>> {
        let queues = Self {
            events: WorkQueue::new_unhurried(c"dm-preserve-events")?,
            waits: WorkQueue::new_unhurried(c"dm-preserve-waits")?,
            reaper: Reaper::new()?,
        };
        Ok(Arc::new(queues, GFP_KERNEL)?)
    }

    /// Waits until nothing is queued or running, here or in an engine's own queues, which are
    /// destroyed by then. No engine must be in use, nor be made, any longer; but work may still
    /// hold parts of some.
    pub fn drain_all(&self) {
        // Parts of an engine queue events, and a read that waited may hold the last engine.
        self.waits.drain();
        self.reaper.wait();
        self.events.drain();
    }
}

/// The queues of one engine. See the [module's documentation](self).
pub struct Queues {
    /// The copier's and the checkpoints'.
    pub(super) writes: OwnQueue,
    /// The log's.
    pub(super) log: OwnQueue,
}

impl Queues {
    /// Creates the queues of an engine of this live device. May sleep.
    ///
    /// Errors: `ENOMEM`.
    pub(super) fn new(live: DevT, shared: &SharedQueues) -> Result<Arc<Self>> {
        let writes = CString::try_from_fmt(fmt!("dm-preserve/{live}"))?;
        let log = CString::try_from_fmt(fmt!("dm-preserve-log/{live}"))?;
        let queues = Self {
            writes: OwnQueue::new(&writes, &shared.reaper)?,
            log: OwnQueue::new(&log, &shared.reaper)?,
        };
        Ok(Arc::new(queues, GFP_KERNEL)?)
    }
}
