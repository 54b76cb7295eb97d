// SPDX-License-Identifier: GPL-2.0

//! The only way up: a part tells whoever is above that something has happened.
//!
//! # Lock order
//!
//! The waker's lock is taken under any other; nothing is called with it held.

#![forbid(unsafe_code)]

use kernel::new_spinlock;
use kernel::prelude::*;
use kernel::sync::atomic::Atomic;
use kernel::sync::atomic::Full;
use kernel::sync::atomic::Relaxed;
use kernel::sync::atomic::Release;
use kernel::sync::Arc;
use kernel::sync::SpinLock;

/// Somebody above, who lets work run. Any context.
pub(super) trait Wake: Send + Sync {
    /// Lets the copier take what has come for it: bios, copies, durable entries of the log.
    fn take_in(self: Arc<Self>);

    /// Starts a checkpoint of a persistent store, in the background.
    fn start_checkpoint(self: Arc<Self>);
}

/// Who is woken: nobody before a table becomes active for the first time, and nobody after the last
/// target has gone, since who is woken owns this.
#[pin_data]
pub(super) struct Waker {
    #[pin]
    who: SpinLock<Option<Arc<dyn Wake>>>,
    /// Something has happened that those who wait in the copier may wait for.
    has_news: Atomic<bool>,
}

impl Waker {
    /// Makes a waker that wakes nobody yet. May sleep.
    ///
    /// Errors: `ENOMEM`.
    pub(super) fn new() -> Result<Arc<Self>> {
        let init = pin_init!(Self {
            who <- new_spinlock!(None, "Waker::who"),
            has_news: Atomic::new(false),
        });
        Arc::pin_init(init, GFP_KERNEL)
    }

    /// Sets who is woken.
    pub(super) fn set(&self, who: Option<Arc<dyn Wake>>) {
        let old = core::mem::replace(&mut *self.who.lock(), who);
        drop(old);
    }

    /// Notes that something has happened that waiting writes may wait for: the gate has opened,
    /// space has come back, need has shrunk, a suspend has begun or ended, the store has been given
    /// up. The caller lets the copier run.
    pub(super) fn note(&self) {
        self.has_news.store(true, Release);
    }

    /// Returns true if something was noted since this was last asked.
    pub(super) fn take_news(&self) -> bool {
        // Looked at first, as there hardly ever is any.
        self.has_news.load(Relaxed) && self.has_news.xchg(false, Full)
    }

    /// Notes that something has happened, and lets the copier run. Process context.
    pub(super) fn look_again(&self) {
        self.note();
        self.take_in();
    }

    fn who(&self) -> Option<Arc<dyn Wake>> {
        self.who.lock().clone()
    }

    /// See [`Wake::take_in`]. Process context.
    pub(super) fn take_in(&self) {
        if let Some(who) = self.who() {
            who.take_in();
        }
    }

    /// See [`Wake::start_checkpoint`]. Process context.
    pub(super) fn start_checkpoint(&self) {
        if let Some(who) = self.who() {
            who.start_checkpoint();
        }
    }
}
