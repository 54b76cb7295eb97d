// SPDX-License-Identifier: GPL-2.0

//! How a bio ends.

#![forbid(unsafe_code)]

use kernel::prelude::*;

/// A status (`blk_status_t`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Status(u8);

impl Status {
    /// Done.
    pub const OK: Self = Self(0);
    /// It failed.
    pub const IO_ERROR: Self = Self(10);
    /// It would have to wait.
    pub const AGAIN: Self = Self(12);
    /// It took too long.
    pub const TIMEOUT: Self = Self(2);
    /// A thin pool is full.
    pub const NO_SPACE: Self = Self(3);
    /// The disk is gone.
    pub const OFFLINE: Self = Self(16);
    /// There is no such operation.
    pub const NOT_SUPPORTED: Self = Self(1);
    /// device-mapper is to keep it and send it again.
    pub const REQUEUE: Self = Self(11);

    /// Returns it as the kernel does to whoever waits.
    ///
    /// Errors: `ENOSPC`, `ENODEV`, `EIO` for all others but [`Status::OK`].
    pub fn to_result(self) -> Result {
        match self {
            Self::OK => Ok(()),
            Self::NO_SPACE => Err(ENOSPC),
            Self::OFFLINE => Err(ENODEV),
            _ => Err(EIO),
        }
    }
}
