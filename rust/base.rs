// SPDX-License-Identifier: GPL-2.0

//! What every room may use: an error code that not all kernels name, and the report of a mistake.
//!
//! The module takes both from `dm`; the library has its own.

#![forbid(unsafe_code)]

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
