// SPDX-License-Identifier: GPL-2.0

//! Shared ownership and values that are set once.

#![forbid(unsafe_code)]

pub mod atomic;
mod condvar;
mod lock;

use crate::alloc::host as memory;
use crate::alloc::AllocError;
use crate::alloc::Flags;
use crate::error::Error;
use crate::init::PinInit;
use atomic::Acquire;
use atomic::Atomic;
use atomic::Relaxed;
use atomic::Release;
pub use condvar::CondVar;
pub use condvar::CondVarTimeoutResult;
pub use lock::Guard;
pub use lock::Mutex;
pub use lock::MutexGuard;
pub use lock::SpinLock;
use std::marker::Unsize;
use std::ops::CoerceUnsized;
use std::ops::Deref;
use std::ops::DispatchFromDyn;
use std::sync::OnceLock;

/// A reference-counted value.
pub struct Arc<T: ?Sized>(std::sync::Arc<T>);

impl<T> Arc<T> {
    /// Allocates.
    pub fn new(value: T, flags: Flags) -> Result<Self, AllocError> {
        memory::allocate(size_of::<T>(), flags)?;
        Ok(Self(std::sync::Arc::new(value)))
    }
}

impl<T> Arc<T> {
    /// Allocates, and initialises.
    ///
    /// Errors: `ENOMEM`, and those of the initialiser.
    pub fn pin_init<E>(init: impl PinInit<T, E>, flags: Flags) -> Result<Self, Error>
    where
        Error: From<E>,
    {
        Ok(Self::new(init.make()?, flags)?)
    }
}

impl<T: ?Sized> Arc<T> {
    /// Whether both are references to the same value.
    pub fn ptr_eq(this: &Self, other: &Self) -> bool {
        std::sync::Arc::ptr_eq(&this.0, &other.0)
    }
}

impl<T: ?Sized + Unsize<U>, U: ?Sized> CoerceUnsized<Arc<U>> for Arc<T> {}

impl<T: ?Sized + Unsize<U>, U: ?Sized> DispatchFromDyn<Arc<U>> for Arc<T> {}

impl<T: ?Sized> Clone for Arc<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: ?Sized> Deref for Arc<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// What a test can do about [`SetOnce`].
pub mod host {
    use std::cell::RefCell;

    type Hook = Box<dyn FnOnce()>;

    thread_local! {
        static WHILE_POPULATING: RefCell<Option<Hook>> = const { RefCell::new(None) };
    }

    /// Has this thread's next [`populate`](super::SetOnce::populate) run `hook` at the moment when
    /// it has won, but what it puts there cannot be seen yet. Stands for another thread that runs
    /// then.
    pub fn while_populating(hook: impl FnOnce() + 'static) {
        WHILE_POPULATING.set(Some(Box::new(hook)));
    }

    pub(super) fn populating() {
        if let Some(hook) = WHILE_POPULATING.take() {
            hook();
        }
    }
}

/// A value that is set at most once.
///
/// As in the kernel, and unlike `OnceLock`, the loser of a race does not wait for the winner:
/// `populate` returns `false` although `as_ref` may still be `None`.
pub struct SetOnce<T> {
    init: Atomic<u32>,
    value: OnceLock<T>,
}

impl<T> SetOnce<T> {
    /// Without a value.
    pub fn new() -> Self {
        Self {
            init: Atomic::new(0),
            value: OnceLock::new(),
        }
    }

    /// The value.
    pub fn as_ref(&self) -> Option<&T> {
        match self.init.load(Acquire) {
            2 => self.value.get(),
            _ => None,
        }
    }

    /// Sets the value, if nobody has or is about to.
    pub fn populate(&self, value: T) -> bool {
        if self.init.cmpxchg(0, 1, Relaxed).is_err() {
            return false;
        }
        host::populating();
        // The exchange has only one winner.
        let _ = self.value.set(value);
        self.init.store(2, Release);
        true
    }

    /// A copy of the value.
    pub fn copy(&self) -> Option<T>
    where
        T: Copy,
    {
        self.as_ref().copied()
    }
}

impl<T> Default for SetOnce<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc as StdArc;

    #[test]
    fn a_value_is_set_once_and_losers_do_not_wait() {
        let shared = StdArc::new(SetOnce::new());
        let (cell, other) = (&*shared, shared.clone());
        host::while_populating(move || {
            assert!(!other.populate(2));
            assert_eq!((*other).as_ref(), None);
        });
        assert!(cell.populate(1));
        assert_eq!(cell.copy(), Some(1));
        assert!(!cell.populate(3));
        assert_eq!(cell.as_ref(), Some(&1));
    }
}
