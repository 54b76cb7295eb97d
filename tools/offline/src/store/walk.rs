// SPDX-License-Identifier: GPL-2.0

//! The contents of an epoch, in the order in which they stand in its segments, each with what its
//! record says of it.
//!
//! A segment begins with a record's header; contents follow, then the next header, and so on. What
//! does not go on like that (another epoch's, an earlier session's, torn) ends the walk.

#![forbid(unsafe_code)]

use kernel::error::code::EIO;
use kernel::error::Result;

use super::disk::Store;
use dm_preserve_core::format::Block;
use dm_preserve_core::format::Layout;
use dm_preserve_core::format::RawContent;
use dm_preserve_core::format::Record;
use dm_preserve_core::format::Superblock;
use dm_preserve_core::format::KIND_CONTENTS;
use dm_preserve_core::store::Buffer;

/// A walk through segments of an epoch.
#[derive(Clone, Copy)]
pub(crate) struct Walk<'a> {
    pub(crate) superblock: &'a Superblock,
    pub(crate) layout: &'a Layout,
    /// The epoch's number.
    pub(crate) epoch: u64,
}

/// How the walk through a segment ended.
pub(crate) struct Walked {
    /// The block in which the next record would be.
    pub(crate) end: u64,
    /// Why that could not be read.
    pub(crate) unreadable: Option<String>,
}

impl Walk<'_> {
    /// Hands each content of a segment and its first block to `each`. `None` when there is no such
    /// segment.
    pub(crate) fn segment(
        &self,
        store: &mut Store<'_>,
        segment: u64,
        each: &mut dyn FnMut(&mut Store<'_>, RawContent, u64) -> Result,
    ) -> Result<Option<Walked>> {
        let Some(start) = self.layout.segment_start(segment) else {
            return Ok(None);
        };
        let end = start + self.layout.segment_blocks;
        let mut buffer = Buffer::new()?;
        let mut at = start;
        // Session and number of the record before: both only rise.
        let mut before = (0, None);
        while at < end {
            let block = match buffer.load(store, at) {
                Ok(block) => block,
                Err(EIO) => {
                    let unreadable = Some(store.why());
                    return Ok(Some(Walked {
                        end: at,
                        unreadable,
                    }));
                }
                Err(error) => return Err(error),
            };
            let Some(record) = self.record(block, end - at) else {
                break;
            };
            let header = record.header;
            let now = (header.session.get(), Some(header.sequence.get()));
            if now.0 < before.0 || now.1 <= before.1 {
                break;
            }
            before = now;
            at += 1;
            for content in record.contents() {
                each(store, content, at)?;
                at += self.layout.chunk_blocks;
            }
        }
        Ok(Some(Walked {
            end: at,
            unreadable: None,
        }))
    }

    /// A record of this epoch that fits into so many blocks.
    fn record<'b>(&self, block: &'b Block, room: u64) -> Option<Record<'b>> {
        let record = Record::from_block(block).ok()?;
        let header = &record.header;
        let count = u64::from(header.count.get());
        let ours = header.store == self.superblock.store
            && header.kind.get() == KIND_CONTENTS
            && header.epoch.get() == self.epoch
            && header.session <= self.superblock.session
            && count * self.layout.chunk_blocks < room;
        ours.then_some(record)
    }
}
