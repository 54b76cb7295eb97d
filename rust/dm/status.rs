// SPDX-License-Identifier: GPL-2.0

//! How an I/O ended.
//!
//! C header: [`include/linux/blk_types.h`](srctree/include/linux/blk_types.h)

use crate::bindings;

/// How an I/O ended. Represents the C type `blk_status_t`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Status(pub(super) u8);

impl Status {
    /// Success (`BLK_STS_OK`).
    pub const OK: Self = Self(0);
    /// An I/O error (`BLK_STS_IOERR`).
    pub const IO_ERROR: Self = Self(bindings::BLK_STS_IOERR);
    /// Would have to wait, and the submitter does not want to (`BLK_STS_AGAIN`, for `REQ_NOWAIT`).
    pub const AGAIN: Self = Self(bindings::BLK_STS_AGAIN);
    /// The device cannot take a bio of that shape (`BLK_STS_INVAL`): of pieces that it cannot
    /// divide into whole blocks, as a rule.
    pub const INVALID: Self = Self(bindings::BLK_STS_INVAL);
    /// Waited for too long (`BLK_STS_TIMEOUT`).
    pub const TIMEOUT: Self = Self(bindings::BLK_STS_TIMEOUT);
    /// Not supported (`BLK_STS_NOTSUPP`).
    pub const NOT_SUPPORTED: Self = Self(bindings::BLK_STS_NOTSUPP);
    /// Back to device-mapper, which submits it again after a noflush suspend
    /// (`BLK_STS_DM_REQUEUE`).
    pub const REQUEUE: Self = Self(bindings::BLK_STS_DM_REQUEUE);
}
