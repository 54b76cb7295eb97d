// SPDX-License-Identifier: GPL-2.0

//! A gate: a value that many read without a lock, replaced only while nobody is inside.
//!
//! # States
//!
//! 1. *Open*, counting per CPU: [`Gate::enter`] succeeds, at the cost of a per-CPU increment.
//! 2. *Draining*: [`Gate::close`] has been called; nobody gets in, those inside leave.
//! 3. *Closed*: nobody is inside; the holder of [`Closed`] may replace the value. Dropping it leads
//!    back to 1.
//!
//! Closing first switches the counter to its atomic mode *while the gate is still open*, since that
//! waits for an RCU grace period; the stretch in which entering fails is then only the draining
//! itself.
//!
//! C headers: [`include/linux/percpu-refcount.h`](srctree/include/linux/percpu-refcount.h),
//! [`include/linux/completion.h`](srctree/include/linux/completion.h)

use super::bug;
use crate::bindings;
use core::cell::UnsafeCell;
use core::mem::ManuallyDrop;
use core::ops::Deref;
use core::ops::DerefMut;
use kernel::error::to_result;
use kernel::new_mutex;
use kernel::prelude::*;
use kernel::sync::atomic::Atomic;
use kernel::sync::atomic::Relaxed;
use kernel::sync::Mutex;
use kernel::sync::MutexGuard;
use kernel::types::Opaque;

/// A value behind a gate. See the [module's documentation](self).
///
/// Those inside are counted by the C `struct percpu_ref`; who closes waits on a
/// `struct completion`.
///
/// # Examples
///
/// ```
/// use crate::dm::Gate;
///
/// let gate = KBox::pin_init(Gate::new(1), GFP_KERNEL)?;
///
/// // In `map`: go in, and stay inside until `end_io`.
/// let stay = gate.enter().ok_or(EBUSY)?;
/// assert_eq!(*stay, 1);
/// let ticket = stay.keep();
/// // In `end_io`:
/// gate.leave(ticket);
///
/// // In process context: replace the value, while nobody is inside.
/// let mut closed = gate.close();
/// *closed = 2;
/// assert!(gate.enter().is_none());
/// drop(closed);
/// assert_eq!(gate.enter().map(|stay| *stay), Some(2));
/// ```
///
/// # Invariants
///
/// - `count` is initialised; it is live exactly while no [`Closed`] exists and none is being made.
/// - `value` is only replaced through [`Closed`], that is, while `count` is zero: no [`Stay`] and
///   no [`Ticket`] of this gate exists then.
#[pin_data(PinnedDrop)]
pub struct Gate<T> {
    #[pin]
    count: Opaque<bindings::percpu_ref>,
    #[pin]
    drained: Opaque<bindings::completion>,
    /// Serialises those who close the gate.
    #[pin]
    closer: Mutex<()>,
    /// Tells this gate's tickets from others'; never used again.
    id: u64,
    value: UnsafeCell<T>,
}

/// The last id given to a gate.
static LAST_ID: Atomic<u64> = Atomic::new(0);

// SAFETY: The counter and the completion may be used from any thread; `T` moves with the gate.
unsafe impl<T: Send> Send for Gate<T> {}
// SAFETY: `&T` is handed to many threads (`T: Sync`), `&mut T` to one at a time (`T: Send`).
unsafe impl<T: Send + Sync> Sync for Gate<T> {}

impl<T> Gate<T> {
    /// An open gate (`percpu_ref_init()`). Sleeps. Errors: `ENOMEM`.
    pub fn new(value: T) -> impl PinInit<Self, Error> {
        // INVARIANT: Live, as no `Closed` exists.
        try_pin_init!(Self {
            value: UnsafeCell::new(value),
            id: LAST_ID.fetch_add(1, Relaxed),
            closer <- new_mutex!((), "Gate::closer"),
            drained <- Opaque::ffi_init(|slot: *mut bindings::completion| {
                // SAFETY: `slot` is valid for writes of a completion.
                unsafe { bindings::dm_preserve_init_completion(slot) }
            }),
            count <- Opaque::try_ffi_init(|slot: *mut bindings::percpu_ref| {
                // CAST: `gfp_t` is an unsigned int.
                // SAFETY: `slot` is valid for writes, and pinned, as the callback relies on.
                to_result(unsafe {
                    bindings::percpu_ref_init(
                        slot,
                        Some(Self::drained_callback),
                        bindings::PERCPU_REF_ALLOW_REINIT,
                        bindings::GFP_KERNEL,
                    )
                })
            }),
        }? Error)
    }

    /// Called when the count reaches zero, from the context of whoever left last.
    ///
    /// # Safety
    ///
    /// `count` must be the `count` field of a `Gate<T>`.
    unsafe extern "C" fn drained_callback(count: *mut bindings::percpu_ref) {
        let count = Opaque::cast_from(count);
        // SAFETY: By the safety requirement `count` is that field of a gate, which is alive.
        let gate = unsafe { &*kernel::container_of!(count, Self, count) };
        // SAFETY: The completion was initialised with the gate.
        unsafe { bindings::complete(gate.drained.get()) };
    }

    /// Goes in (`percpu_ref_tryget_live()`); `None` while the gate is closed or closing. Any
    /// context, never sleeps.
    #[inline]
    pub fn enter(&self) -> Option<Stay<'_, T>> {
        // SAFETY: By the type invariant the counter is initialised.
        let live = unsafe { bindings::dm_preserve_ref_tryget_live(self.count.get()) };
        // INVARIANT: A stay exists only if the reference was taken (not `then_some`: that would
        // make, and drop, one in any case).
        live.then(|| {
            // Whoever sees the counter live again also sees what was done while it was closed. x86
            // does not reorder loads.
            #[cfg(not(CONFIG_X86))]
            // SAFETY: A barrier; always allowed.
            unsafe {
                bindings::dm_preserve_smp_rmb()
            };
            Stay { gate: self }
        })
    }

    /// Gives back a ticket (`percpu_ref_put()`). Any context.
    ///
    /// A ticket of another gate is a bug: it is reported, and keeps its gate from ever closing.
    #[inline]
    pub fn leave(&self, ticket: Ticket) {
        if ticket.0 == self.id {
            // SAFETY: The ticket stands for one reference that `enter` took from this very gate.
            unsafe { bindings::dm_preserve_ref_put(self.count.get()) };
        } else {
            bug("a gate was left with another gate's ticket");
        }
    }

    /// Closes the gate and waits until everybody has left (`percpu_ref_switch_to_atomic_sync()`,
    /// `percpu_ref_kill()`). Sleeps; one closer at a time.
    pub fn close(&self) -> Closed<'_, T> {
        let closer = self.closer.lock();
        let count = self.count.get();
        // SAFETY: Initialised by the type invariant. Still open: this is where the grace period
        // passes.
        unsafe { bindings::percpu_ref_switch_to_atomic_sync(count) };
        // SAFETY: Initialised, and live, since `closer` is held and every `Closed` revives it.
        unsafe { bindings::dm_preserve_ref_kill(count) };
        // SAFETY: The completion is initialised; the callback completes it once for each time the
        // count reaches zero, which happens once for each kill.
        unsafe { bindings::wait_for_completion(self.drained.get()) };
        // INVARIANT: Drained, and it cannot be entered before `percpu_ref_reinit`.
        Closed {
            gate: self,
            _closer: closer,
        }
    }
}

#[pinned_drop]
impl<T> PinnedDrop for Gate<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: Initialised by the type invariant; nobody can enter a gate that is being dropped.
        unsafe { bindings::percpu_ref_exit(self.count.get()) };
    }
}

/// A stay inside an open gate. Ends when dropped (`percpu_ref_put()`).
///
/// # Invariants
///
/// Holds one reference to the gate's count.
pub struct Stay<'a, T> {
    gate: &'a Gate<T>,
}

impl<T> Stay<'_, T> {
    /// Stays inside beyond the borrow: the ticket has to be given to [`Gate::leave`].
    #[inline]
    pub fn keep(self) -> Ticket {
        ManuallyDrop::new(self).another()
    }

    /// Goes in once more (`percpu_ref_get()`), which is always possible for somebody who is inside.
    #[inline]
    pub fn ticket(&self) -> Ticket {
        // SAFETY: By the type invariant the count is not zero, so it may be raised.
        unsafe { bindings::dm_preserve_ref_get(self.gate.count.get()) };
        self.another()
    }

    fn another(&self) -> Ticket {
        // INVARIANT: Only called where a reference is handed over.
        Ticket(self.gate.id)
    }
}

impl<T> Deref for Stay<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: By the gate's invariant the value is not replaced while this stay lasts.
        unsafe { &*self.gate.value.get() }
    }
}

impl<T> Drop for Stay<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant this stay holds a reference, given up here.
        unsafe { bindings::dm_preserve_ref_put(self.gate.count.get()) };
    }
}

/// Somebody inside who carries no borrow, for keeping with a bio in flight: a reference of the C
/// `struct percpu_ref`.
///
/// # Invariants
///
/// Stands for one reference to the count of the gate with this id.
#[must_use]
pub struct Ticket(u64);

/// A gate that nobody is inside of. Opens when dropped (`percpu_ref_reinit()`).
///
/// # Invariants
///
/// The gate's count is zero and dead: nobody is inside, nobody gets in.
pub struct Closed<'a, T> {
    gate: &'a Gate<T>,
    _closer: MutexGuard<'a, ()>,
}

impl<T> Deref for Closed<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: Nobody replaces the value but the holder of `self`, which is borrowed.
        unsafe { &*self.gate.value.get() }
    }
}

impl<T> DerefMut for Closed<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: By the gate's invariant nobody is inside, and `self` is borrowed exclusively.
        unsafe { &mut *self.gate.value.get() }
    }
}

impl<T> Drop for Closed<'_, T> {
    fn drop(&mut self) {
        let count = self.gate.count.get();
        // SAFETY: The count is zero and dead, as this function requires.
        unsafe { bindings::percpu_ref_reinit(count) };
        // SAFETY: The count is live again and may count per CPU.
        unsafe { bindings::percpu_ref_switch_to_percpu(count) };
    }
}
