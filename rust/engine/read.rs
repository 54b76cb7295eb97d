// SPDX-License-Identifier: GPL-2.0

//! Reading frozen content: rule 5.
//!
//! # A read
//!
//! 1. *Look*: with the timeline of now. In a copy: read the copy. Marked without one: gone.
//! 2. Not marked anywhere since the snapshot: read the origin.
//! 3. *Look again*, when the data has arrived, with the timeline of then. Still not marked, and
//!    every write passes through the engine: no write had been submitted when the data arrived, so
//!    it is the frozen content. Marked meanwhile: from 1. While the live device is suspended
//!    "unmarked" proves nothing, since writes may flow through another table: the reader waits for
//!    its resume, within a bound.
//!
//! Whoever reads a copy keeps a reference to its epoch's copies, so that its space is not reused.
//! What comes from a persistent store counts only with the right checksum; that is one of a whole
//! chunk, so whole chunks are read.

#![forbid(unsafe_code)]

use crate::dm::errors::ENODATA;
use crate::dm::errors::EUCLEAN;
use crate::dm::Bio;
use crate::dm::Direction;
use crate::dm::Io;
use crate::engine::device::Device;
use crate::engine::events::Event;
use crate::engine::events::EventLog;
use crate::engine::ground::Ground;
use crate::engine::phase::Phase;
use crate::engine::phase::Phases;
use crate::engine::session::disk::StoreDisk;
use crate::engine::space::Copies;
use crate::engine::space::Space;
use crate::engine::state::State;
use crate::engine::state::Timeline;
use crate::history::Snapshot;
use crate::history::Whereabouts;
use crate::maps::Chunks;
use crate::maps::Designation;
use crate::maps::SECTOR_BYTES;
use crate::store::Content;
use crate::store::Headers;
use kernel::prelude::*;
use kernel::sync::Arc;

/// Largest piece read at once, in bytes, unless a chunk is larger.
const READ_BYTES: u64 = 64 << 10;

/// The frozen content of a live device. See the [module's documentation](self).
pub struct Frozen {
    device: Arc<Device>,
    state: Arc<State>,
    space: Arc<Space>,
    phases: Arc<Phases>,
    events: Arc<EventLog>,
}

/// Where the frozen content of some chunks is.
pub enum Source {
    /// Not protected: there is none to be had.
    Hole,
    /// Overwritten without a copy.
    Gone,
    /// In the store, this content and those of the chunks behind it.
    Copy(Arc<Copies>, Content),
    /// On the origin, if a second look confirms it.
    Origin,
}

/// What a read of frozen content brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Data.
    Data,
    /// Nothing, as it is not protected.
    Hole,
}

/// A piece of frozen content.
pub struct Piece {
    pub kind: Kind,
    /// Where the data is in the reader's buffer, in bytes.
    pub offset: u32,
    /// How many sectors it is.
    pub sectors: u64,
}

/// What a reader brings along: a buffer that a whole chunk fits into, and the headers that it has
/// seen.
pub struct ReadBuffer {
    pub io: KBox<Io<()>>,
    headers: Headers,
}

impl ReadBuffer {
    /// Makes a buffer for reads of frozen content. May sleep.
    ///
    /// Errors: `ENOMEM`.
    pub fn new(frozen: &Frozen) -> Result<Self> {
        // CAST: At most 1 MiB.
        let bytes = frozen.device.shape().chunk_bytes().max(READ_BYTES) as usize;
        Ok(Self {
            io: Io::new(bytes, ())?,
            headers: Headers::new(frozen.device.store_uuid())?,
        })
    }

    /// Returns true if a bio, which is whole chunks, has brought contents with the right checksums.
    /// The bio is moved on to its end, or behind the first content that is wrong.
    pub fn are_right<S>(&mut self, frozen: &Frozen, first: Content, bio: &mut Bio<S>) -> bool {
        let contents = bio.span().len / frozen.device.shape().chunk_sectors();
        // CAST: At most 1 MiB.
        let bytes = frozen.device.shape().chunk_bytes() as u32;
        self.expect(frozen, &first).is_ok()
            && (0..contents).all(|n| {
                bio.copy_to(&mut self.io, bytes);
                self.is_right(frozen, &first.nth(n, frozen.space.step()), 0)
            })
    }

    /// Returns the checksum that a content should have, and keeps its header.
    fn expect(&mut self, frozen: &Frozen, content: &Content) -> Result<u32> {
        let layout = frozen.space.with_segments(|segments| segments.layout());
        let mut disk = StoreDisk::new(frozen.device.store(), &mut self.io);
        self.headers.find(&mut disk, &layout.ok_or(EIO)?, content)
    }

    /// Returns true if the content at `offset` of the buffer, a whole chunk, has the right
    /// checksum. The header that says so must have been kept by [`ReadBuffer::expect`], for this
    /// content or one before it in the same run.
    fn is_right(&mut self, frozen: &Frozen, content: &Content, offset: u64) -> bool {
        let expected = self.headers.known(frozen.space.step(), content);
        // CAST: Within the buffer; a chunk's size.
        let (offset, bytes) = (
            offset as usize,
            frozen.device.shape().chunk_bytes() as usize,
        );
        expected == Some(self.io.checksum(offset, bytes))
    }
}

impl Frozen {
    /// Makes what reads frozen content.
    pub(super) fn new(ground: &Ground) -> Self {
        Self {
            device: ground.device.clone(),
            state: ground.state.clone(),
            space: ground.space.clone(),
            phases: ground.phases.clone(),
            events: ground.events.clone(),
        }
    }

    /// Returns the designation that decides which chunks of a snapshot can be read.
    pub fn visible(&self, snapshot: &Snapshot) -> Arc<Designation> {
        match snapshot.keep_unprotected {
            true => self.state.designation(),
            false => snapshot.designation.clone(),
        }
    }

    /// Returns where the frozen content of the first chunk of `run` is, and the end of the chunks
    /// for which the answer is the same.
    pub fn look(
        &self,
        timeline: &Timeline,
        snapshot: &Snapshot,
        visible: &Designation,
        run: Chunks,
    ) -> (Source, u64) {
        let (protected, end) = Timeline::chunks_alike(visible, run);
        let run = Chunks { end, ..run };
        if !protected {
            return (Source::Hole, end);
        }
        let (place, end) = timeline.look_at_run(snapshot, run);
        let Whereabouts::Epoch(epoch) = place else {
            return (Source::Origin, end);
        };
        let copy = epoch.copies.as_ref();
        let Some((copies, (position, len))) = copy.and_then(|c| Some((c, c.find(run.start)?)))
        else {
            return (Source::Gone, run.start + 1);
        };
        let content = Content {
            chunk: run.start,
            position,
            epoch: epoch.id,
        };
        let end = end.min(run.start + len);
        (Source::Copy(copies.clone(), content), end)
    }

    /// Looks a second time. Returns true if what was read from the origin is the frozen content.
    ///
    /// Errors: `ENOENT` if the snapshot has been dropped, `EAGAIN` if it cannot be told while the
    /// live device is suspended, `ENODEV` if it cannot be told any longer.
    pub fn still_on_origin(&self, id: u64, run: Chunks) -> Result<bool> {
        let timeline = self.state.timeline();
        let snapshot = timeline.snapshot(id).ok_or(ENOENT)?;
        if timeline.first_marked(snapshot, run).is_some() {
            return Ok(false);
        }
        // Asked after the look: what was not marked by now has not been written by now.
        match self.phases.now() {
            Phase::Active => Ok(true),
            Phase::Bypassed | Phase::Dead => Err(ENODEV),
            Phase::Setup | Phase::Suspended => Err(EAGAIN),
        }
    }

    /// Reads up to `sectors` sectors of a snapshot from `start` on into the reader's buffer. The
    /// range must begin within the snapshot. Process context.
    ///
    /// Errors: `ENOENT`, `ENODATA` (gone), `EUCLEAN` (the store is damaged there), `EAGAIN` (it is
    /// on the origin, and the live device is suspended), `ENODEV`, and those of the devices.
    pub fn read_frozen(
        &self,
        id: u64,
        start: u64,
        sectors: u64,
        buffer: &mut ReadBuffer,
    ) -> Result<Piece> {
        let sectors = sectors.min(u64::from(buffer.io.capacity()) / SECTOR_BYTES);
        let piece = |kind, sectors| Piece {
            kind,
            offset: 0,
            sectors,
        };
        loop {
            let timeline = self.state.timeline();
            let snapshot = timeline.snapshot(id).ok_or(ENOENT)?;
            let end = snapshot.sectors.min(start.saturating_add(sectors));
            if start >= end {
                return Ok(piece(Kind::Data, 0));
            }
            let run = self.device.shape().outward(start, end);
            let visible = self.visible(snapshot);
            let (found, run_end) = self.look(&timeline, snapshot, &visible, run);
            let len = end.min(self.device.shape().sector(run_end)) - start;
            // CAST: At most the I/O's capacity.
            let bytes = (len * SECTOR_BYTES) as u32;
            match found {
                Source::Hole => return Ok(piece(Kind::Hole, len)),
                Source::Gone => return Err(ENODATA),
                Source::Copy(_copies, content) => {
                    let within = start - self.device.shape().sector(run.start);
                    if self.device.is_persistent() {
                        return self.read_contents(content, within, len, buffer);
                    }
                    return self.read_blocks(content, within, len, buffer);
                }
                Source::Origin => {
                    let io = &mut buffer.io;
                    io.run(self.device.origin(), Direction::Read, start, bytes)?;
                    let read = Chunks {
                        end: run_end,
                        ..run
                    };
                    if self.still_on_origin(id, read)? {
                        return Ok(piece(Kind::Data, len));
                    }
                }
            }
        }
    }

    /// Reads contents of a transient store: `len` sectors or fewer, from sector `within` of the
    /// first content on. Whole blocks of the store's device are read.
    fn read_blocks(
        &self,
        first: Content,
        within: u64,
        len: u64,
        buffer: &mut ReadBuffer,
    ) -> Result<Piece> {
        let part_of_block = self.device.store().block_sectors() - 1;
        let start = within & !part_of_block;
        let capacity = u64::from(buffer.io.capacity()) / SECTOR_BYTES;
        let len = len.min(capacity.saturating_sub(within - start));
        let sectors = (within - start + len + part_of_block) & !part_of_block;
        let sector = self.device.store_sector(first.position) + start;
        // CAST: At most the buffer's capacity, which is whole blocks as it is whole chunks.
        let bytes = (sectors * SECTOR_BYTES) as u32;
        let io = &mut buffer.io;
        io.run(self.device.store(), Direction::Read, sector, bytes)?;
        Ok(Piece {
            kind: Kind::Data,
            // CAST: Less than a block.
            offset: ((within - start) * SECTOR_BYTES) as u32,
            sectors: len,
        })
    }

    /// Reads contents of a persistent store and checks them: `len` sectors or fewer, from sector
    /// `within` of the first content on.
    fn read_contents(
        &self,
        first: Content,
        within: u64,
        len: u64,
        buffer: &mut ReadBuffer,
    ) -> Result<Piece> {
        let (chunk_sectors, chunk_bytes) = (
            self.device.shape().chunk_sectors(),
            self.device.shape().chunk_bytes(),
        );
        let fitting = u64::from(buffer.io.capacity()) / chunk_bytes;
        let contents = (within + len).div_ceil(chunk_sectors).min(fitting);
        buffer.expect(self, &first).inspect_err(|error| {
            if *error == EUCLEAN {
                self.tell_damaged(&first);
            }
        })?;
        let sector = self.device.store_sector(first.position);
        // CAST: At most the buffer's capacity.
        let bytes = (contents * chunk_bytes) as u32;
        let io = &mut buffer.io;
        io.run(self.device.store(), Direction::Read, sector, bytes)?;
        let content = |n| first.nth(n, self.space.step());
        let right = (0..contents)
            .take_while(|n| buffer.is_right(self, &content(*n), n * chunk_bytes))
            .count();
        // CAST: A small count.
        let right = right as u64;
        if right == 0 {
            self.tell_damaged(&first);
            return Err(EUCLEAN);
        }
        Ok(Piece {
            kind: Kind::Data,
            // CAST: Within a chunk.
            offset: (within * SECTOR_BYTES) as u32,
            sectors: len.min(right * chunk_sectors - within),
        })
    }

    /// Counts a read of a content that is not what was written to the store. Logs a message and
    /// sends an event, but ever more rarely, so that the kernel log is not flooded.
    fn tell_damaged(&self, content: &Content) {
        let count = self.device.counters().damaged.next() + 1;
        if count.is_power_of_two() {
            pr_err!(
                "{}: the store is damaged: {count} reads of frozen content failed, the last one \
                 that of chunk {}; see preserve check\n",
                self.device.live(),
                content.chunk
            );
            self.events.add(Event::Damaged);
        }
    }
}
