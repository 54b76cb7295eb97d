// SPDX-License-Identifier: GPL-2.0

//! What every room may use: an error code that not all kernels name, the report of a mistake, and
//! cache lines of one's own.
//!
//! The module takes the first two from `dm`; the library has its own.

#![forbid(unsafe_code)]

use core::ops::Deref;
use kernel::prelude::*;

/// Structure needs cleaning (`EUCLEAN`): what was read cannot be.
#[cfg(MODULE)]
pub const EUCLEAN: Error = crate::dm::errors::EUCLEAN;
/// Structure needs cleaning (`EUCLEAN`): what was read cannot be.
#[cfg(not(MODULE))]
pub const EUCLEAN: Error = kernel::prelude::EUCLEAN;

/// Reports a mistake of this code, which then goes on in a safe way. Any context.
///
/// The module counts it, and tells it in the kernel log; tests end with it.
#[cold]
pub fn bug(what: &str) {
    #[cfg(MODULE)]
    crate::dm::bug(what);
    #[cfg(not(MODULE))]
    debug_assert!(false, "BUG: {what}");
}

/// A value with cache lines of its own (of 64 bytes): what lies beside it is not taken from other
/// processors' caches when it changes, and the other way round.
#[repr(align(64))]
pub struct Apart<T>(pub T);

impl<T> Deref for Apart<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}
