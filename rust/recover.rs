// SPDX-License-Identifier: GPL-2.0

//! Recovery: from a store to what is known of its live device. Rule 6 of the design.
//!
//! 1. The later valid superblock counts. A store of zeroes is blank; anything else is somebody else's.
//! 2. The checkpoint's image is loaded.
//! 3. The log is *replayed* from the image's place, record by record, as long as the next one is whole: of
//!    this store, session and number, with the checksum of the header before it, and its own; contents too.
//! 4. At each record that begins an epoch, and at the end, the epoch so far is *settled*: each chunk with a
//!    copy is marked, and each chunk of a dirty region that no snapshot alive at that place needs, without a
//!    copy.
//! 5. A later record that proves that more was durable once means damage in the middle, not a torn tail (see
//!    [`beyond`](crate::beyond)).
//!
//! What each kind of record does, and why:
//!
//! - Control entries (snapshots, drops, releases, the designation) of records below the image's `next` are in the image.
//! - A copy or gone record marks its chunks if its epoch is the present one at its place, whoever wants them still: the
//!   writes may have passed. A copy is indexed if a snapshot alive there wants it. Whether the image has
//!   a mark for it is not asked, since marks in the image may come from after its place.
//! - A region counts for its epoch, and for checkpoint generations from the image's on.
//!
//! Nothing is written. The caller saves what comes out before it lets any write pass.

#![forbid(unsafe_code)]

use crate::beyond::End;
use crate::bitmap::Bitmap;
use crate::checksum::crc32c;
use crate::chunk::Chunks;
use crate::chunk::Geometry;
use crate::designation::Designation;
use crate::disk::Buffer;
use crate::disk::Disk;
use crate::entry::Entry;
use crate::errors::EUCLEAN;
use crate::image::ImageReader;
use crate::layout::Layout;
use crate::loaded;
use crate::logbook::Place;
use crate::ondisk::Block;
use crate::ondisk::Invalid;
use crate::ondisk::Record;
use crate::ondisk::Superblock;
use crate::ondisk::KIND_CONTENTS;
use crate::ondisk::KIND_ENTRIES;
use crate::ondisk::MAX_NUMBER;
use crate::ondisk::STATE_BROKEN;
use crate::ondisk::SUPERBLOCKS;
use crate::region;
use crate::saved::State;
use crate::saved::Stored;
use crate::timeline::Change;
use crate::timeline::Epoch;
use crate::timeline::NewSnapshot;
use crate::timeline::Scope;
use crate::timeline::Snapshot;
use kernel::prelude::*;
use kernel::sync::Arc;

/// Why a store cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// What is wrong with it, and what to do.
    Because(&'static CStr),
    /// An error of the device or the system.
    Error(Error),
}

use core::ffi::CStr;

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        match error {
            EUCLEAN => Self::Because(c"The store's checkpoint is damaged: see preserve check"),
            error => Self::Error(error),
        }
    }
}

impl From<kernel::alloc::AllocError> for Trouble {
    fn from(error: kernel::alloc::AllocError) -> Self {
        Self::Error(error.into())
    }
}

/// The device has shrunk, or is another one.
const LARGER: Trouble = Trouble::Because(
    c"The store belongs to a larger device: if its snapshots may go, wipe its first 8 KiB",
);

/// What a store is.
pub(crate) enum Found {
    /// Nothing yet.
    Blank,
    /// Ours.
    Store(Superblock),
}

/// Reads the superblocks.
pub(crate) fn superblock(disk: &mut impl Disk) -> Result<Found, Trouble> {
    let mut buffer = Buffer::new()?;
    let mut best: Option<Superblock> = None;
    let mut worst = Invalid::Blank;
    let mut unreadable = None;
    let mut damaged = None;
    for at in SUPERBLOCKS {
        let block = match buffer.load(disk, at) {
            Ok(block) => block,
            Err(error) => {
                unreadable = Some(error);
                damaged = Some(at);
                continue;
            }
        };
        match Superblock::from_block(block) {
            Ok(found) => {
                if best.is_none_or(|best| best.sequence.get() < found.sequence.get()) {
                    best = Some(found);
                }
            }
            Err(why) => {
                worst = worst.max(why);
                damaged = Some(at);
            }
        }
    }
    if let Some(mut best) = best {
        // A superblock being written when the power goes leaves the other one.
        if let Some(at) = damaged {
            best.replace_first(at);
        }
        return Ok(Found::Store(best));
    }
    // Not blank, as far as is known: formatting it must not be suggested.
    unreadable.map_or(Ok(()), Err)?;
    match worst {
        Invalid::Blank => Ok(Found::Blank),
        Invalid::Foreign => Err(Trouble::Because(
            c"The store holds something else: if it may go, wipe its first 8 KiB",
        )),
        Invalid::Damaged => Err(Trouble::Because(
            c"Both superblocks of the store are damaged: see preserve check",
        )),
        Invalid::Unsupported => Err(Trouble::Because(
            c"The store was made by a later version of dm-preserve",
        )),
    }
}

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

/// A log being replayed.
struct Replay<'a, C> {
    superblock: &'a Superblock,
    layout: &'a Layout,
    shape: Geometry,
    state: State<C>,
    /// Behind the last whole record.
    place: Place,
    /// Records below this are known to have been durable.
    durable: u64,
    /// Dirty regions of the present epoch.
    regions: Bitmap,
    /// The device's length, which none in the log may exceed.
    sectors: u64,
    new_copies: &'a dyn Fn() -> Result<Arc<C>>,
}

impl<C: Stored> Replay<'_, C> {
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

    fn present(&self) -> Result<&Epoch<C>> {
        self.state.timeline.present().ok_or(EUCLEAN)
    }

    fn contents(&mut self, record: &Record<'_>, replayed: &mut Replayed) -> Result {
        let present = self.present()?;
        if record.header.epoch.get() != present.id {
            return Ok(());
        }
        let mut position = self.place.content + 1;
        for content in record.contents() {
            let chunk = content.chunk.get();
            if chunk >= self.shape.chunks() {
                return Err(EUCLEAN);
            }
            let copies = present.copies.as_ref();
            let copies = copies.filter(|copies| copies.position(chunk).is_none());
            if let Some(copies) = copies.filter(|_| self.state.timeline.owes(chunk)) {
                let end = chunk + 1;
                copies.add(Chunks { start: chunk, end }, position)?;
                replayed.contents += 1;
            }
            // Also if nobody wants the content any longer: the write that it made way for may have passed,
            // and bookmarks ask.
            self.mark(chunk)?;
            position += self.layout.chunk_blocks;
        }
        Ok(())
    }

    /// Marks a chunk in the present epoch. Says whether it was not marked before.
    fn mark(&self, chunk: u64) -> Result<bool> {
        if chunk >= self.shape.chunks() {
            return Err(EUCLEAN);
        }
        let marks = &self.present()?.marks;
        let end = chunk + 1;
        marks.prepare(Chunks { start: chunk, end })?;
        Ok(marks.set(chunk) == Some(false))
    }

    /// A record's entries take effect together.
    fn entries(&mut self, record: &Record<'_>, replayed: &mut Replayed) -> Result {
        let known = record.header.sequence.get() < self.state.next;
        let mut change = Change::NONE;
        let mut snapshot = None;
        for raw in record.raw_entries() {
            match Entry::from_raw(raw).ok_or(EUCLEAN)? {
                Entry::Segment { segment, epoch } => self.segment(segment, epoch)?,
                Entry::Region {
                    region,
                    epoch,
                    generation,
                } => {
                    if epoch == self.present()?.id && generation >= self.state.generation {
                        self.regions
                            .merge(region - region % 64, 1 << (region % 64))?;
                    }
                }
                Entry::Gone { chunk, epoch } => {
                    if epoch == self.present()?.id {
                        self.mark(chunk)?;
                    }
                }
                _ if known => (),
                Entry::Epoch { epoch, sectors } => {
                    self.settle(replayed)?;
                    change.begin = Some(self.begin(epoch, sectors)?);
                }
                entry @ Entry::Snapshot { .. } => snapshot = Some(entry),
                Entry::DropUpTo(id) => change.drop_up_to = id,
                Entry::Drop(id) => change.drop = Some(id),
                Entry::Forget(id) => change.forget = Some(id),
                Entry::Release(id, run) => self.release(id, run)?,
                Entry::Protect(run, protected) => self.protect(run, protected)?,
                Entry::Narrow(id) => {
                    if let Some(snapshot) = self.state.timeline.snapshot(id) {
                        snapshot.narrow();
                    }
                }
            }
        }
        if let Some(entry) = snapshot {
            let epoch = change.begin.as_ref().ok_or(EUCLEAN)?.id;
            change.snapshot = Some(self.snapshot(entry, epoch)?);
        }
        self.apply(change)
    }

    fn segment(&mut self, segment: u64, epoch: u64) -> Result {
        let start = self.layout.segment_start(segment).ok_or(EUCLEAN)?;
        self.place.content = start;
        self.place.content_end = start + self.layout.segment_blocks;
        let present = self.present()?;
        let Some(copies) = present.copies.as_ref().filter(|_| present.id == epoch) else {
            // The epoch has ended, or nobody needs its copies; nor does anybody read them.
            return Ok(());
        };
        // The image has it already if it was opened between the cut and the image.
        match copies.has_segment(segment) {
            true => Ok(()),
            false => copies.add_segment(segment),
        }
    }

    fn begin(&mut self, epoch: u64, sectors: u64) -> Result<Epoch<C>> {
        if sectors > self.sectors {
            return Err(EFBIG);
        }
        let shape = self.shape.with_sectors(sectors).ok_or(EUCLEAN)?;
        if epoch <= self.present()?.id
            || epoch >= MAX_NUMBER
            || shape.sectors() < self.shape.sectors()
        {
            return Err(EUCLEAN);
        }
        self.shape = shape;
        self.regions = Bitmap::new(region::count(shape.chunks()))?;
        Ok(Epoch {
            id: epoch,
            marks: Arc::new(Bitmap::new(shape.chunks())?, GFP_KERNEL)?,
            copies: Some((self.new_copies)()?),
        })
    }

    fn snapshot(&mut self, entry: Entry, epoch: u64) -> Result<Arc<Snapshot>> {
        let Entry::Snapshot {
            id,
            time_ns,
            base,
            keep_unprotected,
            reset,
        } = entry
        else {
            return Err(EUCLEAN);
        };
        let scope = match base {
            0 => Scope::Full,
            base => self
                .state
                .timeline
                .scope_since(base, epoch)
                .map_err(|error| match error {
                    ENOENT => EUCLEAN,
                    error => error,
                })?,
        };
        let snapshot = Snapshot::new(NewSnapshot {
            id,
            time_ns,
            epoch,
            designation: self.state.designation.clone(),
            scope,
            keep_unprotected,
            sectors: self.shape.sectors(),
            chunks: self.shape.chunks(),
            narrowed: false,
        })?;
        if let Some(default) = reset {
            self.state.designation = Arc::new(Designation::new(default), GFP_KERNEL)?;
        }
        if id < self.state.next_id || id >= MAX_NUMBER {
            return Err(EUCLEAN);
        }
        self.state.next_id = id + 1;
        Ok(snapshot)
    }

    fn apply(&mut self, change: Change<C>) -> Result {
        if change.is_none() {
            return Ok(());
        }
        for snapshot in self.state.timeline.snapshots() {
            if snapshot.id <= change.drop_up_to || change.drop == Some(snapshot.id) {
                snapshot.set_dropped();
            }
        }
        let new = self.state.timeline.changed(change)?;
        self.state.timeline = Arc::new(new, GFP_KERNEL)?;
        Ok(())
    }

    fn release(&mut self, id: u64, run: Chunks) -> Result {
        let Some(snapshot) = self.state.timeline.snapshot(id) else {
            return Ok(());
        };
        if run.end > snapshot.released.len() {
            return Err(EUCLEAN);
        }
        snapshot.released.set_run(run)
    }

    fn protect(&mut self, run: Chunks, protected: bool) -> Result {
        if run.end > self.shape.chunks() {
            return Err(EUCLEAN);
        }
        let edited = self.state.designation.edited(&[run], protected)?;
        self.state.designation = Arc::new(edited, GFP_KERNEL)?;
        Ok(())
    }

    /// Marks what may have been written in the present epoch.
    fn settle(&mut self, replayed: &mut Replayed) -> Result {
        let timeline = &self.state.timeline;
        let present = self.present()?;
        if let Some(copies) = &present.copies {
            for_each_entry(&**copies, |run| {
                for chunk in run.start..run.end {
                    self.mark(chunk)?;
                }
                Ok(())
            })?;
        }
        let mut from = 0;
        while let Some(dirty) = self.regions.find(
            Chunks {
                start: from,
                end: self.regions.len(),
            },
            true,
        ) {
            let run = region::chunks(dirty, self.shape.chunks());
            for chunk in run.start..run.end {
                if !present.marks.get(chunk) && !timeline.needs(chunk) && self.mark(chunk)? {
                    replayed.guessed += 1;
                }
            }
            from = dirty + 1;
        }
        Ok(())
    }
}

/// Calls `f` with every run of an epoch's copies.
pub(crate) fn for_each_entry<C: Stored>(copies: &C, mut f: impl FnMut(Chunks) -> Result) -> Result {
    let mut entries = KVec::with_capacity(64, GFP_KERNEL)?;
    let mut from = Some(0);
    while let Some(chunk) = from {
        entries.clear();
        from = copies.entries(chunk, &mut entries);
        for (run, _) in entries.iter() {
            f(*run)?;
        }
    }
    Ok(())
}
