// SPDX-License-Identifier: GPL-2.0

//! Finding the checksum of a content that is read back from a persistent store.
//!
//! The checksum is in the header of the content's record. To be small, the index has the position
//! of the content, but not that of its record. The record begins somewhere before the content in
//! the same segment, at most as many contents away as a record can have. So the header is searched
//! backwards from the content. It must be of this store and epoch, and name this chunk for the
//! content at this position; a content that merely looks like a header does not.
//!
//! The header found last is kept, since neighbours mostly belong to one record.

#![forbid(unsafe_code)]

use crate::base::EUCLEAN;
use crate::format::Block;
use crate::format::Layout;
use crate::format::Record;
use crate::format::BLOCK_BYTES;
use crate::format::KIND_CONTENTS;
use crate::format::MAX_CONTENTS;
use crate::store::disk::Buffer;
use crate::store::disk::Disk;
use kernel::prelude::*;

/// Blocks read at once when looking for a header among small contents.
const HEADER_WINDOW: u64 = 16;

/// A content in a store: what must be known to find its checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    /// Its chunk.
    pub chunk: u64,
    /// Its position in the store: its first block.
    pub position: u64,
    /// The epoch that the chunk was copied in.
    pub epoch: u64,
}

impl Content {
    /// Returns the content `n` chunks further on in the same run.
    pub fn nth(self, n: u64, chunk_blocks: u64) -> Self {
        Self {
            chunk: self.chunk + n,
            position: self.position + n * chunk_blocks,
            ..self
        }
    }
}

/// Headers of one store, as far as one reader has seen them.
pub struct Headers {
    store: [u8; 16],
    /// Where the header that is kept is.
    kept: Option<u64>,
    header: Buffer,
    /// The blocks read last: the first one, and how many.
    window: KVVec<u8>,
    first: u64,
    blocks: u64,
}

impl Headers {
    /// Makes the cache for the store with this UUID. No header is known yet. May sleep.
    ///
    /// Errors: `ENOMEM`.
    pub fn new(store: [u8; 16]) -> Result<Self> {
        // CAST: A small constant.
        let bytes = HEADER_WINDOW as usize * BLOCK_BYTES;
        Ok(Self {
            store,
            kept: None,
            header: Buffer::new()?,
            window: KVVec::from_elem(0, bytes, GFP_KERNEL)?,
            first: 0,
            blocks: 0,
        })
    }

    /// Returns the checksum that a content should have, if the header that is kept says so. Does no
    /// I/O.
    pub fn known(&mut self, chunk_blocks: u64, content: &Content) -> Option<u32> {
        let at = self.kept?;
        let store = self.store;
        said(self.header.block().ok()?, &store, chunk_blocks, content, at)
    }

    /// Returns the checksum that a content should have.
    ///
    /// Errors: `EUCLEAN` if no header says so, `EIO` if a block that may be the header cannot be
    /// read.
    pub fn find<D: Disk>(
        &mut self,
        disk: &mut D,
        layout: &Layout,
        content: &Content,
    ) -> Result<u32> {
        if let Some(checksum) = self.known(layout.chunk_blocks, content) {
            return Ok(checksum);
        }
        let segment = layout.segment_of(content.position);
        let start = segment.and_then(|segment| layout.segment_start(segment));
        let start = start.ok_or(EUCLEAN)?;
        // The segment may have been another epoch's when it was looked at before.
        self.blocks = 0;
        let mut at = content.position.checked_sub(1).ok_or(EUCLEAN)?;
        let mut unread = false;
        for _ in 0..MAX_CONTENTS {
            if at < start {
                break;
            }
            let store = self.store;
            let block = self.block(disk, layout, start, at);
            unread |= block.is_none();
            let found =
                block.and_then(|block| said(block, &store, layout.chunk_blocks, content, at));
            if let Some(checksum) = found {
                self.keep(at)?;
                return Ok(checksum);
            }
            at = at.saturating_sub(layout.chunk_blocks);
        }
        Err(if unread { EIO } else { EUCLEAN })
    }

    /// Returns a block of a segment, if it can be read. Blocks before it, which may be headers too,
    /// are read along with it if contents are small.
    fn block<D: Disk>(
        &mut self,
        disk: &mut D,
        layout: &Layout,
        start: u64,
        at: u64,
    ) -> Option<&Block> {
        if !(self.first..self.first + self.blocks).contains(&at) {
            let wanted = match layout.chunk_blocks < HEADER_WINDOW {
                true => HEADER_WINDOW.min(at - start + 1),
                false => 1,
            };
            // One that cannot be read does not hide the others.
            self.load(disk, at + 1 - wanted, wanted)
                .or_else(|_| self.load(disk, at, 1))
                .ok()?;
        }
        in_window(&self.window, self.first, at)
    }

    /// Keeps a block of the window as the header.
    fn keep(&mut self, at: u64) -> Result {
        self.kept = None;
        let block = in_window(&self.window, self.first, at).ok_or(EINVAL)?;
        self.header.block()?.copy_from_slice(block);
        self.kept = Some(at);
        Ok(())
    }

    fn load<D: Disk>(&mut self, disk: &mut D, first: u64, blocks: u64) -> Result {
        self.blocks = 0;
        // CAST: At most a window.
        let bytes = blocks as usize * BLOCK_BYTES;
        disk.read(first, self.window.get_mut(..bytes).ok_or(EINVAL)?)?;
        (self.first, self.blocks) = (first, blocks);
        Ok(())
    }
}

/// Returns a block of a window that begins with block `first`.
fn in_window(window: &[u8], first: u64, at: u64) -> Option<&Block> {
    let n = usize::try_from(at.checked_sub(first)?).ok()?;
    window.get(n.checked_mul(BLOCK_BYTES)?..)?.first_chunk()
}

/// Returns the checksum that a block says a content has, if the block is the header of that
/// content's record.
fn said(
    block: &Block,
    store: &[u8; 16],
    chunk_blocks: u64,
    content: &Content,
    at: u64,
) -> Option<u32> {
    let record = Record::from_block(block).ok()?;
    let header = &record.header;
    if header.store != *store
        || header.epoch.get() != content.epoch
        || header.kind.get() != KIND_CONTENTS
    {
        return None;
    }
    let behind = content.position.checked_sub(at)?.checked_sub(1)?;
    let n = behind.checked_div(chunk_blocks)?;
    if behind != n * chunk_blocks {
        return None;
    }
    // CAST: Where it is too large, there is no such content.
    let said = record.contents().nth(usize::try_from(n).ok()?)?;
    (said.chunk.get() == content.chunk).then(|| said.checksum.get())
}
