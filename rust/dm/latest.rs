// SPDX-License-Identifier: GPL-2.0

//! A shared value that many look at without a lock, and that may be replaced at any time.
//!
//! Who looks holds no reference, so it is never the one that frees an old value: that is left to
//! whoever replaced it, or took a reference, in process context.
//!
//! C header: [`include/linux/rcupdate.h`](srctree/include/linux/rcupdate.h)

use crate::bindings;
use core::marker::PhantomData;
use kernel::sync::atomic::Acquire;
use kernel::sync::atomic::Atomic;
use kernel::sync::atomic::Full;
use kernel::sync::rcu;
use kernel::sync::Arc;
use kernel::sync::ArcBorrow;

/// The latest of some shared values. See the [module's documentation](self).
///
/// # Examples
///
/// ```
/// use crate::dm::Latest;
/// use kernel::sync::Arc;
///
/// let latest = Latest::new(Arc::new(1, GFP_KERNEL)?);
/// // In `map`:
/// assert_eq!(latest.look(|value| *value), 1);
/// // In process context:
/// let before = latest.get();
/// drop(latest.renew(Arc::new(2, GFP_KERNEL)?));
/// assert_eq!(latest.look(|value| *value), 2);
/// assert_eq!(*before, 1);
/// ```
///
/// # Invariants
///
/// The pointer comes from [`Arc::into_raw`], and stands for a reference. Once it has been replaced,
/// that reference is given up only after an RCU grace period.
pub struct Latest<T> {
    pointer: Atomic<*mut T>,
    _owned: PhantomData<Arc<T>>,
}

// SAFETY: As an `Arc<T>`, which it is.
unsafe impl<T: Send + Sync> Send for Latest<T> {}
// SAFETY: As an `Arc<T>`: what is shared is `&T` and new references.
unsafe impl<T: Send + Sync> Sync for Latest<T> {}

impl<T> Latest<T> {
    /// The first value.
    pub fn new(value: Arc<T>) -> Self {
        // INVARIANT: The reference is passed to the new object.
        Self {
            pointer: Atomic::new(Arc::into_raw(value).cast_mut()),
            _owned: PhantomData,
        }
    }

    /// Calls `look` with the value, inside an RCU read section (`rcu_read_lock()`): it must not
    /// sleep. Any context.
    #[inline]
    pub fn look<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        let section = rcu::read_lock();
        // SAFETY: By the type invariant there is a reference to what was just loaded, and it is
        // given up only after this section.
        let result = look(unsafe { &*self.pointer.load(Acquire) });
        drop(section);
        result
    }

    /// Takes a reference to the value. Process context: dropping it may free the value.
    pub fn get(&self) -> Arc<T> {
        let section = rcu::read_lock();
        // SAFETY: From `Arc::into_raw`; by the type invariant there is a reference until this
        // section is over, and nobody has `&mut` to what is shared.
        let value = unsafe { ArcBorrow::from_raw(self.pointer.load(Acquire)) };
        let value = Arc::from(value);
        drop(section);
        value
    }

    /// Replaces the value. The result has to be dropped in process context.
    pub fn renew(&self, new: Arc<T>) -> Replaced<T> {
        let old = self.pointer.xchg(Arc::into_raw(new).cast_mut(), Full);
        // SAFETY: From `Arc::into_raw`, with the reference that this object had; nobody else gets
        // the pointer from the exchange.
        Replaced(unsafe { Arc::from_raw(old) })
    }
}

impl<T> Drop for Latest<T> {
    fn drop(&mut self) {
        // SAFETY: From `Arc::into_raw`, with the reference that this object has. Nobody looks at
        // what is being dropped.
        drop(unsafe { Arc::from_raw(self.pointer.load(Acquire)) });
    }
}

/// A value that was replaced, to which somebody may be looking still. Dropping it waits for them
/// (`synchronize_rcu_expedited()`), then gives up the reference. That sleeps, for much less than a
/// millisecond as a rule: it belongs where nobody waits for what the caller holds.
#[must_use]
pub struct Replaced<T>(#[expect(dead_code, reason = "it is kept, not used")] Arc<T>);

impl<T> Drop for Replaced<T> {
    fn drop(&mut self) {
        // SAFETY: May sleep, which the documentation of this type asks of its owner; no memory
        // involved.
        unsafe { bindings::synchronize_rcu_expedited() };
    }
}
