// SPDX-License-Identifier: GPL-2.0

//! Allocation that can fail, and boxes and vectors that use it.

#![forbid(unsafe_code)]

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::ops::DerefMut;

/// How to allocate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flags(u32);

/// Values of [`Flags`].
pub mod flags {
    use super::Flags;

    /// May sleep.
    pub const GFP_KERNEL: Flags = Flags(0);
    /// Must not sleep.
    pub const GFP_NOWAIT: Flags = Flags(1);
}

/// There is no memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AllocError;

/// An allocator.
pub trait Allocator {
    /// The most bytes one allocation can have.
    const MAX_BYTES: usize;
}

/// `kmalloc`
#[derive(Debug)]
pub struct Kmalloc;

/// `kvmalloc`
#[derive(Debug)]
pub struct KVmalloc;

impl Allocator for Kmalloc {
    // KMALLOC_MAX_SIZE with pages of 4 KiB and MAX_PAGE_ORDER 10.
    const MAX_BYTES: usize = 4 << 20;
}

impl Allocator for KVmalloc {
    // kvmalloc refuses (and warns about) more than INT_MAX.
    const MAX_BYTES: usize = i32::MAX as usize;
}

/// What a test can see and do about allocation. Everything counts for the calling thread only.
pub mod host {
    use super::flags::GFP_NOWAIT;
    use super::AllocError;
    use super::Flags;
    use std::cell::Cell;

    /// Memory in use, and how often some was asked for.
    #[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
    pub struct Usage {
        /// Bytes as asked for.
        pub exact: i64,
        /// Bytes with the rounding of the kernel's slab and page allocator.
        pub rounded: i64,
        /// Allocations so far, failed ones too.
        pub calls: u64,
    }

    thread_local! {
        static USAGE: Cell<Usage> = const { Cell::new(Usage { exact: 0, rounded: 0, calls: 0 }) };
        static FAIL_AFTER: Cell<Option<u64>> = const { Cell::new(None) };
        static LIMIT: Cell<i64> = const { Cell::new(i64::MAX) };
    }

    /// The present usage.
    pub fn usage() -> Usage {
        USAGE.get()
    }

    /// What `kmalloc` (or the page allocator behind `kvmalloc`) really takes for `bytes` bytes.
    pub fn rounded(bytes: usize) -> usize {
        match bytes {
            0 => 0,
            1..=8 => 8,
            65..=96 => 96,
            129..=192 => 192,
            // kvmalloc turns to vmalloc, in whole pages, where large blocks are scarce; what it
            // takes when they are not is the larger figure.
            bytes => bytes.next_power_of_two(),
        }
    }

    /// Runs `f` with all its allocations failing after the first `count`.
    pub fn failing_after<R>(count: u64, f: impl FnOnce() -> R) -> R {
        FAIL_AFTER.set(Some(count));
        let result = f();
        FAIL_AFTER.set(None);
        result
    }

    /// Runs `f` with all allocations failing that would bring the usage above what it is now by
    /// more than `bytes`.
    pub fn within<R>(bytes: usize, f: impl FnOnce() -> R) -> R {
        // CAST: A size in memory.
        let limit = USAGE.get().exact.saturating_add(bytes as i64);
        let outer = LIMIT.replace(limit.min(LIMIT.get()));
        let result = f();
        LIMIT.set(outer);
        result
    }

    pub(crate) fn allocate(bytes: usize, flags: Flags) -> Result<(), AllocError> {
        if crate::machine::memory_fails(flags != GFP_NOWAIT) {
            return Err(AllocError);
        }
        let mut usage = USAGE.get();
        // CAST: No size is larger.
        if usage.exact.saturating_add(bytes as i64) > LIMIT.get() {
            return Err(AllocError);
        }
        usage.calls += 1;
        USAGE.set(usage);
        match FAIL_AFTER.get() {
            Some(0) => Err(AllocError),
            Some(count) => {
                FAIL_AFTER.set(Some(count - 1));
                Ok(())
            }
            None => Ok(()),
        }
    }

    pub(crate) fn charge(bytes: usize, sign: i64) {
        // Threads end in any order: a thread's counters may be gone already.
        let _ = USAGE.try_with(|cell| {
            let mut usage = cell.get();
            usage.exact += sign * bytes as i64;
            usage.rounded += sign * rounded(bytes) as i64;
            cell.set(usage);
        });
    }
}

/// One object from `kmalloc`.
pub struct KBox<T>(Box<T>);

impl<T> KBox<T> {
    /// Allocates.
    pub fn new(value: T, flags: Flags) -> Result<Self, AllocError> {
        host::allocate(size_of::<T>(), flags)?;
        host::charge(size_of::<T>(), 1);
        Ok(Self(Box::new(value)))
    }
}

impl<T> Drop for KBox<T> {
    fn drop(&mut self) {
        host::charge(size_of::<T>(), -1);
    }
}

impl<T> Deref for KBox<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for KBox<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

/// A vector. Unlike std's, nothing allocates unless told to, and capacities are exact.
pub struct Vec<T, A: Allocator> {
    inner: std::vec::Vec<T>,
    allocator: PhantomData<A>,
}

/// From `kmalloc`.
pub type KVec<T> = Vec<T, Kmalloc>;
/// From `kvmalloc`.
pub type KVVec<T> = Vec<T, KVmalloc>;

/// There was no room.
pub struct PushError<T>(pub T);

impl<T> fmt::Debug for PushError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Not enough capacity")
    }
}

/// There is no such element.
#[derive(Debug)]
pub struct RemoveError;

/// An element could not be inserted.
pub enum InsertError<T> {
    /// There is no such place.
    IndexOutOfBounds(T),
    /// There was no room.
    OutOfCapacity(T),
}

impl<T> fmt::Debug for InsertError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::IndexOutOfBounds(_) => "Index out of bounds",
            Self::OutOfCapacity(_) => "Not enough capacity",
        })
    }
}

impl<T, A: Allocator> Vec<T, A> {
    /// Empty; does not allocate.
    pub const fn new() -> Self {
        Self {
            inner: std::vec::Vec::new(),
            allocator: PhantomData,
        }
    }

    /// Empty, with room.
    pub fn with_capacity(capacity: usize, flags: Flags) -> Result<Self, AllocError> {
        let mut vec = Self::new();
        vec.reserve(capacity, flags)?;
        Ok(vec)
    }

    /// Elements that there is room for.
    pub fn capacity(&self) -> usize {
        self.inner.capacity()
    }

    fn bytes(&self) -> usize {
        match size_of::<T>() {
            0 => 0,
            size => self.inner.capacity() * size,
        }
    }

    /// Makes room for more elements: at least twice the present capacity, if it does not suffice.
    pub fn reserve(&mut self, additional: usize, flags: Flags) -> Result<(), AllocError> {
        let (len, capacity) = (self.inner.len(), self.inner.capacity());
        if capacity - len >= additional {
            return Ok(());
        }
        let needed = len.checked_add(additional).ok_or(AllocError)?;
        let new = needed.max(capacity * 2);
        let bytes = new.checked_mul(size_of::<T>()).ok_or(AllocError)?;
        // The kernel's krealloc moves; both are there for a moment.
        host::allocate(bytes.min(isize::MAX as usize), flags)?;
        if bytes > A::MAX_BYTES {
            return Err(AllocError);
        }
        host::charge(self.bytes(), -1);
        let result = self.inner.try_reserve_exact(new - len);
        host::charge(self.bytes(), 1);
        result.map_err(|_| AllocError)?;
        assert_eq!(
            self.inner.capacity(),
            new,
            "std's allocator gave more room than asked for"
        );
        Ok(())
    }

    /// Appends.
    pub fn push(&mut self, value: T, flags: Flags) -> Result<(), AllocError> {
        self.reserve(1, flags)?;
        self.inner.push(value);
        Ok(())
    }

    /// Appends without allocating.
    pub fn push_within_capacity(&mut self, value: T) -> Result<(), PushError<T>> {
        if self.inner.len() == self.inner.capacity() {
            return Err(PushError(value));
        }
        self.inner.push(value);
        Ok(())
    }

    /// Inserts without allocating.
    pub fn insert_within_capacity(&mut self, index: usize, value: T) -> Result<(), InsertError<T>> {
        if index > self.inner.len() {
            return Err(InsertError::IndexOutOfBounds(value));
        }
        if self.inner.len() == self.inner.capacity() {
            return Err(InsertError::OutOfCapacity(value));
        }
        self.inner.insert(index, value);
        Ok(())
    }

    /// Appends the elements of a slice.
    pub fn extend_from_slice(&mut self, other: &[T], flags: Flags) -> Result<(), AllocError>
    where
        T: Clone,
    {
        self.reserve(other.len(), flags)?;
        self.inner.extend_from_slice(other);
        Ok(())
    }

    /// `n` times the same.
    pub fn from_elem(value: T, n: usize, flags: Flags) -> Result<Self, AllocError>
    where
        T: Clone,
    {
        let mut vec = Self::with_capacity(n, flags)?;
        vec.inner.resize(n, value);
        Ok(vec)
    }

    /// Makes it so long, with more of the same at its end or less.
    pub fn resize(&mut self, len: usize, value: T, flags: Flags) -> Result<(), AllocError>
    where
        T: Clone,
    {
        self.reserve(len.saturating_sub(self.inner.len()), flags)?;
        self.inner.resize(len, value);
        Ok(())
    }

    /// Removes the last element.
    pub fn pop(&mut self) -> Option<T> {
        self.inner.pop()
    }

    /// Removes an element.
    pub fn remove(&mut self, index: usize) -> Result<T, RemoveError> {
        match index < self.inner.len() {
            true => Ok(self.inner.remove(index)),
            false => Err(RemoveError),
        }
    }

    /// Removes all elements.
    pub fn clear(&mut self) {
        self.inner.clear();
    }

    /// Removes the elements from `len` on.
    pub fn truncate(&mut self, len: usize) {
        self.inner.truncate(len);
    }

    /// Keeps the elements that `keep` is true for.
    pub fn retain(&mut self, keep: impl FnMut(&mut T) -> bool) {
        self.inner.retain_mut(keep);
    }
}

impl<T, A: Allocator> Drop for Vec<T, A> {
    fn drop(&mut self) {
        host::charge(self.bytes(), -1);
    }
}

impl<T, A: Allocator> Default for Vec<T, A> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: fmt::Debug, A: Allocator> fmt::Debug for Vec<T, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl<T, A: Allocator> Deref for Vec<T, A> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.inner
    }
}

impl<T, A: Allocator> DerefMut for Vec<T, A> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.inner
    }
}

impl<T, A: Allocator> IntoIterator for Vec<T, A> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(mut self) -> Self::IntoIter {
        host::charge(self.bytes(), -1);
        std::mem::take(&mut self.inner).into_iter()
    }
}

impl<'a, T, A: Allocator> IntoIterator for &'a Vec<T, A> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.inner.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::flags::GFP_KERNEL;
    use super::host;
    use super::*;

    #[test]
    fn capacities_are_as_the_kernels() {
        let mut vec = KVec::<u64>::with_capacity(3, GFP_KERNEL).unwrap();
        assert_eq!(vec.capacity(), 3);
        for value in 0..3 {
            vec.push_within_capacity(value).unwrap();
        }
        assert!(vec.push_within_capacity(3).is_err());
        assert!(matches!(
            vec.insert_within_capacity(0, 3),
            Err(InsertError::OutOfCapacity(3))
        ));
        assert!(matches!(
            vec.insert_within_capacity(4, 3),
            Err(InsertError::IndexOutOfBounds(3))
        ));
        vec.push(3, GFP_KERNEL).unwrap();
        assert_eq!(vec.capacity(), 6);
        vec.reserve(2, GFP_KERNEL).unwrap();
        assert_eq!(vec.capacity(), 6);
        vec.reserve(20, GFP_KERNEL).unwrap();
        assert_eq!(vec.capacity(), 24);
        assert!(vec.remove(4).is_err());
        assert_eq!(vec.remove(1).unwrap(), 1);
        assert_eq!(&*vec, &[0, 2, 3]);
    }

    #[test]
    fn usage_is_exact_and_returns_to_where_it_was() {
        let before = host::usage();
        let mut vec = KVVec::<u64>::with_capacity(5, GFP_KERNEL).unwrap();
        assert_eq!(host::usage().exact - before.exact, 40);
        assert_eq!(host::usage().rounded - before.rounded, 64);
        vec.reserve(6, GFP_KERNEL).unwrap();
        assert_eq!(host::usage().exact - before.exact, 80);
        assert_eq!(host::usage().rounded - before.rounded, 96);
        assert_eq!(host::usage().calls - before.calls, 2);
        drop(vec);
        assert_eq!(host::usage().exact, before.exact);
        assert_eq!(host::usage().rounded, before.rounded);
    }

    #[test]
    fn a_box_counts_as_one_object() {
        let before = host::usage();
        let mut one = KBox::new([1u8; 250], GFP_KERNEL).unwrap();
        one[0] = 2;
        assert_eq!(one[..2], [2, 1]);
        assert_eq!(host::usage().exact - before.exact, 250);
        assert_eq!(host::usage().rounded - before.rounded, 256);
        drop(one);
        assert_eq!(host::usage().exact, before.exact);
        assert!(host::failing_after(0, || KBox::new(0, GFP_KERNEL)).is_err());
    }

    #[test]
    fn allocations_fail_above_a_limit() {
        let _before = KVec::<u8>::with_capacity(100, GFP_KERNEL).unwrap();
        let both = |bytes| {
            let first = KVec::<u8>::with_capacity(40, GFP_KERNEL)?;
            KVec::<u8>::with_capacity(bytes, GFP_KERNEL).map(|second| (first, second))
        };
        host::within(100, || {
            assert!(both(60).is_ok());
            assert!(both(60).is_ok(), "what was freed counts no longer");
            assert!(both(61).is_err());
            host::within(80, || assert!(both(60).is_err()));
            host::within(1000, || assert!(both(61).is_err()));
        });
        assert!(both(61).is_ok());
    }

    #[test]
    fn allocations_fail_when_told_to_and_when_too_large() {
        let two = || {
            KVec::<u8>::with_capacity(1, GFP_KERNEL)?;
            KVec::<u8>::with_capacity(1, GFP_KERNEL)
        };
        assert!(host::failing_after(0, two).is_err());
        assert!(host::failing_after(1, two).is_err());
        assert!(host::failing_after(2, two).is_ok());
        assert!(two().is_ok());
        assert!(KVec::<u8>::with_capacity((4 << 20) + 1, GFP_KERNEL).is_err());
        assert!(KVVec::<u8>::with_capacity(1 << 31, GFP_KERNEL).is_err());
        assert!(KVVec::<u64>::with_capacity(usize::MAX / 4, GFP_KERNEL).is_err());
    }
}
