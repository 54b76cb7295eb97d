// SPDX-License-Identifier: GPL-2.0

//! Walks the extents of a device, however many there are, without holding them all.

#![forbid(unsafe_code)]

use std::vec;

use crate::device::Query;
use crate::device::Source;
use crate::Error;
use crate::Result;
use dm_preserve_core::uapi;
use dm_preserve_core::uapi::Extent;

/// The names of the attributes, in the order in which they are shown.
pub const NAMES: [(u32, &str); 4] = [
    (uapi::ATTR_CHANGED, "changed"),
    (uapi::ATTR_PROTECTED, "protected"),
    (uapi::ATTR_PRESERVED, "preserved"),
    (uapi::ATTR_GONE, "gone"),
];

/// The names of the attributes set in `bits`.
pub fn names(bits: u32) -> Vec<&'static str> {
    NAMES
        .iter()
        .filter(|(bit, _)| bits & bit != 0)
        .map(|(_, name)| *name)
        .collect()
}

/// An iterator over the extents that a query finds.
pub struct Extents<'a, S> {
    source: &'a S,
    query: Query,
    batch: vec::IntoIter<Extent>,
    next: u64,
    chunks: u64,
}

impl<'a, S: Source> Extents<'a, S> {
    /// Begins at the first chunk.
    pub fn new(source: &'a S, query: Query) -> Result<Self> {
        let identity = source.identity()?;
        let chunks = identity
            .origin_bytes
            .div_ceil(u64::from(identity.chunk_bytes));
        Ok(Extents {
            source,
            query,
            batch: Vec::new().into_iter(),
            next: 0,
            chunks,
        })
    }

    fn fetch(&mut self) -> Result<()> {
        let (batch, next) = self.source.list(self.query, self.next)?;
        // A listing that stands still would never end, one out of bounds would be read out of
        // bounds.
        let fits = |e: &Extent| {
            e.start >= self.next && e.start.checked_add(e.len).is_some_and(|end| end <= next)
        };
        if next <= self.next || next > self.chunks || !batch.iter().all(fits) {
            let name = self.source.name();
            return Err(Error::Failed(format!(
                "{name}: the module's list of extents makes no sense (from chunk {} to {next} of \
                 {}); the device may have changed its size: try again",
                self.next, self.chunks
            )));
        }
        self.next = next;
        self.batch = batch.into_iter();
        Ok(())
    }
}

impl<S: Source> Iterator for Extents<'_, S> {
    type Item = Result<Extent>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(extent) = self.batch.next() {
                return Some(Ok(extent));
            }
            if self.next >= self.chunks {
                return None;
            }
            if let Err(e) = self.fetch() {
                // Nothing more after a failure.
                self.next = self.chunks;
                return Some(Err(e));
            }
        }
    }
}
