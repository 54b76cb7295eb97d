// SPDX-License-Identifier: GPL-2.0

//! Locks of the [machine](crate::machine): mutexes, which sleep, and spin locks, under which nobody
//! may.

#![forbid(unsafe_code)]

use crate::machine;
use std::marker::PhantomData;
use std::ops::Deref;
use std::ops::DerefMut;
use std::sync::MutexGuard as StdGuard;
use std::sync::PoisonError;
use std::sync::TryLockError;

/// What distinguishes the kinds of locks.
pub trait Backend {
    /// The holder must not sleep.
    const IS_ATOMIC: bool;
}

/// That of [`Mutex`].
pub struct MutexBackend;
/// That of [`SpinLock`].
pub struct SpinLockBackend;

impl Backend for MutexBackend {
    const IS_ATOMIC: bool = false;
}

impl Backend for SpinLockBackend {
    const IS_ATOMIC: bool = true;
}

/// A lock.
pub struct Lock<T, B: Backend> {
    inner: std::sync::Mutex<T>,
    backend: PhantomData<fn() -> B>,
}

/// A lock whose holder may sleep.
pub type Mutex<T> = Lock<T, MutexBackend>;
/// A lock whose holder must not sleep.
pub type SpinLock<T> = Lock<T, SpinLockBackend>;
/// The holder of a [`Mutex`].
pub type MutexGuard<'a, T> = Guard<'a, T, MutexBackend>;

impl<T, B: Backend> Lock<T, B> {
    /// Nobody holds it.
    pub fn new(value: T) -> Self {
        Self {
            inner: std::sync::Mutex::new(value),
            backend: PhantomData,
        }
    }

    /// Waits until nobody holds it, and takes it.
    pub fn lock(&self) -> Guard<'_, T, B> {
        if !B::IS_ATOMIC {
            machine::might_sleep();
        }
        machine::point();
        let guard = self.take();
        if B::IS_ATOMIC {
            machine::enter_atomic();
        }
        Guard {
            lock: self,
            inner: Some(guard),
        }
    }

    fn take(&self) -> StdGuard<'_, T> {
        loop {
            match self.inner.try_lock() {
                Ok(guard) => return guard,
                Err(TryLockError::Poisoned(guard)) => return guard.into_inner(),
                // Outside of a machine nobody but another thread can hold it.
                Err(TryLockError::WouldBlock) if !machine::is_running() => {
                    return self.inner.lock().unwrap_or_else(PoisonError::into_inner);
                }
                Err(TryLockError::WouldBlock) => {
                    machine::park(machine::key(self), None);
                }
            }
        }
    }

    fn let_go(&self) {
        machine::wake(machine::key(self));
    }
}

/// The holder of a lock.
pub struct Guard<'a, T, B: Backend> {
    lock: &'a Lock<T, B>,
    /// `None` only while [`Guard::without`] runs.
    inner: Option<StdGuard<'a, T>>,
}

impl<T, B: Backend> Guard<'_, T, B> {
    /// Lets go of the lock while `f` runs.
    pub(super) fn without<R>(&mut self, f: impl FnOnce() -> R) -> R {
        self.inner = None;
        self.lock.let_go();
        let result = f();
        self.inner = Some(self.lock.take());
        result
    }
}

impl<T, B: Backend> Deref for Guard<'_, T, B> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.inner {
            Some(guard) => guard,
            None => unreachable!("the lock is held"),
        }
    }
}

impl<T, B: Backend> DerefMut for Guard<'_, T, B> {
    fn deref_mut(&mut self) -> &mut T {
        match &mut self.inner {
            Some(guard) => guard,
            None => unreachable!("the lock is held"),
        }
    }
}

impl<T, B: Backend> Drop for Guard<'_, T, B> {
    fn drop(&mut self) {
        self.inner = None;
        if B::IS_ATOMIC {
            machine::leave_atomic();
        }
        self.lock.let_go();
        if !std::thread::panicking() {
            machine::point();
        }
    }
}

/// Initialises a [`Mutex`].
#[macro_export]
macro_rules! new_mutex {
    ($value:expr $(, $name:literal)?) => {{
        let value = $value;
        $crate::init::FromFn(move || {
            ::core::result::Result::<_, ::core::convert::Infallible>::Ok($crate::sync::Mutex::new(
                value,
            ))
        })
    }};
}

/// Initialises a [`SpinLock`].
#[macro_export]
macro_rules! new_spinlock {
    ($value:expr $(, $name:literal)?) => {{
        let value = $value;
        $crate::init::FromFn(move || {
            ::core::result::Result::<_, ::core::convert::Infallible>::Ok(
                $crate::sync::SpinLock::new(value),
            )
        })
    }};
}
