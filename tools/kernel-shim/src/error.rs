// SPDX-License-Identifier: GPL-2.0

//! Error numbers.

#![forbid(unsafe_code)]

use crate::alloc::AllocError;
use crate::alloc::InsertError;
use crate::alloc::PushError;
use crate::alloc::RemoveError;

/// An error number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Error(i32);

/// A result whose error is a number unless said otherwise.
pub type Result<T = (), E = Error> = core::result::Result<T, E>;

impl Error {
    /// The number, negative as in the kernel.
    pub const fn to_errno(self) -> i32 {
        self.0
    }
}

/// The errors by name.
pub mod code {
    use super::Error;

    /// No memory.
    pub const ENOMEM: Error = Error(-12);
    /// Invalid argument.
    pub const EINVAL: Error = Error(-22);
    /// No such entry.
    pub const ENOENT: Error = Error(-2);
    /// Input or output failed.
    pub const EIO: Error = Error(-5);
    /// No space left.
    pub const ENOSPC: Error = Error(-28);
    /// Structure needs cleaning.
    pub const EUCLEAN: Error = Error(-117);
    /// Argument list too long.
    pub const E2BIG: Error = Error(-7);
    /// Value too large for defined data type.
    pub const EOVERFLOW: Error = Error(-75);
    /// Too large.
    pub const EFBIG: Error = Error(-27);
    /// Interrupted.
    pub const EINTR: Error = Error(-4);
    /// Try again.
    pub const EAGAIN: Error = Error(-11);
    /// Busy.
    pub const EBUSY: Error = Error(-16);
    /// Exists already.
    pub const EEXIST: Error = Error(-17);
    /// No such device.
    pub const ENODEV: Error = Error(-19);
    /// Out of range.
    pub const ERANGE: Error = Error(-34);
    /// No data.
    pub const ENODATA: Error = Error(-61);
    /// Not supported.
    pub const EOPNOTSUPP: Error = Error(-95);
    /// Timed out.
    pub const ETIMEDOUT: Error = Error(-110);
}

impl From<AllocError> for Error {
    fn from(_: AllocError) -> Self {
        code::ENOMEM
    }
}

impl<T> From<PushError<T>> for Error {
    fn from(_: PushError<T>) -> Self {
        code::EINVAL
    }
}

impl From<RemoveError> for Error {
    fn from(_: RemoveError) -> Self {
        code::EINVAL
    }
}

impl<T> From<InsertError<T>> for Error {
    fn from(_: InsertError<T>) -> Self {
        code::EINVAL
    }
}
