// SPDX-License-Identifier: GPL-2.0

//! Errors that not all versions of the kernel crate name.

#![forbid(unsafe_code)]

pub use kernel::error::code::ENODATA;
pub use kernel::error::code::EOPNOTSUPP;
pub use kernel::error::code::EUCLEAN;
