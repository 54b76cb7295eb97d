// SPDX-License-Identifier: GPL-2.0

//! A shared value that many look at without a lock, and that may be replaced at any time.

#![forbid(unsafe_code)]

use kernel::machine;
use kernel::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::Arc as StdArc;
use std::sync::Mutex;
use std::sync::PoisonError;

/// The latest of some shared values.
pub struct Latest<T> {
    value: Mutex<Arc<T>>,
    /// How many look at it.
    readers: StdArc<AtomicU64>,
}

impl<T> Latest<T> {
    /// The first value.
    pub fn new(value: Arc<T>) -> Self {
        Self {
            value: Mutex::new(value),
            readers: StdArc::default(),
        }
    }

    fn now(&self) -> Arc<T> {
        let value = self.value.lock();
        value.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Calls `look` with the value; it must not sleep. Any context.
    pub fn look<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        machine::point();
        self.readers.fetch_add(1, Relaxed);
        machine::enter_atomic();
        let value = self.now();
        machine::point();
        let result = look(&value);
        machine::point();
        drop(value);
        machine::leave_atomic();
        self.readers.fetch_sub(1, Relaxed);
        machine::wake(machine::key(&*self.readers));
        result
    }

    /// Takes a reference to the value. Process context.
    pub fn get(&self) -> Arc<T> {
        machine::point();
        self.now()
    }

    /// Replaces the value. The result has to be dropped in process context.
    pub fn replace(&self, new: Arc<T>) -> Replaced<T> {
        machine::point();
        let mut value = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        let value = std::mem::replace(&mut *value, new);
        Replaced {
            _value: value,
            readers: self.readers.clone(),
        }
    }
}

/// A value that was replaced. Dropping it waits for those who look.
#[must_use]
pub struct Replaced<T> {
    _value: Arc<T>,
    readers: StdArc<AtomicU64>,
}

impl<T> Drop for Replaced<T> {
    fn drop(&mut self) {
        if !machine::is_running() || std::thread::panicking() {
            return;
        }
        machine::might_sleep();
        while self.readers.load(Relaxed) > 0 {
            machine::park(machine::key(&*self.readers), None);
        }
    }
}
