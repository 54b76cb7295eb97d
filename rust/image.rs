// SPDX-License-Identifier: GPL-2.0

//! A checkpoint's image: everything that is known of a live device, as a stream of items in blocks.
//!
//! # Form
//!
//! Each block has a header with the image's number and its own, and a checksum (see
//! [`ondisk`](crate::ondisk)). Their data together is a sequence of items: a head of 32 bytes (kind, length of
//! the data, three words), then the data. The order is: bitmaps with their leaves, designations with their
//! stretches, epochs with index and segments, snapshots and bookmarks, the state, the end.
//!
//! An image is written while writes go on, so it may have marks and index entries that came after its
//! cut. That is right: what is replayed changes nothing that is there already.

#![forbid(unsafe_code)]

use crate::disk::Buffer;
use crate::disk::Disk;
use crate::errors::EUCLEAN;
use crate::layout::Layout;
use crate::ondisk::image_block;
use crate::ondisk::image_data;
use crate::ondisk::ImageHeader;
use crate::ondisk::IMAGE_DATA;
use kernel::prelude::*;
use zerocopy::little_endian::U32;
use zerocopy::little_endian::U64;
use zerocopy::FromBytes;
use zerocopy::IntoBytes;
use zerocopy_derive::FromBytes;
use zerocopy_derive::Immutable;
use zerocopy_derive::IntoBytes;
use zerocopy_derive::KnownLayout;

/// Most bytes of data of an item.
pub(crate) const MAX_DATA: usize = 4096;

/// The head of an item.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Head {
    kind: U32,
    len: U32,
    words: [U64; 3],
}

const HEAD_BYTES: usize = core::mem::size_of::<Head>();

/// The kinds of items. `a`, `b` and `c` are the head's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A bitmap: a = number, b = bits.
    Bitmap,
    /// A leaf of it: a = number, b = which, c = 1 if its words are pairs of place and word, few of which are not zero;
    /// data: its words.
    Leaf,
    /// A designation: a = number, b = 1 if the default is protected, c = stretches.
    Designation,
    /// A stretch of it: a = number, b = which, c = 0 or 1 if it is uniform; otherwise data: its words.
    Stretch,
    /// An epoch: a = number, b = its marks' bitmap, c = 1 if it has copies.
    Epoch,
    /// Entries of its index: a = number; data: pairs of words, see [`IndexEntry`].
    Index,
    /// Segments of it: a = number; data: a word each.
    Segments,
    /// A snapshot or bookmark: a = id, b = time, c = epoch; data: see [`SnapshotItem`], then the numbers of its
    /// scope's bitmaps.
    Snapshot,
    /// The rest: data: see [`StateItem`].
    State,
    /// The end: a = number of items before it.
    End,
}

const KINDS: [Kind; 10] = [
    Kind::Bitmap,
    Kind::Leaf,
    Kind::Designation,
    Kind::Stretch,
    Kind::Epoch,
    Kind::Index,
    Kind::Segments,
    Kind::Snapshot,
    Kind::State,
    Kind::End,
];

/// A run of copies.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct IndexEntry {
    /// The first chunk.
    pub(crate) chunk: U64,
    /// Number of chunks, from the highest bits, and the position of the first content in blocks.
    pub(crate) len_position: U64,
}

/// Bits of the position in [`IndexEntry::len_position`].
pub(crate) const POSITION_BITS: u32 = 48;

/// What an image says of a snapshot or bookmark, apart from the head's words.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct SnapshotItem {
    /// `FLAG_*`
    pub(crate) flags: U64,
    /// Sectors of the device.
    pub(crate) sectors: U64,
    /// Number of its designation.
    pub(crate) designation: U64,
    /// Number of the bitmap of released chunks.
    pub(crate) released: U64,
    /// The base of its scope.
    pub(crate) base: U64,
    /// Number of the base's designation.
    pub(crate) base_designation: U64,
    /// Chunks of the device at the base.
    pub(crate) base_chunks: U64,
}

/// A bookmark.
pub(crate) const FLAG_BOOKMARK: u64 = 1 << 0;
/// Unprotected chunks are preserved too.
pub(crate) const FLAG_KEEP_UNPROTECTED: u64 = 1 << 1;
/// The scope is incremental.
pub(crate) const FLAG_INCREMENTAL: u64 = 1 << 2;
/// The incremental scope is in effect.
pub(crate) const FLAG_NARROWED: u64 = 1 << 3;

/// The state, apart from what has items of its own.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct StateItem {
    /// Where replay begins: [`Place`](crate::logbook::Place).
    pub(crate) sequence: U64,
    /// See `sequence`.
    pub(crate) ring: U64,
    /// See `sequence`.
    pub(crate) content: U64,
    /// See `sequence`.
    pub(crate) content_end: U64,
    /// See `sequence`.
    pub(crate) previous: U64,
    /// Control entries of records below this are in the image.
    pub(crate) next: U64,
    /// The checkpoint generation.
    pub(crate) generation: U64,
    /// The next snapshot's id.
    pub(crate) next_id: U64,
    /// Sectors of the live device.
    pub(crate) sectors: U64,
    /// The epoch that the latest snapshot began.
    pub(crate) began: U64,
    /// The one that the snapshot before it began.
    pub(crate) before: U64,
    /// Number of the designation as it is now.
    pub(crate) designation: U64,
}

/// Writes an image.
pub(crate) struct ImageWriter<'a, D: Disk> {
    disk: &'a mut D,
    store: [u8; 16],
    image: u64,
    first: u64,
    limit: u64,
    /// Blocks written.
    written: u64,
    data: KVec<u8>,
    block: Buffer,
    items: u64,
}

impl<'a, D: Disk> ImageWriter<'a, D> {
    /// Begins image number `image` of a store in an area.
    pub(crate) fn new(
        disk: &'a mut D,
        store: [u8; 16],
        layout: &Layout,
        area: u32,
        image: u64,
    ) -> Result<Self> {
        Ok(Self {
            disk,
            store,
            image,
            first: layout.image_block(area),
            limit: layout.image_blocks,
            written: 0,
            data: KVec::with_capacity(IMAGE_DATA, GFP_KERNEL)?,
            block: Buffer::new()?,
            items: 0,
        })
    }

    /// Adds an item. `ENOSPC` when the area is full.
    pub(crate) fn item(&mut self, kind: Kind, words: [u64; 3], data: &[u8]) -> Result {
        let number = KINDS.iter().position(|known| *known == kind).unwrap_or(0) + 1;
        // CAST: Small constants, and at most `MAX_DATA`.
        let head = Head {
            kind: U32::new(number as u32),
            len: U32::new(data.len() as u32),
            words: words.map(U64::new),
        };
        self.bytes(head.as_bytes())?;
        self.bytes(data)?;
        self.items += 1;
        Ok(())
    }

    fn bytes(&mut self, mut bytes: &[u8]) -> Result {
        while !bytes.is_empty() {
            let room = IMAGE_DATA.saturating_sub(self.data.len());
            if room == 0 {
                self.write_block()?;
                continue;
            }
            let (now, rest) = bytes.split_at(bytes.len().min(room));
            self.data.extend_from_slice(now, GFP_KERNEL)?;
            bytes = rest;
        }
        Ok(())
    }

    fn write_block(&mut self) -> Result {
        if self.written >= self.limit {
            return Err(ENOSPC);
        }
        let header = ImageHeader {
            store: self.store,
            image: U64::new(self.image),
            number: U64::new(self.written),
            used: U32::new(0),
            reserved: U32::new(0),
        };
        let block = self.block.block()?;
        image_block(block, header, &self.data);
        self.disk.write(self.first + self.written, block)?;
        self.written += 1;
        self.data.clear();
        Ok(())
    }

    /// Ends the image and makes it durable: how many blocks it has.
    pub(crate) fn finish(mut self) -> Result<u64> {
        let items = self.items;
        self.item(Kind::End, [items, 0, 0], &[])?;
        self.write_block()?;
        self.disk.flush()?;
        Ok(self.written)
    }
}

/// An item that was read.
pub(crate) struct Item<'a> {
    /// Its kind.
    pub(crate) kind: Kind,
    /// Its words.
    pub(crate) words: [u64; 3],
    /// Its data, at most [`MAX_DATA`] bytes.
    pub(crate) data: &'a [u8],
}

impl<'a> Item<'a> {
    /// The data as an array of `T`, of which there must be a whole number.
    pub(crate) fn array<T: FromBytes + 'a>(&self) -> Result<impl Iterator<Item = T> + 'a> {
        let size = core::mem::size_of::<T>();
        match self.data.len().checked_rem(size) {
            Some(0) => Ok(self
                .data
                .chunks_exact(size)
                .filter_map(|bytes| T::read_from_bytes(bytes).ok())),
            _ => Err(EUCLEAN),
        }
    }

    /// The `T` that the data begins with, and the rest.
    pub(crate) fn prefix<T: FromBytes>(&self) -> Result<(T, &'a [u8])> {
        T::read_from_prefix(self.data).map_err(|_| EUCLEAN)
    }
}

/// Reads an image. What is not as it should be is `EUCLEAN`.
pub(crate) struct ImageReader<'a, D: Disk> {
    disk: &'a mut D,
    store: [u8; 16],
    image: u64,
    first: u64,
    blocks: u64,
    /// Blocks read.
    read: u64,
    block: Buffer,
    /// The part of the block's data that has not been used yet.
    data: KVec<u8>,
    used: usize,
    item: KVec<u8>,
    items: u64,
}

impl<'a, D: Disk> ImageReader<'a, D> {
    /// Begins to read image number `image` of `blocks` blocks.
    pub(crate) fn new(
        disk: &'a mut D,
        store: [u8; 16],
        layout: &Layout,
        area: u32,
        image: u64,
        blocks: u64,
    ) -> Result<Self> {
        if area > 1 || blocks > layout.image_blocks {
            return Err(EUCLEAN);
        }
        Ok(Self {
            disk,
            store,
            image,
            first: layout.image_block(area),
            blocks,
            read: 0,
            block: Buffer::new()?,
            data: KVec::with_capacity(IMAGE_DATA, GFP_KERNEL)?,
            used: 0,
            item: KVec::with_capacity(MAX_DATA, GFP_KERNEL)?,
            items: 0,
        })
    }

    /// The next item; `None` behind the last.
    pub(crate) fn next(&mut self) -> Result<Option<Item<'_>>> {
        self.fill(HEAD_BYTES)?;
        let head = Head::read_from_bytes(&self.item).map_err(|_| EUCLEAN)?;
        // CAST: Checked below.
        let len = head.len.get() as usize;
        let number = head.kind.get().checked_sub(1).ok_or(EUCLEAN)?;
        // CAST: Checked by `get`.
        let kind = *KINDS.get(number as usize).ok_or(EUCLEAN)?;
        let words = head.words.map(U64::get);
        if len > MAX_DATA {
            return Err(EUCLEAN);
        }
        if kind == Kind::End {
            return match words[0] == self.items {
                true => Ok(None),
                false => Err(EUCLEAN),
            };
        }
        self.items += 1;
        self.fill(len)?;
        Ok(Some(Item {
            kind,
            words,
            data: &self.item,
        }))
    }

    /// Makes `item` the next `len` bytes.
    fn fill(&mut self, len: usize) -> Result {
        self.item.clear();
        while self.item.len() < len {
            let rest = self.data.get(self.used..).unwrap_or(&[]);
            if rest.is_empty() {
                self.load()?;
                continue;
            }
            let part = rest
                .get(..rest.len().min(len - self.item.len()))
                .unwrap_or(rest);
            self.item.extend_from_slice(part, GFP_KERNEL)?;
            self.used += part.len();
        }
        Ok(())
    }

    fn load(&mut self) -> Result {
        if self.read >= self.blocks {
            return Err(EUCLEAN);
        }
        let block = self.block.load(self.disk, self.first + self.read)?;
        let (header, data) = image_data(block).map_err(|_| EUCLEAN)?;
        let right = header.store == self.store
            && header.image.get() == self.image
            && header.number.get() == self.read;
        if !right || data.is_empty() {
            return Err(EUCLEAN);
        }
        self.data.clear();
        self.data.extend_from_slice(data, GFP_KERNEL)?;
        self.used = 0;
        self.read += 1;
        Ok(())
    }
}
