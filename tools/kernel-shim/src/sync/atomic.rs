// SPDX-License-Identifier: GPL-2.0

//! Atomic values, with orderings that are types. Each access is a point at which the
//! [machine](crate::machine) may go on elsewhere.

#![forbid(unsafe_code)]

use crate::machine;
use std::sync::atomic;

/// No ordering.
pub struct Relaxed;
/// What follows is done after.
pub struct Acquire;
/// What precedes is done before.
pub struct Release;
/// Both.
pub struct Full;

/// An ordering.
pub trait Ordering {
    /// What it is in std.
    const STD: atomic::Ordering;
}

/// An ordering for loads.
pub trait AcquireOrRelaxed: Ordering {}

/// An ordering for stores.
pub trait ReleaseOrRelaxed: Ordering {}

impl Ordering for Relaxed {
    const STD: atomic::Ordering = atomic::Ordering::Relaxed;
}

impl Ordering for Acquire {
    const STD: atomic::Ordering = atomic::Ordering::Acquire;
}

impl Ordering for Release {
    const STD: atomic::Ordering = atomic::Ordering::Release;
}

impl Ordering for Full {
    const STD: atomic::Ordering = atomic::Ordering::SeqCst;
}

impl AcquireOrRelaxed for Acquire {}
impl AcquireOrRelaxed for Relaxed {}
impl ReleaseOrRelaxed for Release {}
impl ReleaseOrRelaxed for Relaxed {}

/// A type that can be atomic.
pub trait AtomicType: Sized + Copy {
    /// Its type in std.
    type Repr;

    /// Makes one.
    fn into_repr(self) -> Self::Repr;
    /// Loads.
    fn load(repr: &Self::Repr, order: atomic::Ordering) -> Self;
    /// Stores.
    fn store(repr: &Self::Repr, value: Self, order: atomic::Ordering);
    /// Exchanges.
    fn swap(repr: &Self::Repr, value: Self, order: atomic::Ordering) -> Self;
    /// Exchanges if the value is `old`. A failure orders nothing.
    fn exchange(
        repr: &Self::Repr,
        old: Self,
        new: Self,
        order: atomic::Ordering,
    ) -> Result<Self, Self>;
}

/// A type that can be added to atomically.
pub trait AtomicAdd: AtomicType {
    /// Adds, and returns what was there before.
    fn fetch_add(repr: &Self::Repr, value: Self, order: atomic::Ordering) -> Self;
    /// Subtracts, and returns what was there before.
    fn fetch_sub(repr: &Self::Repr, value: Self, order: atomic::Ordering) -> Self;
}

macro_rules! atomic_type {
    ($type:ty, $repr:ty) => {
        impl AtomicType for $type {
            type Repr = $repr;

            fn into_repr(self) -> Self::Repr {
                <$repr>::new(self)
            }

            fn load(repr: &Self::Repr, order: atomic::Ordering) -> Self {
                repr.load(order)
            }

            fn store(repr: &Self::Repr, value: Self, order: atomic::Ordering) {
                repr.store(value, order)
            }

            fn swap(repr: &Self::Repr, value: Self, order: atomic::Ordering) -> Self {
                repr.swap(value, order)
            }

            fn exchange(
                repr: &Self::Repr,
                old: Self,
                new: Self,
                order: atomic::Ordering,
            ) -> Result<Self, Self> {
                repr.compare_exchange(old, new, order, atomic::Ordering::Relaxed)
            }
        }
    };
}

macro_rules! atomic_add {
    ($type:ty) => {
        impl AtomicAdd for $type {
            fn fetch_add(repr: &Self::Repr, value: Self, order: atomic::Ordering) -> Self {
                repr.fetch_add(value, order)
            }

            fn fetch_sub(repr: &Self::Repr, value: Self, order: atomic::Ordering) -> Self {
                repr.fetch_sub(value, order)
            }
        }
    };
}

atomic_type!(bool, atomic::AtomicBool);
atomic_type!(u32, atomic::AtomicU32);
atomic_type!(u64, atomic::AtomicU64);
atomic_add!(u32);
atomic_add!(u64);

/// An atomic value.
pub struct Atomic<T: AtomicType>(T::Repr);

impl<T: AtomicType> Atomic<T> {
    /// A new one.
    pub fn new(value: T) -> Self {
        Self(value.into_repr())
    }

    /// Loads.
    pub fn load<O: AcquireOrRelaxed>(&self, _: O) -> T {
        machine::point();
        T::load(&self.0, O::STD)
    }

    /// Stores.
    pub fn store<O: ReleaseOrRelaxed>(&self, value: T, _: O) {
        machine::point();
        T::store(&self.0, value, O::STD);
    }

    /// Exchanges.
    pub fn xchg<O: Ordering>(&self, value: T, _: O) -> T {
        machine::point();
        T::swap(&self.0, value, O::STD)
    }

    /// Exchanges if the value is `old`; the result is what was there.
    pub fn cmpxchg<O: Ordering>(&self, old: T, new: T, _: O) -> Result<T, T> {
        machine::point();
        T::exchange(&self.0, old, new, O::STD)
    }
}

impl<T: AtomicAdd> Atomic<T> {
    /// Adds.
    pub fn add(&self, value: T, _: Relaxed) {
        machine::point();
        T::fetch_add(&self.0, value, Relaxed::STD);
    }

    /// Adds, and returns what was there before.
    pub fn fetch_add<O: Ordering>(&self, value: T, _: O) -> T {
        machine::point();
        T::fetch_add(&self.0, value, O::STD)
    }

    /// Subtracts, and returns what was there before.
    pub fn fetch_sub<O: Ordering>(&self, value: T, _: O) -> T {
        machine::point();
        T::fetch_sub(&self.0, value, O::STD)
    }
}
