// SPDX-License-Identifier: GPL-2.0

//! A checkpoint as items, whatever they are and say; what loads is saved, and must load again as
//! the same.
//!
//! ```text
//! sectors (8 bytes), { kind (1 byte), three words (24), length (2), data }
//! ```

#![forbid(unsafe_code)]

use kernel::alloc::host;
use kernel::error::Result;
use zerocopy::little_endian::U32;
use zerocopy::little_endian::U64;

use super::MEMORY;
use crate::input::Input;
use crate::known::can_go_on;
use crate::known::exercise;
use crate::known::summary;
use crate::known::Known;
use crate::sparse::Sparse;
use dm_preserve_core::format::image_block;
use dm_preserve_core::format::ImageHeader;
use dm_preserve_core::format::Layout;
use dm_preserve_core::format::BLOCK_BYTES;
use dm_preserve_core::format::IMAGE_DATA;
use dm_preserve_core::maps::Geometry;
use dm_preserve_core::store::load;
use dm_preserve_core::store::save;
use dm_preserve_core::store::Disk;
use dm_preserve_core::store::ImageReader;
use dm_preserve_core::store::ImageWriter;
use offline::Copies;

const STORE: [u8; 16] = [7; 16];
/// The kind of the last item.
const END: u8 = 10;
/// Sectors of the largest device.
const MOST: u64 = 1 << 20;

/// That of the stores that the corpus begins with.
pub(crate) const LAYOUT: Layout = Layout {
    ring_start: 2,
    ring_blocks: 64,
    image_start: 66,
    image_blocks: 49,
    data_start: 164,
    segment_blocks: 144,
    segments: 2,
    chunk_blocks: 1,
};

/// Loads what `data` says.
pub fn image(data: &[u8]) {
    let mut input = Input(data);
    let sectors = input.word() % (MOST + 1);
    let shape = Geometry::new(sectors, LAYOUT.chunk_blocks * 8).expect("a small device");
    let mut disk = Sparse::default();
    let Ok(blocks) = write(&items(input), &mut disk) else {
        return;
    };
    host::within(MEMORY, || {
        let Ok(known) = load(&mut disk, shape, blocks) else {
            return;
        };
        exercise(&known, &LAYOUT);
        if !can_go_on(&known) {
            return;
        }
        let Ok(blocks) = save(&known, &mut disk) else {
            return;
        };
        let again = load(&mut disk, shape, blocks).expect("what was loaded and saved");
        assert_eq!(summary(&known), summary(&again));
    });
}

/// The items' bytes, and an end that counts them right.
fn items(mut input: Input<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut count = 0;
    while !input.is_empty() {
        let kind = input.byte();
        if kind == END {
            continue;
        }
        let words = [input.word(), input.word(), input.word()];
        let len = input.short();
        push(&mut bytes, kind, words, input.bytes(len.into()));
        count += 1;
    }
    push(&mut bytes, END, [count, 0, 0], &[]);
    bytes
}

fn push(bytes: &mut Vec<u8>, kind: u8, words: [u64; 3], data: &[u8]) {
    bytes.extend_from_slice(&u32::from(kind).to_le_bytes());
    // CAST: At most 65535.
    bytes.extend_from_slice(&(data.len() as u32).to_le_bytes());
    for word in words {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    bytes.extend_from_slice(data);
}

fn write(items: &[u8], disk: &mut Sparse) -> Result<u64> {
    let mut number = 0;
    for data in items.chunks(IMAGE_DATA) {
        let header = ImageHeader {
            store: STORE,
            image: U64::new(1),
            number: U64::new(number),
            used: U32::new(0),
            reserved: U32::new(0),
        };
        let mut block = [0; BLOCK_BYTES];
        image_block(&mut block, header, data);
        disk.write(LAYOUT.image_block(0) + number, &block)?;
        number += 1;
    }
    Ok(number)
}

fn load(disk: &mut Sparse, shape: Geometry, blocks: u64) -> Result<Known> {
    let mut reader = ImageReader::new(disk, STORE, &LAYOUT, 0, 1, blocks)?;
    load::load(&mut reader, shape, &LAYOUT, &Copies::maker(&LAYOUT))
}

fn save(known: &Known, disk: &mut Sparse) -> Result<u64> {
    let mut writer = ImageWriter::new(disk, STORE, &LAYOUT, 0, 1)?;
    save::save(known, &mut writer)?;
    writer.finish()
}
