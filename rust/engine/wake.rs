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
    /// Space has come back.
    has_space: Atomic<bool>,
}

impl Waker {
    /// Makes a waker that wakes nobody yet. May sleep.
    ///
    /// Errors: `ENOMEM`.
    pub(super) fn new() -> Result<Arc<Self>> {
        let init = pin_init!(Self {
            who <- new_spinlock!(None, "Waker::who"),
            has_news: Atomic::new(false),
            has_space: Atomic::new(false),
        });
        Arc::pin_init(init, GFP_KERNEL)
    }

    /// Sets who is woken.
    pub(super) fn set(&self, who: Option<Arc<dyn Wake>>) {
        let old = core::mem::replace(&mut *self.who.lock(), who);
        drop(old);
    }

    /// Returns true if something was noted since this was last asked.
    pub(super) fn take_news(&self) -> bool {
        take(&self.has_news)
    }

    /// Returns true if space has come back since this was last asked.
    pub(super) fn take_space_news(&self) -> bool {
        take(&self.has_space)
    }

    /// Notes that something has happened that any waiting write may wait for, and lets the copier
    /// run: the gate has opened, need has shrunk, a suspend has begun or ended, the store has been
    /// given up. Process context.
    pub(super) fn look_again(&self) {
        self.has_news.store(true, Release);
        self.take_in();
    }

    /// Notes that space has come back, for which writes may wait in their order. The caller lets
    /// the copier run.
    pub(super) fn note_space(&self) {
        self.has_space.store(true, Release);
    }

    /// Notes that space has come back, and lets the copier run. Process context.
    pub(super) fn space_has_come(&self) {
        self.note_space();
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

/// Returns true if a flag was set, and clears it.
fn take(flag: &Atomic<bool>) -> bool {
    // Looked at first, as it hardly ever is.
    flag.load(Relaxed) && flag.xchg(false, Full)
}
