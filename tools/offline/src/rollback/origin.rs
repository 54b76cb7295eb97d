// SPDX-License-Identifier: GPL-2.0

//! The origin of a store, while no live device is over it.

#![forbid(unsafe_code)]

use std::io;

use crate::store::Error;
use crate::store::Medium;
use crate::store::Result;
use dm_preserve_core::format::crc32c;
use dm_preserve_core::maps::Geometry;
use dm_preserve_core::maps::SECTOR_BYTES;
use dm_preserve_core::store::fingerprint;

/// An open origin.
pub(super) struct Origin<'a> {
    medium: Box<dyn Medium + 'a>,
    /// Whole sectors that it has.
    pub(super) sectors: u64,
}

fn explain(what: &str) -> impl FnOnce(io::Error) -> Error + '_ {
    move |source| Error::Io {
        what: format!("the origin: {what}"),
        source,
    }
}

impl<'a> Origin<'a> {
    pub(super) fn new(medium: impl Medium + 'a) -> Result<Self> {
        let mut medium = Box::new(medium);
        let bytes = medium.size().map_err(explain("cannot find out its size"))?;
        Ok(Self {
            medium,
            sectors: bytes / SECTOR_BYTES,
        })
    }

    /// What the module would compare at an activation of a device of `sectors` sectors.
    pub(super) fn fingerprint(&mut self, sectors: u64) -> u32 {
        fingerprint::fingerprint(sectors, |start, len| {
            // CAST: At most `HEAD_SECTORS`.
            let mut sample = vec![0; (len * SECTOR_BYTES) as usize];
            let read = self.medium.read_at(&mut sample, start * SECTOR_BYTES);
            read.ok().map(|()| crc32c(0, &sample))
        })
    }

    /// Writes a chunk's content, as far as a device of this shape has it.
    pub(super) fn write(&mut self, shape: Geometry, chunk: u64, content: &[u8]) -> Result<()> {
        let start = shape.sector(chunk);
        let sectors = shape.sectors().saturating_sub(start);
        let bytes = usize::try_from(sectors.saturating_mul(SECTOR_BYTES)).unwrap_or(usize::MAX);
        let content = content.get(..bytes).unwrap_or(content);
        let written = self.medium.write_at(content, start * SECTOR_BYTES);
        written.map_err(explain(&format!("cannot write chunk {chunk}")))
    }

    pub(super) fn flush(&mut self) -> Result<()> {
        self.medium.sync().map_err(explain("cannot flush it"))
    }
}
