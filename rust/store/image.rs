// SPDX-License-Identifier: GPL-2.0

//! A checkpoint's image: everything that is known of a live device, as a stream of items in blocks.
//!
//! # Form
//!
//! Each block has a header with the image's number and its own, and a checksum (see
//! [`format`](crate::format)). Their data together is a sequence of items: a head of 32 bytes
//! (kind, length of the data, three words), then the data. The order is: bitmaps with their leaves,
//! designations with their stretches, epochs with index and segments, snapshots and bookmarks, the
//! state, the end.
//!
//! An image is written while writes go on, so it may have marks and index entries that came after
//! its cut. That is right: what is replayed changes nothing that is there already.

#![forbid(unsafe_code)]

use crate::base::EUCLEAN;
use crate::format::image_block;
use crate::format::image_data;
use crate::format::ImageHeader;
use crate::format::ItemHead;
use crate::format::ItemKind;
use crate::format::Layout;
use crate::format::IMAGE_DATA;
use crate::format::ITEM_HEAD_BYTES;
use crate::format::MAX_ITEM_DATA;
use crate::store::disk::Buffer;
use crate::store::disk::Disk;
use kernel::prelude::*;
use zerocopy::little_endian::U32;
use zerocopy::little_endian::U64;
use zerocopy::FromBytes;
use zerocopy::IntoBytes;

/// Writes an image.
pub struct ImageWriter<'a, D: Disk> {
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
    /// Begins to write image number `image` of a store to an area. May sleep.
    ///
    /// Errors: `ENOMEM`.
    pub fn new(
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

    /// Adds an item.
    ///
    /// Errors: `ENOSPC` if the area is full, those of writing the disk, `ENOMEM`.
    pub fn item(&mut self, kind: ItemKind, words: [u64; 3], data: &[u8]) -> Result {
        // CAST: At most `MAX_ITEM_DATA`.
        let head = ItemHead {
            kind: U32::new(kind.number()),
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

    /// Ends the image and makes it durable. Returns its number of blocks.
    ///
    /// Errors: `ENOSPC` if the area is full, those of writing and flushing the disk, `ENOMEM`.
    pub fn finish(mut self) -> Result<u64> {
        let items = self.items;
        self.item(ItemKind::End, [items, 0, 0], &[])?;
        self.write_block()?;
        self.disk.flush()?;
        Ok(self.written)
    }
}

/// An item that was read.
pub struct Item<'a> {
    /// Its kind.
    pub kind: ItemKind,
    /// Its words.
    pub words: [u64; 3],
    /// Its data, at most [`MAX_ITEM_DATA`] bytes.
    pub data: &'a [u8],
}

impl<'a> Item<'a> {
    /// Returns the data as an array of `T`.
    ///
    /// Errors: `EUCLEAN` unless there is a whole number of them.
    pub fn array<T: FromBytes + 'a>(&self) -> Result<impl Iterator<Item = T> + 'a> {
        let size = core::mem::size_of::<T>();
        match self.data.len().checked_rem(size) {
            Some(0) => Ok(self
                .data
                .chunks_exact(size)
                .filter_map(|bytes| T::read_from_bytes(bytes).ok())),
            _ => Err(EUCLEAN),
        }
    }

    /// Returns the `T` that the data begins with, and the rest.
    ///
    /// Errors: `EUCLEAN` if there is too little data.
    pub fn prefix<T: FromBytes>(&self) -> Result<(T, &'a [u8])> {
        T::read_from_prefix(self.data).map_err(|_| EUCLEAN)
    }
}

/// Reads an image. Whatever is not as it should be is `EUCLEAN`.
pub struct ImageReader<'a, D: Disk> {
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
    /// Begins to read image number `image` of `blocks` blocks. May sleep.
    ///
    /// Errors: `EUCLEAN` for an image that does not fit into an area, `ENOMEM`.
    pub fn new(
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
            item: KVec::with_capacity(MAX_ITEM_DATA, GFP_KERNEL)?,
            items: 0,
        })
    }

    /// Returns the next item; `None` behind the last one.
    ///
    /// Errors: `EUCLEAN` for a block or an item that is not valid, those of reading the disk,
    /// `ENOMEM`.
    pub fn next(&mut self) -> Result<Option<Item<'_>>> {
        self.fill(ITEM_HEAD_BYTES)?;
        let head = ItemHead::read_from_bytes(&self.item).map_err(|_| EUCLEAN)?;
        // CAST: Checked below.
        let len = head.len.get() as usize;
        let kind = ItemKind::from_number(head.kind.get()).ok_or(EUCLEAN)?;
        let words = head.words.map(U64::get);
        if len > MAX_ITEM_DATA {
            return Err(EUCLEAN);
        }
        if kind == ItemKind::End {
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

    /// Reads the next `len` bytes into `item`.
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
