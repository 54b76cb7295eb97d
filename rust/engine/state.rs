// SPDX-License-Identifier: GPL-2.0

//! What an engine knows now: the present epoch behind the gate, the timeline, the designation, the
//! next snapshot's id.
//!
//! # Lock order
//!
//! `editor`, then `control`, then the gate (closing it), then `designation`, which is taken alone.
//! Whoever is inside the gate waits for none of the first two. None is held while waiting for a
//! task that needs it, or over sysfs and open calls.

#![forbid(unsafe_code)]

use crate::dm::errors::EUCLEAN;
use crate::dm::Closed;
use crate::dm::Gate;
use crate::dm::Latest;
use crate::dm::NoReclaim;
use crate::dm::Replaced;
use crate::dm::Stay;
use crate::dm::Ticket;
use crate::engine::space::Copies;
use crate::history;
use crate::history::Change;
use crate::maps::region;
use crate::maps::Bitmap;
use crate::maps::Designation;
use core::ops::Deref;
use core::ops::DerefMut;
use kernel::new_mutex;
use kernel::new_spinlock;
use kernel::prelude::*;
use kernel::sync::atomic::Acquire;
use kernel::sync::atomic::Atomic;
use kernel::sync::atomic::Relaxed;
use kernel::sync::atomic::Release;
use kernel::sync::Arc;
use kernel::sync::Mutex;
use kernel::sync::MutexGuard;
use kernel::sync::SpinLock;

/// Epochs with our copies.
pub type Epoch = history::Epoch<Copies>;
/// Timelines with our copies.
pub type Timeline = history::Timeline<Copies>;

/// What a write on the fast path needs: the present epoch.
pub(super) struct Present {
    /// The epoch's number.
    pub(super) epoch: u64,
    /// Its marks.
    pub(super) marks: Arc<Bitmap>,
    /// The number of the period: of the stretch of time from one checkpoint to the next. Stays 0
    /// with a transient store.
    pub(super) period: u64,
    /// The regions announced in the log for this epoch and period, with a persistent store.
    pub(super) regions: Option<Arc<Bitmap>>,
}

/// What only those who hold the control lock change.
pub(super) struct Control {
    /// The number of the period.
    pub(super) period: u64,
}

/// The control lock while it is held. The copier may wait for it, for which writes wait: memory is
/// had at once meanwhile, or not.
pub(super) struct ControlGuard<'a> {
    control: MutexGuard<'a, Control>,
    _scope: NoReclaim,
}

impl Deref for ControlGuard<'_> {
    type Target = Control;

    fn deref(&self) -> &Control {
        &self.control
    }
}

impl DerefMut for ControlGuard<'_> {
    fn deref_mut(&mut self) -> &mut Control {
        &mut self.control
    }
}

/// Returns a map of regions, none of which is announced. May sleep.
///
/// Errors: `ENOMEM`.
pub(super) fn no_regions(chunks: u64) -> Result<Arc<Bitmap>> {
    Ok(Arc::new(Bitmap::new(region::count(chunks))?, GFP_KERNEL)?)
}

/// What is known at the beginning.
pub(super) struct Known {
    pub(super) present: Present,
    pub(super) timeline: Arc<Timeline>,
    pub(super) designation: Arc<Designation>,
    pub(super) next_id: u64,
    pub(super) unproven: u64,
}

/// The state. See the [module's documentation](self).
#[pin_data]
pub struct State {
    #[pin]
    gate: Gate<Present>,
    timeline: Latest<Timeline>,
    /// The designation as it is now; replaced under the editor lock.
    #[pin]
    designation: SpinLock<Arc<Designation>>,
    /// The next snapshot's id; changed with the control lock held.
    next_id: Atomic<u64>,
    /// Snapshots and bookmarks up to this id are unproven, as the superblocks say too; 0 for none.
    unproven: Atomic<u64>,
    #[pin]
    control: Mutex<Control>,
    /// Serialises editors of the designation.
    #[pin]
    editor: Mutex<()>,
}

impl State {
    /// Makes the state from what is known at the beginning.
    ///
    /// Errors: `ENOMEM`.
    pub(super) fn new(known: Known) -> impl PinInit<Self, Error> {
        let control = Control {
            period: known.present.period,
        };
        try_pin_init!(Self {
            gate <- Gate::new(known.present),
            timeline: Latest::new(known.timeline),
            designation <- new_spinlock!(known.designation, "State::designation"),
            next_id: Atomic::new(known.next_id),
            unproven: Atomic::new(known.unproven),
            control <- new_mutex!(control, "State::control"),
            editor <- new_mutex!((), "State::editor"),
        }? Error)
    }

    /// Enters the gate; `None` while it is closed. Atomic context.
    #[inline]
    pub(super) fn enter(&self) -> Option<Stay<'_, Present>> {
        self.gate.enter()
    }

    /// Leaves the gate, for a write that has completed. Atomic context.
    #[inline]
    pub fn leave(&self, ticket: Ticket) {
        self.gate.leave(ticket);
    }

    /// Closes the gate, and waits until all writes have left it. The caller holds the control lock.
    pub(super) fn close_gate(&self) -> Closed<'_, Present> {
        self.gate.close()
    }

    /// Returns the timeline as it is now. Process context: dropping the last reference to a
    /// timeline frees epochs, with their space in the store.
    pub fn timeline(&self) -> Arc<Timeline> {
        self.timeline.get()
    }

    /// Calls `look` with the timeline as it is now. Takes no reference, so a write in `map` may ask
    /// like this; `look` must not sleep.
    #[inline]
    pub(super) fn look_at_timeline<R>(&self, look: impl FnOnce(&Timeline) -> R) -> R {
        self.timeline.look(look)
    }

    /// Replaces the timeline. The old one lives as long as somebody uses it; dropping the result
    /// waits for those who look, and has to come when the gate is open. The caller holds the
    /// control lock.
    pub(super) fn publish(&self, new: Arc<Timeline>) -> Replaced<Timeline> {
        self.timeline.exchange(new)
    }

    /// Returns the designation as it is now.
    pub fn designation(&self) -> Arc<Designation> {
        self.designation.lock().clone()
    }

    /// Replaces the designation. The caller holds the editor lock.
    pub(super) fn set_designation(&self, new: Arc<Designation>) {
        let old = core::mem::replace(&mut *self.designation.lock(), new);
        drop(old);
    }

    /// Returns the next snapshot's id.
    pub fn next_id(&self) -> u64 {
        self.next_id.load(Relaxed)
    }

    /// Counts a snapshot that has been taken. The caller holds the control lock.
    pub(super) fn use_next_id(&self) {
        self.next_id.add(1, Relaxed);
    }

    /// Returns the highest id that is unproven; 0 for none.
    pub fn unproven(&self) -> u64 {
        self.unproven.load(Acquire)
    }

    /// Takes note that nothing is unproven any longer, as the superblocks say. The caller holds the
    /// control lock.
    pub(super) fn set_proven(&self) {
        self.unproven.store(0, Release);
    }

    /// Refuses an unproven snapshot or bookmark. An id of 0 stands for none.
    ///
    /// Errors: `EUCLEAN`.
    pub fn ensure_proven(&self, id: u64) -> Result {
        match id > 0 && id <= self.unproven() {
            true => Err(EUCLEAN),
            false => Ok(()),
        }
    }

    /// Takes the lock under which history changes. May sleep; but whoever holds it does not wait
    /// for memory.
    pub(super) fn control(&self) -> ControlGuard<'_> {
        ControlGuard {
            control: self.control.lock(),
            _scope: NoReclaim::enter(),
        }
    }

    /// Takes that lock while no write is under way: whoever holds it may wait for memory. May
    /// sleep.
    pub(super) fn control_at_rest(&self) -> MutexGuard<'_, Control> {
        self.control.lock()
    }

    /// Returns true if a snapshot is on the timeline that has been dropped.
    pub(super) fn has_dropped(&self) -> bool {
        self.look_at_timeline(|timeline| {
            let mut snapshots = timeline.snapshots().iter();
            snapshots.any(|snapshot| snapshot.is_dropped())
        })
    }

    /// Takes snapshots off the timeline that have been dropped, but could not be taken off then for
    /// want of memory. The caller holds the control lock, and the gate is open.
    ///
    /// Errors: `ENOMEM`.
    pub(super) fn tidy_timeline(&self) -> Result {
        if self.has_dropped() {
            let new = Arc::new(self.timeline().changed(Change::NONE)?, GFP_KERNEL)?;
            drop(self.publish(new));
        }
        Ok(())
    }

    /// Takes the lock under which the designation is edited. May sleep.
    pub(super) fn editor(&self) -> MutexGuard<'_, ()> {
        self.editor.lock()
    }

    /// Returns true if copies of an epoch are kept: if it is the present one, and there is a
    /// snapshot.
    pub(super) fn keeps_copies(&self, epoch: u64) -> bool {
        self.look_at_timeline(|timeline| {
            let present = timeline.present();
            present.is_some_and(|present| present.id == epoch && present.copies.is_some())
        })
    }
}
