// SPDX-License-Identifier: GPL-2.0

//! Sizes as people write them: a plain number counts sectors of 512 bytes, as everywhere in device
//! mapper; `s` says so explicitly; `B`, `K`, `M`, `G`, `T` (powers of 1024) count bytes.

#![forbid(unsafe_code)]

use indicatif::BinaryBytes;

/// Bytes of a sector.
pub const SECTOR: u64 = 512;

/// A size in bytes; plain numbers are sectors.
pub fn bytes(text: &str) -> Result<u64, String> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let scale = match unit {
        "" | "s" => SECTOR,
        "B" => 1,
        "K" | "k" | "KiB" => 1 << 10,
        "M" | "m" | "MiB" => 1 << 20,
        "G" | "g" | "GiB" => 1 << 30,
        "T" | "t" | "TiB" => 1 << 40,
        _ => {
            return Err(format!(
                "{text:?} is no size; write sectors (8), or bytes with a unit: B, K, M, G, T (4K)"
            ))
        }
    };
    let number: u64 = digits
        .parse()
        .map_err(|_| format!("{text:?} does not begin with a number that fits 64 bits"))?;
    number
        .checked_mul(scale)
        .ok_or_else(|| format!("{text:?} is too large"))
}

/// A chunk size in sectors: a power of two from 4 KiB to 1 MiB.
pub fn chunk_sectors(text: &str) -> Result<u64, String> {
    let bytes = bytes(text)?;
    if !bytes.is_power_of_two() || !(4 << 10..=1 << 20).contains(&bytes) {
        return Err(format!(
            "{text:?} is no chunk size: a power of two from 4K to 1M"
        ));
    }
    Ok(bytes / SECTOR)
}

/// For people: `1.50 MiB`.
pub fn human(bytes: u64) -> String {
    BinaryBytes(bytes).to_string()
}
