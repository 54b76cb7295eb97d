// SPDX-License-Identifier: GPL-2.0

//! Error codes that the kernel crate names only from 7.3 on.
//!
//! C header: [`include/uapi/asm-generic/errno.h`](srctree/include/uapi/asm-generic/errno.h)

use crate::bindings;
use kernel::prelude::*;

/// The kernel crate has this as well, but not for constants.
const fn error(number: u32) -> Error {
    // CAST: Error numbers are below 4096.
    let code = -(number as i32);
    // SAFETY: An `Error` is the negated number, as asserted below, and the bindings' numbers are in
    // its range.
    unsafe { core::mem::transmute::<i32, Error>(code) }
}

const _: () = assert!(matches!(error(bindings::EINVAL), EINVAL));

/// No data available (`ENODATA`).
pub const ENODATA: Error = error(bindings::ENODATA);
/// Operation not supported (`EOPNOTSUPP`).
pub const EOPNOTSUPP: Error = error(bindings::EOPNOTSUPP);
/// Structure needs cleaning (`EUCLEAN`).
pub const EUCLEAN: Error = error(bindings::EUCLEAN);
