// SPDX-License-Identifier: GPL-2.0

//! Recovery: from a store to what is known of its live device. Rule 6 of the design.
//!
//! 1. The later valid [superblock](crate::superblock) counts.
//! 2. The checkpoint's image is loaded.
//! 3. The log is *[replayed](crate::replay)* from the image's place, record by record, as long as the next one is whole: of
//!    this store, session and number, with the checksum of the header before it, and its own; contents too.
//! 4. At each record that begins an epoch, and at the end, the epoch so far is *settled*: each chunk with a
//!    copy is marked, and each chunk of a dirty region that no snapshot alive at that place needs, without a
//!    copy.
//! 5. A later record that proves that more was durable once means damage in the middle, not a torn tail (see
//!    [`beyond`](crate::beyond)).
//!
//! Nothing is written. The caller saves what comes out before it lets any write pass.

#![forbid(unsafe_code)]

use crate::beyond::End;
use crate::bitmap::Bitmap;
use crate::checksum::crc32c;
use crate::chunk::Geometry;
use crate::disk::Buffer;
use crate::disk::Disk;
use crate::errors::EUCLEAN;
use crate::image::ImageReader;
use crate::layout::Layout;
use crate::loaded;
use crate::ondisk::Block;
use crate::ondisk::Record;
use crate::ondisk::Superblock;
use crate::ondisk::KIND_CONTENTS;
use crate::ondisk::KIND_ENTRIES;
use crate::ondisk::STATE_BROKEN;
use crate::region;
use crate::replay::Replay;
use crate::saved::State;
use crate::saved::Stored;
use crate::superblock::Trouble;
use crate::superblock::LARGER;
use kernel::prelude::*;
use kernel::sync::Arc;

/// What recovery found out along the way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Replayed {
    /// Records replayed.
    pub(crate) records: u64,
    /// Contents indexed.
    pub(crate) contents: u64,
    /// Chunks marked because their region was dirty.
    pub(crate) guessed: u64,
    /// The log goes on behind a place that cannot be read: snapshots and tracking are lost.
    pub(crate) damaged: bool,
}

/// Recovers what is known for a device of `sectors` sectors, which bounds all maps, whatever the store says. `Ok(None)`: the
/// store has a superblock, but tracking was broken, or the log is damaged in the middle; nothing of it may be relied on.
pub(crate) fn recover<C: Stored, D: Disk>(
    disk: &mut D,
    superblock: &Superblock,
    layout: &Layout,
    sectors: u64,
    new_copies: &dyn Fn() -> Result<Arc<C>>,
) -> Result<(Option<State<C>>, Replayed), Trouble> {
    let mut replayed = Replayed::default();
    if superblock.origin_sectors.get() > sectors {
        return Err(LARGER);
    }
    if superblock.state.get() == STATE_BROKEN || superblock.image_number.get() == 0 {
        return Ok((None, replayed));
    }
    let shape = Geometry::new(
        superblock.origin_sectors.get(),
        u64::from(superblock.chunk_sectors.get()),
    );
    let shape = shape.ok_or(EUCLEAN)?;
    let mut reader = ImageReader::new(
        disk,
        superblock.store,
        layout,
        superblock.image_area.get(),
        superblock.image_number.get(),
        superblock.image_used.get(),
    )?;
    let state = loaded::load(&mut reader, shape, layout, new_copies)?;
    let mut replay = Replay {
        superblock,
        layout,
        shape,
        place: state.place,
        durable: 0,
        regions: Bitmap::new(region::count(shape.chunks()))?,
        sectors,
        new_copies,
        state,
    };
    replay
        .run(disk, &mut replayed)
        .map_err(|error| match error {
            EFBIG => LARGER,
            error => error.into(),
        })?;
    replay.settle(&mut replayed)?;
    let end = End {
        superblock,
        layout,
        place: replay.place,
        durable: replay.durable,
    };
    replayed.damaged = end.goes_on(disk)?;
    let mut state = replay.state;
    state.place = replay.place;
    state.next = state.next.max(state.place.sequence);
    state.sectors = replay.shape.sectors();
    Ok(match replayed.damaged {
        true => (None, replayed),
        false => (Some(state), replayed),
    })
}

impl<C: Stored> Replay<'_, C> {
    /// Replays the log up to the first record that is not whole.
    fn run<D: Disk>(&mut self, disk: &mut D, replayed: &mut Replayed) -> Result {
        let mut buffer = Buffer::new()?;
        let mut content = Buffer::new()?;
        let mut ring = Buffer::new()?;
        let mut in_ring = None;
        loop {
            let at = self.layout.ring_block(self.place.ring);
            // Once, not before each record with contents.
            if in_ring != Some(at) {
                ring.load(disk, at)?;
                in_ring = Some(at);
            }
            if let Some(record) = self.next(ring.block()?, KIND_ENTRIES) {
                self.durable = self.durable.max(record.header.durable.get());
                self.place = self.place.after_entries(record.checksum);
                self.entries(&record, replayed)?;
            } else {
                let at = self.place.content;
                if at >= self.place.content_end {
                    return Ok(());
                }
                let Some(record) = self.next(buffer.load(disk, at)?, KIND_CONTENTS) else {
                    return Ok(());
                };
                if !self.is_whole(disk, &record, &mut content)? {
                    return Ok(());
                }
                self.durable = self.durable.max(record.header.durable.get());
                self.contents(&record, replayed)?;
                let count = u64::from(record.header.count.get());
                let step = self.layout.chunk_blocks;
                self.place = self.place.after_contents(count, step, record.checksum);
            }
            replayed.records += 1;
        }
    }

    /// The record in a block, if it is the next one and of this kind.
    fn next<'b>(&self, block: &'b Block, kind: u32) -> Option<Record<'b>> {
        let record = Record::from_block(block).ok()?;
        let header = &record.header;
        let next = header.store == self.superblock.store
            && header.session.get() == self.superblock.session.get()
            && header.sequence.get() == self.place.sequence
            && header.previous.get() == self.place.previous
            && header.kind.get() == kind
            && (kind == KIND_ENTRIES
                || u64::from(header.count.get()) <= self.place.room(self.layout.chunk_blocks));
        next.then_some(record)
    }

    /// Whether the contents behind a header are those that it names.
    fn is_whole<D: Disk>(
        &self,
        disk: &mut D,
        record: &Record<'_>,
        buffer: &mut Buffer,
    ) -> Result<bool> {
        let mut at = self.place.content + 1;
        for content in record.contents() {
            let mut checksum = 0;
            for _ in 0..self.layout.chunk_blocks {
                checksum = crc32c(checksum, buffer.load(disk, at)?);
                at += 1;
            }
            if checksum != content.checksum.get() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
