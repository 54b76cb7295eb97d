// SPDX-License-Identifier: GPL-2.0

//! Saving what is known of a live device to a checkpoint's image; [`load`](crate::store::load) is
//! the way back.
//!
//! Bitmaps and designations are shared by what refers to them; in the image each has a number, and
//! is there once.

#![forbid(unsafe_code)]

use crate::format::IndexEntry;
use crate::format::ItemKind;
use crate::format::SnapshotItem;
use crate::format::StateItem;
use crate::format::FLAG_BOOKMARK;
use crate::format::FLAG_INCREMENTAL;
use crate::format::FLAG_KEEP_UNPROTECTED;
use crate::format::FLAG_NARROWED;
use crate::format::MAX_ITEM_DATA;
use crate::format::POSITION_BITS;
use crate::history::Epoch;
use crate::history::Scope;
use crate::history::Snapshot;
use crate::history::Timeline;
use crate::history::MAX_SCOPE;
use crate::maps::Bitmap;
use crate::maps::Chunks;
use crate::maps::Designation;
use crate::maps::Part;
use crate::maps::LEAF_BITS;
use crate::store::disk::Disk;
use crate::store::image::ImageWriter;
use crate::store::log_end::LogPosition;
use kernel::prelude::*;
use kernel::sync::Arc;
use zerocopy::little_endian::U64;
use zerocopy::IntoBytes;

/// An epoch's copies, as far as saving and recovery need them.
pub trait EpochCopies: Sized {
    /// Returns the position of a chunk's content, in blocks.
    fn position(&self, chunk: u64) -> Option<u64>;
    /// Adds a run of contents, none of which is there.
    ///
    /// Errors: `EFBIG` for a position that is too large, `ENOMEM`.
    fn add(&self, run: Chunks, position: u64) -> Result;
    /// Adds a segment, which must not be there.
    ///
    /// Errors: `ENOMEM`.
    fn add_segment(&self, segment: u64) -> Result;
    /// Returns true if a segment is there.
    fn has_segment(&self, segment: u64) -> bool;
    /// Appends the entries of chunks from `from` on to `out`, until it is full. Returns the chunk
    /// to go on with, or `None` at the end.
    fn entries(&self, from: u64, out: &mut KVec<(Chunks, u64)>) -> Option<u64>;
    /// Appends the segments to `out`.
    ///
    /// Errors: `ENOMEM`.
    fn segments(&self, out: &mut KVVec<u64>) -> Result;
}

/// What is known of a live device.
pub struct Checkpoint<C> {
    /// Where replay begins.
    pub place: LogPosition,
    /// Control entries of records below this are known.
    pub next: u64,
    /// The number of the period that begins with it.
    pub period: u64,
    /// The next snapshot's id.
    pub next_id: u64,
    /// Sectors of the live device.
    pub sectors: u64,
    /// Epochs, snapshots, bookmarks.
    pub timeline: Arc<Timeline<C>>,
    /// The designation as it is now.
    pub designation: Arc<Designation>,
}

/// Words of a leaf.
pub const LEAF_WORDS: u64 = LEAF_BITS / 64;
/// Most words of a leaf that are saved one by one.
const SPARSE: usize = 32;
/// Index entries of an item.
const ENTRIES: usize = MAX_ITEM_DATA / core::mem::size_of::<IndexEntry>();
/// Words of an item.
pub const WORDS: usize = MAX_ITEM_DATA / 8;

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

/// Writes a checkpoint to an image. May take long; changes made meanwhile may be in the image or
/// not.
///
/// Errors: `ENOSPC` if it does not fit into the area, those of writing the disk, `ENOMEM`.
pub fn save<C: EpochCopies, D: Disk>(
    state: &Checkpoint<C>,
    out: &mut ImageWriter<'_, D>,
) -> Result {
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
        period: U64::new(state.period),
        next_id: U64::new(state.next_id),
        sectors: U64::new(state.sectors),
        began: U64::new(began),
        before: U64::new(before),
        designation: U64::new(designations.number(&state.designation)?),
    };
    out.item(ItemKind::State, [0; 3], item.as_bytes())
}

fn save_bitmap<D: Disk>(number: u64, bitmap: &Bitmap, out: &mut ImageWriter<'_, D>) -> Result {
    out.item(ItemKind::Bitmap, [number, bitmap.len(), 0], &[])?;
    let mut data = KVec::with_capacity(MAX_ITEM_DATA, GFP_KERNEL)?;
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
        out.item(ItemKind::Leaf, [number, leaf, u64::from(few)], &data)?;
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
    out.item(ItemKind::Designation, head, &[])?;
    for (index, part) in (0..).zip(parts) {
        match part {
            Part::Uniform(protected) => {
                out.item(
                    ItemKind::Stretch,
                    [number, index, u64::from(protected)],
                    &[],
                )?;
            }
            Part::Words(words) => {
                let mut data = KVec::with_capacity(MAX_ITEM_DATA, GFP_KERNEL)?;
                for word in words {
                    data.extend_from_slice(&word.to_le_bytes(), GFP_KERNEL)?;
                }
                out.item(ItemKind::Stretch, [number, index, 0], &data)?;
            }
        }
    }
    Ok(())
}

fn save_epoch<C: EpochCopies, D: Disk>(
    epoch: &Epoch<C>,
    marks: u64,
    out: &mut ImageWriter<'_, D>,
) -> Result {
    let has_copies = u64::from(epoch.copies.is_some());
    out.item(ItemKind::Epoch, [epoch.id, marks, has_copies], &[])?;
    let Some(copies) = &epoch.copies else {
        return Ok(());
    };
    let mut segments = KVVec::new();
    copies.segments(&mut segments)?;
    let mut data = KVec::with_capacity(MAX_ITEM_DATA, GFP_KERNEL)?;
    for some in segments.chunks(WORDS) {
        data.clear();
        for segment in some {
            data.extend_from_slice(&segment.to_le_bytes(), GFP_KERNEL)?;
        }
        out.item(ItemKind::Segments, [epoch.id, 0, 0], &data)?;
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
            out.item(ItemKind::Index, [epoch.id, 0, 0], &data)?;
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
    if data.len() > MAX_ITEM_DATA {
        return Err(EFBIG);
    }
    let words = [snapshot.id, snapshot.time_ns, snapshot.epoch];
    out.item(ItemKind::Snapshot, words, &data)
}

const _: () = assert!(core::mem::size_of::<SnapshotItem>() + 8 * MAX_SCOPE <= MAX_ITEM_DATA);

/// Calls `f` with every run of an epoch's copies. May sleep.
///
/// Errors: `ENOMEM`, those of `f`.
pub fn for_each_entry<C: EpochCopies>(copies: &C, mut f: impl FnMut(Chunks) -> Result) -> Result {
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
