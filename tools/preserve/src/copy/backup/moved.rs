// SPDX-License-Identifier: GPL-2.0

//! What a backup has moved, to be released when it is safely written. Remembered, not asked for
//! again: by then other chunks may be protected, or the base forgotten.

#![forbid(unsafe_code)]

use crate::copy::stream::Header;
use crate::device::Source;
use crate::units::SECTOR;
use crate::Error;
use crate::Result;
use dm_preserve_core::uapi::Range;

/// Ranges of one snapshot, in order; neighbours are one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    ranges: Vec<Range>,
}

impl Moved {
    /// A piece of the stream.
    pub fn note(&mut self, first_byte: u64, bytes: u64) {
        let range = Range {
            start: first_byte / SECTOR,
            len: bytes / SECTOR,
        };
        match self.ranges.last_mut() {
            Some(last) if last.start + last.len == range.start => last.len += range.len,
            _ => self.ranges.push(range),
        }
    }

    /// Tells the device that the snapshot which `header` leads to need not preserve this any
    /// longer.
    pub fn release<S: Source>(&self, source: &S, header: &Header) -> Result<()> {
        // Ids begin anew with a generation.
        if source.identity()?.generation != header.generation {
            return Err(Error::Missing(format!(
                "{}: tracking broke after the backup, so snapshot {} is no more, and nothing is \
                 to be released",
                source.name(),
                header.to
            )));
        }
        let mut ranges = self.ranges.iter();
        ranges.try_for_each(|range| source.release(header.to, *range))
    }
}
