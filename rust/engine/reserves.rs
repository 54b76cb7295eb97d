// SPDX-License-Identifier: GPL-2.0

//! How much memory a live device sets aside when it is made, so that writes go on when there is no
//! other.

#![forbid(unsafe_code)]

/// The sizes.
#[derive(Clone, Copy)]
pub struct Reserves {
    /// Bytes for the contents of copies in flight: the bound on their number.
    pub copy_bytes: u64,
}

impl Reserves {
    /// Those of a machine that is used for something.
    pub const DEFAULT: Self = Self {
        copy_bytes: 4 << 20,
    };
}
