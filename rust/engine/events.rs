// SPDX-License-Identifier: GPL-2.0

//! What happens to a live device, told to user space: event number, uevent, polls, and the wait
//! ioctl.
//!
//! # States of an event
//!
//! 1. *Logged*: it has its number, and the wait ioctl returns it.
//! 2. *Sent*, by a work item, soon after: uevent, `dmsetup wait`, polls.
//!
//! Sending takes locks under which others wait for writes, and the copier has events too, so it
//! must not send them itself; see [`queues`](crate::engine::queues).
//!
//! The event log holds no engine: its work may still run when the engine has gone.

#![forbid(unsafe_code)]

use crate::dm::Events;
use crate::engine::queues::SharedQueues;
use crate::uapi;
use kernel::impl_has_work;
use kernel::new_condvar;
use kernel::new_mutex;
use kernel::new_work;
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::sync::CondVar;
use kernel::sync::CondVarTimeoutResult;
use kernel::sync::Mutex;
use kernel::time::msecs_to_jiffies;
use kernel::workqueue::Work;
use kernel::workqueue::WorkItem;

/// The kinds of events.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Event {
    /// A snapshot was taken.
    Snapshot,
    /// A snapshot was dropped.
    Dropped,
    /// A snapshot was given up.
    Invalid,
    /// The low-space mark was passed.
    LowSpace,
    /// Writes began to wait for space.
    Blocked,
    /// A chunk's frozen content is gone.
    Gone,
    /// A read found the store's content damaged.
    Damaged,
    /// The store has failed, and writes pass that are not in its log.
    Failed,
}

impl Event {
    /// Returns the bit in [`uapi::WaitEvent::kinds`].
    fn bit(self) -> u32 {
        match self {
            Self::Snapshot => uapi::EVENT_SNAPSHOT,
            Self::Dropped => uapi::EVENT_DROPPED,
            Self::Invalid => uapi::EVENT_INVALID,
            Self::LowSpace => uapi::EVENT_LOW_SPACE,
            Self::Blocked => uapi::EVENT_BLOCKED,
            Self::Gone => uapi::EVENT_GONE,
            Self::Damaged => uapi::EVENT_DAMAGED,
            Self::Failed => uapi::EVENT_FAILED,
        }
    }

    /// Returns the variable of the uevent.
    fn environment(self) -> &'static CStr {
        match self {
            Self::Snapshot => c"PRESERVE_EVENT=snapshot",
            Self::Dropped => c"PRESERVE_EVENT=dropped",
            Self::Invalid => c"PRESERVE_EVENT=invalid",
            Self::LowSpace => c"PRESERVE_EVENT=low-space",
            Self::Blocked => c"PRESERVE_EVENT=blocked",
            Self::Gone => c"PRESERVE_EVENT=gone",
            Self::Damaged => c"PRESERVE_EVENT=damaged",
            Self::Failed => c"PRESERVE_EVENT=failed",
        }
    }
}

/// Events remembered. Of more at once the oldest are not sent, and the wait ioctl does not know
/// their kinds.
const REMEMBERED: u64 = 64;

struct EventList {
    /// Number of the last event.
    number: u64,
    /// Number of the last one that was sent.
    sent: u64,
    /// Event `n`, at `n % REMEMBERED`.
    events: [Event; REMEMBERED as usize],
    /// Where events go: the active target's.
    sink: Option<Arc<Events>>,
    /// The last target is gone: nobody has to wait any longer.
    is_closed: bool,
}

/// The events of an engine.
#[pin_data]
pub struct EventLog {
    #[pin]
    log: Mutex<EventList>,
    #[pin]
    news: CondVar,
    #[pin]
    work: Work<EventLog>,
    queues: Arc<SharedQueues>,
}

impl_has_work! {
    impl HasWork<Self> for EventLog { self.work }
}

impl EventLog {
    /// Makes an event log without events, which sends them from `queues`. May sleep.
    ///
    /// Errors: `ENOMEM`.
    pub(super) fn new(queues: Arc<SharedQueues>) -> Result<Arc<Self>> {
        let log = EventList {
            number: 0,
            sent: 0,
            // Those with a number have been logged.
            events: [Event::Snapshot; REMEMBERED as usize],
            sink: None,
            is_closed: false,
        };
        let init = pin_init!(Self {
            log <- new_mutex!(log, "EventLog::log"),
            news <- new_condvar!("EventLog::news"),
            work <- new_work!("EventLog::work"),
            queues,
        });
        Arc::pin_init(init, GFP_KERNEL)
    }

    /// Sends events to this target from now on, beginning with those that have waited for a target.
    pub fn set_sink(self: &Arc<Self>, sink: Arc<Events>) {
        self.log.lock().sink = Some(sink);
        self.send();
    }

    /// Returns the number of the last event.
    pub fn number(&self) -> u64 {
        self.log.lock().number
    }

    /// Logs an event, and sends it to user space soon after. Process context.
    pub(super) fn add(self: &Arc<Self>, event: Event) {
        let mut log = self.log.lock();
        log.add(event);
        // With the lock, so that nobody is between looking and waiting.
        self.news.notify_all();
        drop(log);
        self.send();
    }

    /// Ends all waiting: no target is left.
    pub(super) fn close(&self) {
        let mut log = self.log.lock();
        log.is_closed = true;
        self.news.notify_all();
    }

    /// Starts the work that sends what has been logged.
    fn send(self: &Arc<Self>) {
        // When it is queued already it will see what there is to send.
        let _ = self.queues.events.enqueue(self.clone());
    }

    /// Waits at most `timeout_ms` milliseconds for an event after number `seen`. Returns the last
    /// number, and which kinds there were.
    ///
    /// Errors: `ETIMEDOUT`, `EINTR`, `ENODEV` when the last target is gone.
    pub fn wait(&self, seen: u64, timeout_ms: u32) -> Result<(u64, u32)> {
        let mut left = msecs_to_jiffies(timeout_ms);
        let mut log = self.log.lock();
        loop {
            if log.number != seen {
                return Ok((log.number, log.kinds_since(seen)));
            }
            if log.is_closed {
                return Err(ENODEV);
            }
            if left == 0 {
                return Err(ETIMEDOUT);
            }
            match self.news.wait_interruptible_timeout(&mut log, left) {
                CondVarTimeoutResult::Woken { jiffies } => left = jiffies,
                CondVarTimeoutResult::Timeout => left = 0,
                CondVarTimeoutResult::Signal { .. } => return Err(EINTR),
            }
        }
    }
}

impl EventList {
    fn add(&mut self, event: Event) {
        self.number += 1;
        // CAST: Less than `REMEMBERED`.
        self.events[(self.number % REMEMBERED) as usize] = event;
    }

    /// Returns the events after number `seen`, as far as they are remembered.
    fn since(&self, seen: u64) -> impl Iterator<Item = Event> + '_ {
        let oldest = self.number.saturating_sub(REMEMBERED);
        // CAST: Less than `REMEMBERED`.
        (seen.max(oldest)..self.number).map(|n| self.events[((n + 1) % REMEMBERED) as usize])
    }

    fn kinds_since(&self, seen: u64) -> u32 {
        self.since(seen).fold(0, |all, event| all | event.bit())
    }

    /// Returns the next event to be sent, and the target to send it to.
    fn next(&mut self) -> Option<(Event, Arc<Events>)> {
        // Without one they wait for it.
        let sink = self.sink.clone()?;
        let event = self.since(self.sent).next()?;
        let oldest = self.number.saturating_sub(REMEMBERED);
        self.sent = self.sent.max(oldest) + 1;
        Some((event, sink))
    }
}

impl WorkItem for EventLog {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        loop {
            let next = this.log.lock().next();
            let Some((event, sink)) = next else {
                return;
            };
            sink.send(event.environment(), c"preserve", &[c"state", c"event"]);
        }
    }
}
