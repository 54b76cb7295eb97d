// SPDX-License-Identifier: GPL-2.0

//! A block of each kind: the seal, a superblock and its layout, a record and its entries, a block
//! of an image.

#![forbid(unsafe_code)]

use crate::sparse::reseal;
use dm_preserve_core::format::image_data;
use dm_preserve_core::format::record_block;
use dm_preserve_core::format::Block;
use dm_preserve_core::format::Entry;
use dm_preserve_core::format::Layout;
use dm_preserve_core::format::Record;
use dm_preserve_core::format::Superblock;
use dm_preserve_core::format::BLOCK_BYTES;
use dm_preserve_core::format::MAX_CONTENTS;
use dm_preserve_core::format::MAX_ENTRIES;

/// `data` is the block; its checksum is put right.
pub fn blocks(data: &[u8]) {
    let mut block = [0; BLOCK_BYTES];
    let len = data.len().min(BLOCK_BYTES);
    block[..len].copy_from_slice(&data[..len]);
    reseal(&mut block);
    if let Ok(superblock) = Superblock::from_block(&block) {
        let mut again = [0; BLOCK_BYTES];
        superblock.to_block(&mut again);
        assert_eq!(Superblock::from_block(&again), Ok(superblock));
        if let Some(layout) = Layout::from_superblock(&superblock) {
            places(&layout, &superblock);
        }
    }
    if let Ok(record) = Record::from_block(&block) {
        entries(&record, &block);
    }
    if let Ok((header, data)) = image_data(&block) {
        assert_eq!(header.used.get() as usize, data.len());
    }
}

fn places(layout: &Layout, superblock: &Superblock) {
    assert!(layout.blocks() <= 1 << 40);
    for n in [0, 1, superblock.sequence.get(), u64::MAX] {
        let block = layout.ring_block(n);
        assert!(2 <= block && block < layout.image_block(0));
    }
    assert!(layout.image_block(1) + layout.image_blocks <= layout.data_start);
    let last = layout.segments - 1;
    let start = layout.segment_start(last).expect("the last segment");
    assert_eq!(layout.segment_of(start), Some(last));
    assert_eq!(layout.segment_of(layout.blocks() - 1), Some(last));
    assert_eq!(layout.segment_of(layout.blocks()), None);
    for blocks in [0, superblock.image_used.get(), u64::MAX] {
        assert!(layout.grown(blocks).blocks() <= 1 << 40);
    }
}

fn entries(record: &Record<'_>, block: &Block) {
    // CAST: At most 240.
    let count = record.header.count.get() as usize;
    assert!(count <= MAX_CONTENTS && record.raw_entries().count() <= MAX_ENTRIES);
    let known: Vec<_> = record.raw_entries().map_while(Entry::from_raw).collect();
    if known.len() == count {
        let mut again: Block = [0; BLOCK_BYTES];
        let raw = known.iter().map(|entry| entry.to_raw());
        record_block(&mut again, record.header, raw);
        let again = Record::from_block(&again).expect("what was written");
        let entries = again.raw_entries().map_while(Entry::from_raw);
        assert!(entries.eq(known));
    }
    assert_eq!(block[8..12], record.checksum.to_le_bytes());
}
