// SPDX-License-Identifier: GPL-2.0

//! Contents of the origin that say whether it was written while its live device was not active: its
//! beginning, where filesystems have what they change at every mount, and some samples beyond.

#![forbid(unsafe_code)]

use crate::format::BLOCK_SECTORS;

/// Sectors of the beginning; no sample is longer.
pub const HEAD_SECTORS: u64 = 128;
/// Samples beyond, of a block each.
const SAMPLES: u64 = 16;

/// Returns the fingerprint of an origin, of which the first `sectors` sectors are those of the live
/// device.
///
/// `sample(start, len)` returns the CRC-32C of `len` sectors, a multiple of a block's, or `None` if
/// they cannot be read. What cannot be read counts as a content of its own: if it can be read
/// later, the fingerprint differs.
pub fn fingerprint(sectors: u64, mut sample: impl FnMut(u64, u64) -> Option<u32>) -> u32 {
    let mut checksum = 0;
    let mut add = |start: u64, len: u64| {
        let len = len.min(sectors.saturating_sub(start));
        // Whole blocks only; a rest at the very end is not looked at.
        let len = len & !(BLOCK_SECTORS - 1);
        if len > 0 {
            let sample: u32 = sample(start, len).unwrap_or(u32::MAX);
            checksum = (sample ^ checksum).rotate_left(1);
        }
    };
    add(0, HEAD_SECTORS);
    for n in 1..=SAMPLES {
        let start = sectors / (SAMPLES + 1) * n;
        add(start & !(BLOCK_SECTORS - 1), BLOCK_SECTORS);
    }
    checksum
}
