// SPDX-License-Identifier: GPL-2.0

//! The gate: a value that is replaced only while nobody is inside.

#![forbid(unsafe_code)]

use kernel::init::FromFn;
use kernel::machine;
use kernel::prelude::*;
use kernel::sync::Mutex;
use kernel::sync::MutexGuard;
use std::cell::RefCell;
use std::ops::Deref;
use std::ops::DerefMut;
use std::rc::Rc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::RwLock;
use std::sync::RwLockReadGuard;
use std::sync::RwLockWriteGuard;

type Watcher = Rc<dyn Fn()>;

thread_local! {
    static ON_CLOSE: RefCell<Option<Watcher>> = const { RefCell::new(None) };
}

/// Has `f` called each time a gate has been closed, by whoever has closed it, while nobody is
/// inside.
pub fn on_close(f: Option<Watcher>) {
    ON_CLOSE.set(f);
}

/// A value behind a gate.
pub struct Gate<T> {
    inside: AtomicU64,
    is_open: AtomicBool,
    closer: Mutex<()>,
    value: RwLock<T>,
}

impl<T> Gate<T> {
    /// An open gate.
    pub fn new(value: T) -> impl PinInit<Self, Error> {
        FromFn(move || {
            Ok(Self {
                inside: AtomicU64::new(0),
                is_open: AtomicBool::new(true),
                closer: Mutex::new(()),
                value: RwLock::new(value),
            })
        })
    }

    fn count(&self) {
        self.inside.fetch_add(1, Relaxed);
    }

    fn discount(&self) {
        let before = self.inside.fetch_sub(1, Relaxed);
        assert!(
            before > 0,
            "BUG: a gate was left more often than it was entered"
        );
        machine::wake(machine::key(self));
    }

    /// Goes in; `None` while the gate is closed or closing.
    pub fn enter(&self) -> Option<Stay<'_, T>> {
        machine::point();
        if !self.is_open.load(Relaxed) {
            return None;
        }
        let value = self.value.try_read().ok()?;
        self.count();
        machine::point();
        Some(Stay {
            gate: self,
            value: Some(value),
        })
    }

    /// Gives back a ticket.
    pub fn leave(&self, ticket: Ticket) {
        let Ticket(gate) = ticket;
        assert_eq!(gate, machine::key(self), "another gate's ticket");
        machine::point();
        self.discount();
    }

    /// Closes the gate and waits until everybody has left.
    pub fn close(&self) -> Closed<'_, T> {
        machine::might_sleep();
        let closer = self.closer.lock();
        machine::point();
        self.is_open.store(false, Relaxed);
        machine::point();
        while self.inside.load(Relaxed) > 0 {
            machine::park(machine::key(self), None);
        }
        let Ok(value) = self.value.try_write() else {
            panic!("BUG: somebody is inside");
        };
        let watcher = ON_CLOSE.with_borrow(Clone::clone);
        if let Some(watcher) = watcher {
            watcher();
        }
        Closed {
            gate: self,
            value: Some(value),
            _closer: closer,
        }
    }
}

/// A stay inside an open gate.
pub struct Stay<'a, T> {
    gate: &'a Gate<T>,
    /// `None` once the stay is kept beyond the borrow.
    value: Option<RwLockReadGuard<'a, T>>,
}

impl<T> Stay<'_, T> {
    /// Stays inside beyond the borrow.
    pub fn keep(mut self) -> Ticket {
        self.value = None;
        Ticket(machine::key(self.gate))
    }

    /// Goes in once more.
    pub fn ticket(&self) -> Ticket {
        self.gate.count();
        Ticket(machine::key(self.gate))
    }
}

impl<T> Deref for Stay<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.value {
            Some(value) => value,
            None => unreachable!("a stay that was given away"),
        }
    }
}

impl<T> Drop for Stay<'_, T> {
    fn drop(&mut self) {
        if self.value.take().is_some() {
            self.gate.discount();
        }
    }
}

/// Somebody inside who carries no borrow.
#[must_use]
pub struct Ticket(usize);

/// A gate that nobody is inside of. Opens when dropped.
pub struct Closed<'a, T> {
    gate: &'a Gate<T>,
    /// `None` only while it opens.
    value: Option<RwLockWriteGuard<'a, T>>,
    _closer: MutexGuard<'a, ()>,
}

impl<T> Deref for Closed<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.value {
            Some(value) => value,
            None => unreachable!("a gate that is open"),
        }
    }
}

impl<T> DerefMut for Closed<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        match &mut self.value {
            Some(value) => value,
            None => unreachable!("a gate that is open"),
        }
    }
}

impl<T> Drop for Closed<'_, T> {
    fn drop(&mut self) {
        self.value = None;
        self.gate.is_open.store(true, Relaxed);
    }
}
