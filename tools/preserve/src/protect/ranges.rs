// SPDX-License-Identifier: GPL-2.0

//! Ranges to protect or unprotect, and their rounding: nothing that the user wants protected may be
//! left out, so `protect` rounds outwards and `unprotect` inwards. Here to sectors; the module does
//! the same to chunks.

#![forbid(unsafe_code)]

use std::str::FromStr;

use crate::device::Edit;
use crate::units;
use crate::units::SECTOR;
use dm_preserve_core::uapi;

/// A range in bytes that ends within 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes {
    start: u64,
    end: u64,
}

impl Bytes {
    /// `None` when it is empty or its end does not fit.
    pub fn new(start: u64, len: u64) -> Option<Self> {
        let end = start.checked_add(len)?;
        (len > 0).then_some(Bytes { start, end })
    }

    /// The sectors that `edit` concerns; `None` when it covers no whole sector to unprotect.
    pub fn sectors(self, edit: Edit) -> Option<uapi::Range> {
        let (start, end) = match edit {
            Edit::Protect => (self.start / SECTOR, self.end.div_ceil(SECTOR)),
            Edit::Unprotect => (self.start.div_ceil(SECTOR), self.end / SECTOR),
        };
        let len = end.checked_sub(start).filter(|len| *len > 0)?;
        Some(uapi::Range { start, len })
    }
}

/// `START+LEN`, both as in [`units::bytes`].
impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (start, len) = text.split_once('+').ok_or_else(|| {
            format!("{text:?} is no range; write START+LEN, for example 2048+8 (sectors) or 1M+4K")
        })?;
        let (start, len) = (units::bytes(start.trim())?, units::bytes(len.trim())?);
        Bytes::new(start, len).ok_or_else(|| format!("{text:?} is empty or ends beyond any device"))
    }
}

/// One range per line; empty lines and what follows a `#` do not count.
pub fn parse_lines(text: &str) -> Result<Vec<Bytes>, String> {
    text.lines()
        .enumerate()
        .map(|(i, line)| (i + 1, line.split('#').next().unwrap_or("").trim()))
        .filter(|(_, line)| !line.is_empty())
        .map(|(number, line)| line.parse().map_err(|e| format!("line {number}: {e}")))
        .collect()
}
