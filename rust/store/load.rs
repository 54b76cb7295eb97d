// SPDX-License-Identifier: GPL-2.0

//! Loading what [`save`](crate::store::save) has saved, with every number, chunk, position and
//! segment checked.

#![forbid(unsafe_code)]

use crate::base::EUCLEAN;
use crate::format::IndexEntry;
use crate::format::ItemKind;
use crate::format::Layout;
use crate::format::SnapshotItem;
use crate::format::StateItem;
use crate::format::FLAG_BOOKMARK;
use crate::format::FLAG_INCREMENTAL;
use crate::format::FLAG_KEEP_UNPROTECTED;
use crate::format::FLAG_NARROWED;
use crate::format::MAX_ITEM_DATA;
use crate::format::MAX_NUMBER;
use crate::format::POSITION_BITS;
use crate::history::Epoch;
use crate::history::NewSnapshot;
use crate::history::Scope;
use crate::history::Snapshot;
use crate::history::Timeline;
use crate::history::MAX_EPOCHS;
use crate::maps::Bitmap;
use crate::maps::Chunks;
use crate::maps::Designation;
use crate::maps::Geometry;
use crate::maps::Part;
use crate::maps::LEAF_BITS;
use crate::store::disk::Disk;
use crate::store::image::ImageReader;
use crate::store::image::Item;
use crate::store::log_end::LogPosition;
use crate::store::save::Checkpoint;
use crate::store::save::EpochCopies;
use crate::store::save::LEAF_WORDS;
use crate::store::save::WORDS;
use kernel::prelude::*;
use kernel::sync::Arc;
use zerocopy::little_endian::U64;
use zerocopy::FromBytes;

/// Most objects of a kind that an image may have: more than there can be, few enough for memory.
const MAX_OBJECTS: usize = 4096;
// Each epoch has a map, each snapshot and bookmark another one; a device that grows has an epoch
// more.
const _: () = assert!(MAX_EPOCHS + 1024 <= MAX_OBJECTS);

/// An image being loaded. Everything in it is checked: numbers of objects, chunks, positions,
/// segments.
struct Loader<'a, C> {
    shape: Geometry,
    layout: &'a Layout,
    new_copies: &'a dyn Fn() -> Result<Arc<C>>,
    bitmaps: KVec<Arc<Bitmap>>,
    designations: KVec<Arc<Designation>>,
    /// The designation whose stretches are being read, and how many are missing.
    designation: Option<(Designation, u64)>,
    epochs: KVec<Epoch<C>>,
    snapshots: KVec<Arc<Snapshot>>,
    bookmarks: KVec<Arc<Snapshot>>,
    state: Option<StateItem>,
}

/// Returns `EUCLEAN` unless the condition holds.
fn ensure(condition: bool) -> Result {
    match condition {
        true => Ok(()),
        false => Err(EUCLEAN),
    }
}

/// Returns true if contents may go to `content..end`: if that is the rest of a segment, or empty.
fn is_in_a_segment(layout: &Layout, content: u64, end: u64) -> bool {
    let last = end.checked_sub(1).and_then(|last| layout.segment_of(last));
    match last.and_then(|segment| layout.segment_start(segment)) {
        Some(start) => (start..=end).contains(&content) && end == start + layout.segment_blocks,
        None => content == 0 && end == 0,
    }
}

/// Returns true if an item has all words of a leaf, with all bits set.
///
/// Errors: `EUCLEAN` for data that is not words.
fn is_full(item: &Item<'_>) -> Result<bool> {
    // CAST: 512.
    let has_all = item.array::<U64>()?.count() == LEAF_WORDS as usize;
    Ok(has_all && item.array::<U64>()?.all(|word| word.get() == u64::MAX))
}

fn numbered<T>(objects: &KVec<Arc<T>>, number: u64) -> Result<Arc<T>> {
    let index = usize::try_from(number).map_err(|_| EUCLEAN)?;
    objects.get(index).cloned().ok_or(EUCLEAN)
}

/// Loads an image of a device of `shape`. `new_copies` makes the copies of each epoch.
///
/// Errors: `EUCLEAN` if the image is not valid, those of reading the disk and of `new_copies`,
/// `ENOMEM`.
pub fn load<C: EpochCopies, D: Disk>(
    reader: &mut ImageReader<'_, D>,
    shape: Geometry,
    layout: &Layout,
    new_copies: &dyn Fn() -> Result<Arc<C>>,
) -> Result<Checkpoint<C>> {
    let mut loader = Loader {
        shape,
        layout,
        new_copies,
        bitmaps: KVec::new(),
        designations: KVec::new(),
        designation: None,
        epochs: KVec::new(),
        snapshots: KVec::new(),
        bookmarks: KVec::new(),
        state: None,
    };
    while let Some(item) = reader.next()? {
        loader.item(&item)?;
    }
    loader.finish()
}

impl<C: EpochCopies> Loader<'_, C> {
    fn item(&mut self, item: &Item<'_>) -> Result {
        match item.kind {
            ItemKind::Bitmap => self.bitmap(item),
            ItemKind::Leaf => self.leaf(item),
            ItemKind::Designation => self.begin_designation(item),
            ItemKind::Stretch => self.stretch(item),
            ItemKind::Epoch => self.epoch(item),
            ItemKind::Index => self.index(item),
            ItemKind::Segments => self.segments(item),
            ItemKind::Snapshot => self.snapshot(item),
            ItemKind::State => {
                ensure(self.state.is_none())?;
                self.state = Some(item.prefix()?.0);
                Ok(())
            }
            ItemKind::End => Err(EUCLEAN),
        }
    }

    fn bitmap(&mut self, item: &Item<'_>) -> Result {
        let [number, bits, _] = item.words;
        let next = self.bitmaps.len();
        ensure(number == next as u64 && next < MAX_OBJECTS && bits <= self.shape.chunks())?;
        let bitmap = Arc::new(Bitmap::new(bits)?, GFP_KERNEL)?;
        Ok(self.bitmaps.push(bitmap, GFP_KERNEL)?)
    }

    fn leaf(&mut self, item: &Item<'_>) -> Result {
        let [number, leaf, sparse] = item.words;
        let bitmap = numbered(&self.bitmaps, number)?;
        ensure(leaf < bitmap.leaves() && sparse <= 1)?;
        let start = leaf * LEAF_BITS;
        let merge = |at: u64, word: u64| {
            ensure(at < LEAF_WORDS)?;
            bitmap.merge(start + at * 64, word)
        };
        let end = start + LEAF_BITS;
        match sparse {
            // That takes no memory.
            0 if is_full(item)? => bitmap.set_run(Chunks { start, end }),
            0 => item
                .array::<U64>()?
                .zip(0..)
                .try_for_each(|(word, at)| merge(at, word.get())),
            _ => item
                .array::<[U64; 2]>()?
                .try_for_each(|[at, word]| merge(at.get(), word.get())),
        }
    }

    fn begin_designation(&mut self, item: &Item<'_>) -> Result {
        let [number, default, parts] = item.words;
        let next = self.designations.len();
        let most = self.shape.chunks().div_ceil(LEAF_BITS);
        ensure(self.designation.is_none() && number == next as u64 && next < MAX_OBJECTS)?;
        ensure(default <= 1 && parts <= most)?;
        self.designation = Some((Designation::new(default == 1), parts));
        self.end_designation()
    }

    fn end_designation(&mut self) -> Result {
        match self.designation.take() {
            Some((designation, 0)) => {
                let designation = Arc::new(designation, GFP_KERNEL)?;
                Ok(self.designations.push(designation, GFP_KERNEL)?)
            }
            unfinished => {
                self.designation = unfinished;
                Ok(())
            }
        }
    }

    fn stretch(&mut self, item: &Item<'_>) -> Result {
        let number = self.designations.len();
        let (designation, missing) = self.designation.as_mut().ok_or(EUCLEAN)?;
        ensure(item.words[0] == number as u64)?;
        if item.data.is_empty() {
            ensure(item.words[2] <= 1)?;
            designation.push_part(Part::Uniform(item.words[2] == 1))?;
        } else {
            ensure(item.data.len() == MAX_ITEM_DATA)?;
            let mut words = KVec::with_capacity(WORDS, GFP_KERNEL)?;
            for word in item.array::<U64>()? {
                words.push(word.get(), GFP_KERNEL)?;
            }
            designation.push_part(Part::Words(&words))?;
        }
        *missing -= 1;
        self.end_designation()
    }

    fn epoch(&mut self, item: &Item<'_>) -> Result {
        let [id, marks, has_copies] = item.words;
        let rises = self.epochs.last().is_none_or(|last| last.id < id);
        ensure(rises && has_copies <= 1 && self.epochs.len() < MAX_OBJECTS)?;
        let copies = match has_copies {
            0 => None,
            _ => Some((self.new_copies)()?),
        };
        let marks = numbered(&self.bitmaps, marks)?;
        let epoch = Epoch { id, marks, copies };
        Ok(self.epochs.push(epoch, GFP_KERNEL)?)
    }

    /// Returns the copies of the epoch that was read last. `EUCLEAN` if that is not `epoch`.
    fn copies(&self, epoch: u64) -> Result<&C> {
        let last = self.epochs.last().filter(|last| last.id == epoch);
        last.and_then(|last| last.copies.as_deref()).ok_or(EUCLEAN)
    }

    fn index(&mut self, item: &Item<'_>) -> Result {
        let copies = self.copies(item.words[0])?;
        for entry in item.array::<IndexEntry>()? {
            let start = entry.chunk.get();
            let len = entry.len_position.get() >> POSITION_BITS;
            let position = entry.len_position.get() & ((1 << POSITION_BITS) - 1);
            let end = start.checked_add(len).ok_or(EUCLEAN)?;
            ensure(len > 0 && end <= self.shape.chunks())?;
            let last = position + len * self.layout.chunk_blocks - 1;
            // All in one segment, behind a header.
            let header = position.checked_sub(1).ok_or(EUCLEAN)?;
            let segment = self.layout.segment_of(header);
            ensure(segment.is_some() && segment == self.layout.segment_of(last))?;
            for chunk in start..end {
                ensure(copies.position(chunk).is_none())?;
            }
            copies.add(Chunks { start, end }, position)?;
        }
        Ok(())
    }

    fn segments(&mut self, item: &Item<'_>) -> Result {
        let copies = self.copies(item.words[0])?;
        for segment in item.array::<U64>()? {
            ensure(segment.get() < self.layout.segments)?;
            copies.add_segment(segment.get())?;
        }
        Ok(())
    }

    fn snapshot(&mut self, item: &Item<'_>) -> Result {
        let [id, time_ns, epoch] = item.words;
        let (saved, numbers) = item.prefix::<SnapshotItem>()?;
        let has = |flag: u64| saved.flags.get() & flag != 0;
        let scope = match has(FLAG_INCREMENTAL) {
            false => Scope::Full,
            true => {
                let mut marks = KVec::new();
                for number in numbers.chunks(8) {
                    let number = U64::read_from_bytes(number).map_err(|_| EUCLEAN)?;
                    marks.push(numbered(&self.bitmaps, number.get())?, GFP_KERNEL)?;
                }
                Scope::Incremental {
                    base: saved.base.get(),
                    protected: numbered(&self.designations, saved.base_designation.get())?,
                    chunks: saved.base_chunks.get(),
                    marks,
                }
            }
        };
        let shape = self
            .shape
            .with_sectors(saved.sectors.get())
            .ok_or(EUCLEAN)?;
        let released = numbered(&self.bitmaps, saved.released.get())?;
        ensure(released.len() == shape.chunks() && shape.sectors() <= self.shape.sectors())?;
        let new = NewSnapshot {
            id,
            time_ns,
            epoch,
            designation: numbered(&self.designations, saved.designation.get())?,
            scope,
            keep_unprotected: has(FLAG_KEEP_UNPROTECTED),
            sectors: shape.sectors(),
            chunks: shape.chunks(),
            narrowed: has(FLAG_NARROWED),
        };
        let (list, other) = match has(FLAG_BOOKMARK) {
            true => (&mut self.bookmarks, &self.snapshots),
            false => (&mut self.snapshots, &self.bookmarks),
        };
        let rises = list.last().is_none_or(|last| last.id < id);
        ensure(rises && list.len() < MAX_OBJECTS)?;
        ensure(other.binary_search_by_key(&id, |other| other.id).is_err())?;
        let snapshot = Snapshot::restored(new, released, has(FLAG_BOOKMARK))?;
        Ok(list.push(snapshot, GFP_KERNEL)?)
    }

    fn finish(self) -> Result<Checkpoint<C>> {
        let state = self.state.ok_or(EUCLEAN)?;
        let present = self.epochs.last().ok_or(EUCLEAN)?;
        let rising = [
            state.sequence,
            state.ring,
            state.next,
            state.period,
            state.next_id,
        ];
        ensure(rising.iter().all(|number| number.get() < MAX_NUMBER))?;
        ensure(present.id < MAX_NUMBER && state.next_id.get() >= 1)?;
        let all = Iterator::chain(self.snapshots.iter(), self.bookmarks.iter());
        for snapshot in all {
            ensure(snapshot.epoch <= present.id && snapshot.id < state.next_id.get())?;
        }
        // What a snapshot needs has to have somewhere to go.
        let oldest = self.snapshots.iter().map(|snapshot| snapshot.epoch).min();
        let mut needed = self
            .epochs
            .iter()
            .filter(|epoch| oldest.is_some_and(|oldest| epoch.id >= oldest));
        ensure(needed.all(|epoch| epoch.copies.is_some()))?;
        ensure(self.designation.is_none())?;
        ensure(state.sectors.get() == self.shape.sectors())?;
        ensure(present.marks.len() == self.shape.chunks())?;
        let (content, content_end) = (state.content.get(), state.content_end.get());
        ensure(is_in_a_segment(self.layout, content, content_end))?;
        let timeline = Timeline::restored(
            self.epochs,
            self.snapshots,
            self.bookmarks,
            state.began.get(),
            state.before.get(),
        );
        Ok(Checkpoint {
            place: LogPosition {
                sequence: state.sequence.get(),
                ring: state.ring.get(),
                content,
                content_end,
                // CAST: Saved from 32 bits.
                previous: state.previous.get() as u32,
            },
            next: state.next.get(),
            period: state.period.get(),
            next_id: state.next_id.get(),
            sectors: state.sectors.get(),
            timeline: Arc::new(timeline, GFP_KERNEL)?,
            designation: numbered(&self.designations, state.designation.get())?,
        })
    }
}
