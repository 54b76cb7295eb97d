// SPDX-License-Identifier: GPL-2.0

//! A static that holds a shared object while the module is loaded.
//!
//! C header: [`include/linux/preempt.h`](srctree/include/linux/preempt.h)

use crate::bindings;
use core::cell::UnsafeCell;
use kernel::sync::atomic::Acquire;
use kernel::sync::atomic::Atomic;
use kernel::sync::atomic::Release;
use kernel::sync::Arc;

/// An `Option<Arc<T>>` that may be a `static` and needs no initialisation at run time.
///
/// For objects that C callbacks without a context pointer must find. The lock is a plain flag, held
/// for a few instructions with preemption off (`preempt_disable()`), and never in interrupt
/// context: what `DEFINE_SPINLOCK()` is in C.
///
/// # Examples
///
/// ```
/// use crate::dm::Global;
/// use kernel::sync::Arc;
///
/// static NAME: Global<&str> = Global::new();
///
/// NAME.set(Some(Arc::new("here", GFP_KERNEL)?));
/// assert_eq!(NAME.get().map(|name| *name), Some("here"));
/// NAME.set(None);
/// assert!(NAME.get().is_none());
/// ```
///
/// # Invariants
///
/// `value` is only accessed by the one who changed `locked` from 0 to 1 and has not set it back.
pub struct Global<T> {
    locked: Atomic<u32>,
    value: UnsafeCell<Option<Arc<T>>>,
}

// SAFETY: `value` is protected by `locked`; what leaves it is an `Arc`, which needs
// `T: Send + Sync`.
unsafe impl<T: Send + Sync> Sync for Global<T> {}

impl<T> Global<T> {
    /// An empty one.
    pub const fn new() -> Self {
        // INVARIANT: Not locked, and nobody has access yet.
        Self {
            locked: Atomic::new(0),
            value: UnsafeCell::new(None),
        }
    }

    fn with<R>(&self, f: impl FnOnce(&mut Option<Arc<T>>) -> R) -> R {
        // SAFETY: Balanced below; nothing in between sleeps.
        unsafe { bindings::dm_preserve_preempt_disable() };
        while self.locked.cmpxchg(0, 1, Acquire).is_err() {
            core::hint::spin_loop();
        }
        // SAFETY: By the type invariant this caller alone has access until it unlocks below.
        let result = f(unsafe { &mut *self.value.get() });
        // INVARIANT: The access ended.
        self.locked.store(0, Release);
        // SAFETY: Balances the call above.
        unsafe { bindings::dm_preserve_preempt_enable() };
        result
    }

    /// The object, if there is one.
    pub fn get(&self) -> Option<Arc<T>> {
        self.with(|value| value.clone())
    }

    /// Replaces the object; the old one is dropped outside the lock.
    pub fn set(&self, new: Option<Arc<T>>) {
        let old = self.with(|value| core::mem::replace(value, new));
        drop(old);
    }
}
