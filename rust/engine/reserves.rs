// SPDX-License-Identifier: GPL-2.0

//! How much memory a live device sets aside when it is made, so that writes go on when there is no
//! other; and how long whoever can do without waits for other.

#![forbid(unsafe_code)]

/// How long to wait for memory when there is none, in milliseconds.
pub(in crate::engine) const NO_MEMORY_MS: u32 = 10;

/// The sizes.
#[derive(Clone, Copy)]
pub struct Reserves {
    /// Bytes for the contents of copies in flight: the bound on their number.
    pub copy_bytes: u64,
    /// Pages of 256 bytes for the index of copies; marks and the rest of the index get a part of
    /// that number each, of 4 KiB and 256 bytes.
    pub map_pages: usize,
}

impl Reserves {
    /// Those of a machine that is used for something.
    pub const DEFAULT: Self = Self {
        copy_bytes: 4 << 20,
        map_pages: 64,
    };
}
