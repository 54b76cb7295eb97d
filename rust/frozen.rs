// SPDX-License-Identifier: GPL-2.0

//! Reading frozen content: rule 5.
//!
//! # A read
//!
//! 1. *Look*: with the timeline of now. In a copy: read the copy. Marked without one: gone.
//! 2. Not marked anywhere since the snapshot: read the origin.
//! 3. *Look again*, when the data has arrived, with the timeline of then. Still not marked, and every
//!    write passes through the engine: no write had been submitted when the data arrived, so it is the
//!    frozen content. Marked meanwhile: from 1.
//!
//! Whoever reads a copy keeps a reference to its epoch's copies, so that its space is not reused.

#![forbid(unsafe_code)]

use crate::chunk::Chunks;
use crate::copies::Copies;
use crate::designation::Designation;
use crate::dm::Direction;
use crate::dm::Io;
use crate::engine::Engine;
use crate::engine::Phase;
use crate::engine::Timeline;
use crate::errors::ENODATA;
use crate::timeline::Place;
use crate::timeline::Snapshot;
use kernel::prelude::*;
use kernel::sync::Arc;

/// Where the frozen content of some chunks is.
pub(crate) enum Found {
    /// Not protected: there is none to be had.
    Hole,
    /// Overwritten without a copy.
    Gone,
    /// In the store, from this position (in chunks) on.
    Copy(Arc<Copies>, u64),
    /// On the origin, if a second look confirms it.
    Origin,
}

/// What a read of frozen content brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Data.
    Data,
    /// Nothing, as it is not protected.
    Hole,
}

impl Engine {
    /// The designation that decides what can be read of a snapshot.
    pub(crate) fn visible(&self, snapshot: &Snapshot) -> Arc<Designation> {
        match snapshot.keep_unprotected {
            true => self.designation(),
            false => snapshot.designation.clone(),
        }
    }

    /// A look: where the content of the first chunk of `run` is, and up to which chunk that goes on.
    pub(crate) fn look(
        &self,
        timeline: &Timeline,
        snapshot: &Snapshot,
        visible: &Designation,
        run: Chunks,
    ) -> (Found, u64) {
        let (protected, end) = Timeline::chunks_alike(visible, run);
        let run = Chunks { end, ..run };
        if !protected {
            return (Found::Hole, end);
        }
        let (place, end) = timeline.look_at_run(snapshot, run);
        let Place::Epoch(epoch) = place else {
            return (Found::Origin, end);
        };
        let copy = epoch.copies.as_ref();
        let Some((copies, (position, len))) = copy.and_then(|c| Some((c, c.find(run.start)?)))
        else {
            return (Found::Gone, run.start + 1);
        };
        let end = end.min(run.start + len);
        (Found::Copy(copies.clone(), position), end)
    }

    /// The second look: whether what was read from the origin is the frozen content. `ENOENT` when the
    /// snapshot has been dropped, `ENODEV` when that cannot be told any longer; waits while the live
    /// device is suspended.
    pub(crate) fn still_on_origin(&self, id: u64, run: Chunks) -> Result<bool> {
        loop {
            let timeline = self.timeline();
            let snapshot = timeline.snapshot(id).ok_or(ENOENT)?;
            if timeline.first_marked(snapshot, run).is_some() {
                return Ok(false);
            }
            // Not kept while waiting: it holds space in the store.
            drop(timeline);
            // Asked after the look: what was not marked by now has not been written by now.
            if self.phase() == Phase::Active {
                return Ok(true);
            }
            self.wait_until_active()?;
        }
    }

    /// Reads up to `sectors` sectors of a snapshot from `start` on into `io`: what it is, and how many.
    /// The range must begin within the snapshot. Process context.
    ///
    /// Errors: `ENOENT`, `ENODATA` (gone), `ENODEV`, and those of the devices.
    pub(crate) fn read_frozen<D>(
        &self,
        id: u64,
        start: u64,
        sectors: u64,
        io: &mut Io<D>,
    ) -> Result<(Kind, u64)> {
        let sector_bytes = crate::chunk::SECTOR_BYTES;
        let sectors = sectors.min(u64::from(io.capacity()) / sector_bytes);
        loop {
            let timeline = self.timeline();
            let snapshot = timeline.snapshot(id).ok_or(ENOENT)?;
            let end = snapshot.sectors.min(start.saturating_add(sectors));
            if start >= end {
                return Ok((Kind::Data, 0));
            }
            let run = self.shape.outward(start, end);
            let visible = self.visible(snapshot);
            let (found, run_end) = self.look(&timeline, snapshot, &visible, run);
            let len = end.min(self.shape.sector(run_end)) - start;
            // CAST: At most the I/O's capacity.
            let bytes = (len * sector_bytes) as u32;
            match found {
                Found::Hole => return Ok((Kind::Hole, len)),
                Found::Gone => return Err(ENODATA),
                Found::Copy(_copies, position) => {
                    let within = start - self.shape.sector(run.start);
                    let sector = self.store_sector(position) + within;
                    io.run(&self.store_device, Direction::Read, sector, bytes)?;
                    return Ok((Kind::Data, len));
                }
                Found::Origin => {
                    io.run(&self.origin, Direction::Read, start, bytes)?;
                    let read = Chunks {
                        end: run_end,
                        ..run
                    };
                    if self.still_on_origin(id, read)? {
                        return Ok((Kind::Data, len));
                    }
                }
            }
        }
    }
}
