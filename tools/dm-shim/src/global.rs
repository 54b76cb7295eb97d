// SPDX-License-Identifier: GPL-2.0

//! A value of the whole module. Each thread has a module of its own.

#![forbid(unsafe_code)]

use kernel::machine;
use kernel::sync::Arc;
use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::marker::PhantomData;

thread_local! {
    static VALUES: RefCell<BTreeMap<usize, Box<dyn Any>>> = const { RefCell::new(BTreeMap::new()) };
}

/// See the [module's documentation](self).
pub struct Global<T> {
    // Something that has an address of its own.
    _place: u8,
    kind: PhantomData<fn() -> T>,
}

impl<T: 'static> Global<T> {
    /// Without a value.
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        Self {
            _place: 0,
            kind: PhantomData,
        }
    }

    /// Returns the value.
    pub fn get(&self) -> Option<Arc<T>> {
        machine::point();
        VALUES.with_borrow(|values| {
            let value = values.get(&machine::key(self))?;
            value.downcast_ref::<Arc<T>>().cloned()
        })
    }

    /// Replaces the value.
    pub fn set(&self, new: Option<Arc<T>>) {
        machine::point();
        let key = machine::key(self);
        let old = VALUES.with_borrow_mut(|values| match new {
            Some(new) => values.insert(key, Box::new(new)),
            None => values.remove(&key),
        });
        drop(old);
    }
}
