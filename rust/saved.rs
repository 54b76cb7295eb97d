// SPDX-License-Identifier: GPL-2.0

//! Saving what is known of a live device to a checkpoint's image, and loading it.
//!
//! Bitmaps and designations are shared by what refers to them; in the image each has a number, and is there
//! once.

#![forbid(unsafe_code)]

use crate::bitmap::Bitmap;
use crate::bitmap::LEAF_BITS;
use crate::chunk::Chunks;
use crate::chunk::Geometry;
use crate::designation::Designation;
use crate::designation::Part;
use crate::disk::Disk;
use crate::errors::EUCLEAN;
use crate::image::ImageReader;
use crate::image::ImageWriter;
use crate::image::IndexEntry;
use crate::image::Item;
use crate::image::Kind;
use crate::image::SnapshotItem;
use crate::image::StateItem;
use crate::image::FLAG_BOOKMARK;
use crate::image::FLAG_INCREMENTAL;
use crate::image::FLAG_KEEP_UNPROTECTED;
use crate::image::FLAG_NARROWED;
use crate::image::MAX_DATA;
use crate::image::POSITION_BITS;
use crate::layout::Layout;
use crate::logbook::Place;
use crate::timeline::Epoch;
use crate::timeline::NewSnapshot;
use crate::timeline::Scope;
use crate::timeline::Snapshot;
use crate::timeline::Timeline;
use kernel::prelude::*;
use kernel::sync::Arc;
use zerocopy::little_endian::U64;
use zerocopy::FromBytes;
use zerocopy::IntoBytes;

/// An epoch's copies, as far as saving and recovery need them.
pub(crate) trait Stored: Sized {
    /// The position of a chunk's content, in blocks.
    fn position(&self, chunk: u64) -> Option<u64>;
    /// Adds a run of contents, none of which is there.
    fn add(&self, run: Chunks, position: u64) -> Result;
    /// Adds a segment, which must not be there.
    fn add_segment(&self, segment: u64) -> Result;
    /// Whether a segment is there.
    fn has_segment(&self, segment: u64) -> bool;
    /// Appends entries from a chunk on to `out`, as far as there is room; the chunk to go on with.
    fn entries(&self, from: u64, out: &mut KVec<(Chunks, u64)>) -> Option<u64>;
    /// Appends the segments to `out`.
    fn segments(&self, out: &mut KVVec<u64>) -> Result;
}

/// What is known of a live device.
pub(crate) struct State<C> {
    /// Where replay begins.
    pub(crate) place: Place,
    /// Control entries of records below this are known.
    pub(crate) next: u64,
    /// The checkpoint generation.
    pub(crate) generation: u64,
    /// The next snapshot's id.
    pub(crate) next_id: u64,
    /// Sectors of the live device.
    pub(crate) sectors: u64,
    /// Epochs, snapshots, bookmarks.
    pub(crate) timeline: Arc<Timeline<C>>,
    /// The designation as it is now.
    pub(crate) designation: Arc<Designation>,
}

/// Words of a leaf.
const LEAF_WORDS: u64 = LEAF_BITS / 64;
/// Most words of a leaf that are saved one by one.
const SPARSE: usize = 32;
/// Index entries of an item.
const ENTRIES: usize = MAX_DATA / core::mem::size_of::<IndexEntry>();
/// Words of an item.
const WORDS: usize = MAX_DATA / 8;

/// Numbers objects by what they are, not by what is in them.
struct Numbers<T>(KVec<Arc<T>>);

impl<T> Numbers<T> {
    fn find(&self, object: &Arc<T>) -> Option<u64> {
        let place = self.0.iter().position(|known| Arc::ptr_eq(known, object));
        // CAST: A length in memory.
        place.map(|place| place as u64)
    }

    fn add(&mut self, object: &Arc<T>) -> Result {
        match self.find(object) {
            Some(_) => Ok(()),
            None => Ok(self.0.push(object.clone(), GFP_KERNEL)?),
        }
    }

    fn number(&self, object: &Arc<T>) -> Result<u64> {
        self.find(object).ok_or(EINVAL)
    }
}

/// Writes everything. May take long; what changes meanwhile may be in it or not.
pub(crate) fn save<C: Stored, D: Disk>(state: &State<C>, out: &mut ImageWriter<'_, D>) -> Result {
    let timeline = &state.timeline;
    let mut bitmaps = Numbers(KVec::new());
    let mut designations = Numbers(KVec::new());
    designations.add(&state.designation)?;
    for epoch in timeline.epochs(0, u64::MAX) {
        bitmaps.add(&epoch.marks)?;
    }
    for snapshot in Iterator::chain(timeline.snapshots().iter(), timeline.bookmarks()) {
        bitmaps.add(&snapshot.released)?;
        designations.add(&snapshot.designation)?;
        if let Scope::Incremental {
            protected, marks, ..
        } = &snapshot.scope
        {
            designations.add(protected)?;
            for bitmap in marks.iter() {
                bitmaps.add(bitmap)?;
            }
        }
    }
    for (number, bitmap) in (0..).zip(bitmaps.0.iter()) {
        save_bitmap(number, bitmap, out)?;
    }
    for (number, designation) in (0..).zip(designations.0.iter()) {
        save_designation(number, designation, out)?;
    }
    for epoch in timeline.epochs(0, u64::MAX) {
        save_epoch(epoch, bitmaps.number(&epoch.marks)?, out)?;
    }
    for snapshot in timeline.snapshots() {
        save_snapshot(snapshot, 0, &bitmaps, &designations, out)?;
    }
    for bookmark in timeline.bookmarks() {
        save_snapshot(bookmark, FLAG_BOOKMARK, &bitmaps, &designations, out)?;
    }
    let (began, before) = timeline.latest_epochs();
    let place = &state.place;
    let item = StateItem {
        sequence: U64::new(place.sequence),
        ring: U64::new(place.ring),
        content: U64::new(place.content),
        content_end: U64::new(place.content_end),
        previous: U64::new(u64::from(place.previous)),
        next: U64::new(state.next),
        generation: U64::new(state.generation),
        next_id: U64::new(state.next_id),
        sectors: U64::new(state.sectors),
        began: U64::new(began),
        before: U64::new(before),
        designation: U64::new(designations.number(&state.designation)?),
    };
    out.item(Kind::State, [0; 3], item.as_bytes())
}

fn save_bitmap<D: Disk>(number: u64, bitmap: &Bitmap, out: &mut ImageWriter<'_, D>) -> Result {
    out.item(Kind::Bitmap, [number, bitmap.len(), 0], &[])?;
    let mut data = KVec::with_capacity(MAX_DATA, GFP_KERNEL)?;
    for leaf in (0..bitmap.leaves()).filter(|leaf| bitmap.has_leaf(*leaf)) {
        data.clear();
        let first = leaf * LEAF_BITS;
        let words = bitmap.len().saturating_sub(first).div_ceil(64);
        let words = (0..words.min(LEAF_WORDS)).map(|at| (at, bitmap.word(first + at * 64)));
        // Bits are set meanwhile: what is set by now is asked for once.
        let mut set = KVec::with_capacity(SPARSE, GFP_KERNEL)?;
        let few = words
            .clone()
            .filter(|(_, word)| *word != 0)
            .all(|pair| set.push_within_capacity(pair).is_ok());
        if few {
            for (at, word) in set.iter() {
                data.extend_from_slice(&at.to_le_bytes(), GFP_KERNEL)?;
                data.extend_from_slice(&word.to_le_bytes(), GFP_KERNEL)?;
            }
        } else {
            for (_, word) in words {
                data.extend_from_slice(&word.to_le_bytes(), GFP_KERNEL)?;
            }
        }
        out.item(Kind::Leaf, [number, leaf, u64::from(few)], &data)?;
    }
    Ok(())
}

fn save_designation<D: Disk>(
    number: u64,
    designation: &Designation,
    out: &mut ImageWriter<'_, D>,
) -> Result {
    let parts = designation.parts();
    let default = u64::from(designation.default_protected());
    // CAST: A length in memory.
    let head = [number, default, parts.len() as u64];
    out.item(Kind::Designation, head, &[])?;
    for (index, part) in (0..).zip(parts) {
        match part {
            Part::Uniform(protected) => {
                out.item(Kind::Stretch, [number, index, u64::from(protected)], &[])?;
            }
            Part::Words(words) => {
                let mut data = KVec::with_capacity(MAX_DATA, GFP_KERNEL)?;
                for word in words {
                    data.extend_from_slice(&word.to_le_bytes(), GFP_KERNEL)?;
                }
                out.item(Kind::Stretch, [number, index, 0], &data)?;
            }
        }
    }
    Ok(())
}

fn save_epoch<C: Stored, D: Disk>(
    epoch: &Epoch<C>,
    marks: u64,
    out: &mut ImageWriter<'_, D>,
) -> Result {
    let has_copies = u64::from(epoch.copies.is_some());
    out.item(Kind::Epoch, [epoch.id, marks, has_copies], &[])?;
    let Some(copies) = &epoch.copies else {
        return Ok(());
    };
    let mut segments = KVVec::new();
    copies.segments(&mut segments)?;
    let mut data = KVec::with_capacity(MAX_DATA, GFP_KERNEL)?;
    for some in segments.chunks(WORDS) {
        data.clear();
        for segment in some {
            data.extend_from_slice(&segment.to_le_bytes(), GFP_KERNEL)?;
        }
        out.item(Kind::Segments, [epoch.id, 0, 0], &data)?;
    }
    let mut entries = KVec::with_capacity(ENTRIES, GFP_KERNEL)?;
    let mut from = Some(0);
    while let Some(chunk) = from {
        entries.clear();
        from = copies.entries(chunk, &mut entries);
        data.clear();
        for (run, position) in entries.iter() {
            let entry = IndexEntry {
                chunk: U64::new(run.start),
                len_position: U64::new(run.len() << POSITION_BITS | position),
            };
            data.extend_from_slice(entry.as_bytes(), GFP_KERNEL)?;
        }
        if !data.is_empty() {
            out.item(Kind::Index, [epoch.id, 0, 0], &data)?;
        }
    }
    Ok(())
}

fn save_snapshot<D: Disk>(
    snapshot: &Arc<Snapshot>,
    flags: u64,
    bitmaps: &Numbers<Bitmap>,
    designations: &Numbers<Designation>,
    out: &mut ImageWriter<'_, D>,
) -> Result {
    let mut item = SnapshotItem {
        flags: U64::new(flags),
        sectors: U64::new(snapshot.sectors),
        designation: U64::new(designations.number(&snapshot.designation)?),
        released: U64::new(bitmaps.number(&snapshot.released)?),
        base: U64::new(0),
        base_designation: U64::new(0),
        base_chunks: U64::new(0),
    };
    let mut set = |flag: u64| item.flags |= U64::new(flag);
    if snapshot.keep_unprotected {
        set(FLAG_KEEP_UNPROTECTED);
    }
    let mut numbers = KVec::new();
    if let Scope::Incremental {
        base,
        protected,
        chunks,
        marks,
    } = &snapshot.scope
    {
        set(FLAG_INCREMENTAL);
        if snapshot.is_narrowed() {
            set(FLAG_NARROWED);
        }
        item.base = U64::new(*base);
        item.base_designation = U64::new(designations.number(protected)?);
        item.base_chunks = U64::new(*chunks);
        for bitmap in marks.iter() {
            let number = bitmaps.number(bitmap)?;
            numbers.extend_from_slice(&number.to_le_bytes(), GFP_KERNEL)?;
        }
    }
    let mut data = KVec::new();
    data.extend_from_slice(item.as_bytes(), GFP_KERNEL)?;
    data.extend_from_slice(&numbers, GFP_KERNEL)?;
    if data.len() > MAX_DATA {
        return Err(EFBIG);
    }
    let words = [snapshot.id, snapshot.time_ns, snapshot.epoch];
    out.item(Kind::Snapshot, words, &data)
}

/// Most objects of a kind that an image may have: more than there can be, few enough for memory.
const MAX_OBJECTS: usize = 4096;

/// An image being loaded. Everything in it is checked: numbers of objects, chunks, positions, segments.
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

/// `EUCLEAN` unless the condition holds.
fn ensure(condition: bool) -> Result {
    match condition {
        true => Ok(()),
        false => Err(EUCLEAN),
    }
}

fn numbered<T>(objects: &KVec<Arc<T>>, number: u64) -> Result<Arc<T>> {
    let index = usize::try_from(number).map_err(|_| EUCLEAN)?;
    objects.get(index).cloned().ok_or(EUCLEAN)
}

/// Loads an image of a device of `shape`, with `new_copies` for the copies of each epoch.
///
/// Errors: `EUCLEAN` when something in it cannot be, those of the disk, `ENOMEM`.
pub(crate) fn load<C: Stored, D: Disk>(
    reader: &mut ImageReader<'_, D>,
    shape: Geometry,
    layout: &Layout,
    new_copies: &dyn Fn() -> Result<Arc<C>>,
) -> Result<State<C>> {
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

impl<C: Stored> Loader<'_, C> {
    fn item(&mut self, item: &Item<'_>) -> Result {
        match item.kind {
            Kind::Bitmap => self.bitmap(item),
            Kind::Leaf => self.leaf(item),
            Kind::Designation => self.begin_designation(item),
            Kind::Stretch => self.stretch(item),
            Kind::Epoch => self.epoch(item),
            Kind::Index => self.index(item),
            Kind::Segments => self.segments(item),
            Kind::Snapshot => self.snapshot(item),
            Kind::State => {
                ensure(self.state.is_none())?;
                self.state = Some(item.prefix()?.0);
                Ok(())
            }
            Kind::End => Err(EUCLEAN),
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
        let merge = |at: u64, word: u64| {
            ensure(at < LEAF_WORDS)?;
            bitmap.merge(leaf * LEAF_BITS + at * 64, word)
        };
        match sparse {
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
            ensure(item.data.len() == MAX_DATA)?;
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

    /// The copies of the epoch that was read last, which must be this one.
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
            let segment = self.layout.segment_of(position);
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
        let list = match has(FLAG_BOOKMARK) {
            true => &mut self.bookmarks,
            false => &mut self.snapshots,
        };
        let rises = list.last().is_none_or(|last| last.id < id);
        ensure(rises && list.len() < MAX_OBJECTS)?;
        let snapshot = Snapshot::restored(new, released, has(FLAG_BOOKMARK))?;
        Ok(list.push(snapshot, GFP_KERNEL)?)
    }

    fn finish(self) -> Result<State<C>> {
        let state = self.state.ok_or(EUCLEAN)?;
        let present = self.epochs.last().ok_or(EUCLEAN)?;
        let all = Iterator::chain(self.snapshots.iter(), self.bookmarks.iter());
        for snapshot in all {
            ensure(snapshot.epoch <= present.id && snapshot.id < state.next_id.get())?;
        }
        ensure(self.designation.is_none())?;
        ensure(state.sectors.get() == self.shape.sectors())?;
        ensure(present.marks.len() == self.shape.chunks())?;
        let content = state.content.get();
        ensure(
            state.content_end.get() <= self.layout.blocks() && content <= state.content_end.get(),
        )?;
        ensure(content == 0 || content >= self.layout.data_start)?;
        let timeline = Timeline::restored(
            self.epochs,
            self.snapshots,
            self.bookmarks,
            state.began.get(),
            state.before.get(),
        );
        Ok(State {
            place: Place {
                sequence: state.sequence.get(),
                ring: state.ring.get(),
                content,
                content_end: state.content_end.get(),
                // CAST: Saved from 32 bits.
                previous: state.previous.get() as u32,
            },
            next: state.next.get(),
            generation: state.generation.get(),
            next_id: state.next_id.get(),
            sectors: state.sectors.get(),
            timeline: Arc::new(timeline, GFP_KERNEL)?,
            designation: numbered(&self.designations, state.designation.get())?,
        })
    }
}
