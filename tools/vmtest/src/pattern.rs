// SPDX-License-Identifier: GPL-2.0

//! Contents that tell where they belong: each sector is made from a *stamp* and its own number, so
//! a sector in the wrong place, an old one and a torn one all differ from what is expected. Stamp 0
//! is zeroes.

#![forbid(unsafe_code)]

use anyhow::bail;
use anyhow::Result;

/// Bytes of a sector.
pub const SECTOR: usize = 512;

/// One sector's content.
pub fn sector(stamp: u64, sector: u64) -> [u8; SECTOR] {
    let mut bytes = [0; SECTOR];
    if stamp == 0 {
        return bytes;
    }
    let mut state = stamp.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ sector.rotate_left(32);
    for (i, word) in bytes.chunks_exact_mut(8).enumerate() {
        let value = match i {
            0 => stamp,
            1 => sector,
            _ => state,
        };
        word.copy_from_slice(&value.to_le_bytes());
        state = state.wrapping_add(0x2545_F491_4F6C_DD1D);
    }
    bytes
}

/// Fills whole sectors, the first of which is `start`, with one stamp.
pub fn fill(buffer: &mut [u8], start: u64, stamp: u64) {
    for (number, bytes) in (start..).zip(buffer.chunks_exact_mut(SECTOR)) {
        bytes.copy_from_slice(&sector(stamp, number));
    }
}

/// The stamp of a sector, if it is whole and in its place.
pub fn stamp_of(bytes: &[u8], number: u64) -> Option<u64> {
    let stamp = u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?);
    (bytes == sector(stamp, number)).then_some(stamp)
}

/// Compares sectors with the stamps that they must have.
pub fn check(bytes: &[u8], start: u64, stamps: &[u64]) -> Result<()> {
    if bytes.len() != stamps.len() * SECTOR {
        bail!("{} bytes for {} sectors", bytes.len(), stamps.len());
    }
    for ((number, found), stamp) in (start..).zip(bytes.chunks_exact(SECTOR)).zip(stamps) {
        if found != sector(*stamp, number) {
            bail!(
                "sector {number}: expected stamp {stamp}, found {}",
                describe(found, number)
            );
        }
    }
    Ok(())
}

/// What a sector holds, in words.
pub fn describe(bytes: &[u8], number: u64) -> String {
    if let Some(stamp) = stamp_of(bytes, number) {
        return format!("stamp {stamp}");
    }
    let word = |i: usize| {
        let word = bytes.get(i * 8..i * 8 + 8).and_then(|w| w.try_into().ok());
        u64::from_le_bytes(word.unwrap_or_default())
    };
    match bytes == sector(word(0), word(1)) {
        true => format!("stamp {} of sector {}", word(0), word(1)),
        false => format!("garbage ({:#x} {:#x} {:#x} ...)", word(0), word(1), word(2)),
    }
}
