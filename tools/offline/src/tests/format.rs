// SPDX-License-Identifier: GPL-2.0

//! `Documentation/on-disk-format.rst` says the same as the code: every table is compared, and every
//! field, kind and flag has its row.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::mem::offset_of;

use zerocopy::FromZeros;
use zerocopy::IntoBytes;

use crate::tests::document::documented;
use crate::tests::document::field;
use crate::tests::document::rows;
use crate::tests::document::TEXT;
use dm_preserve_core::format::Entry;
use dm_preserve_core::format::IndexEntry;
use dm_preserve_core::format::ItemKind;
use dm_preserve_core::format::Layout;
use dm_preserve_core::format::SnapshotItem;
use dm_preserve_core::format::StateItem;
use dm_preserve_core::format::*;
use dm_preserve_core::store::Disk;
use dm_preserve_core::store::ImageWriter;

/// Compares a table with a struct that begins at `base`. The pattern does not compile when a field
/// is missing here.
macro_rules! structure {
    ($heading:literal, $base:expr, $rust:ident { $($field:ident),* $(,)? }) => {
        let value = $rust::new_zeroed();
        let $rust { $($field: _),* } = value;
        let fields = [$((
            stringify!($field).to_string(),
            $base + offset_of!($rust, $field),
            value.$field.as_bytes().len(),
        )),*];
        assert_eq!(documented($heading), fields, $heading);
        let (_, last, size) = fields.last().unwrap();
        assert_eq!(last + size, $base + size_of::<$rust>(), $heading);
    };
}

const SEAL: usize = 16;

#[test]
fn structs() {
    structure!(
        "Superblock",
        SEAL,
        Superblock {
            compatible,
            read_only,
            incompatible,
            sequence,
            store,
            generation,
            session,
            state,
            chunk_sectors,
            origin_sectors,
            ring_start,
            ring_blocks,
            image_start,
            image_blocks,
            data_start,
            segment_blocks,
            segments,
            image_number,
            image_area,
            fingerprint,
            image_used,
            rollback,
            boot,
            unproven,
            on_error,
            reserved,
        }
    );
    structure!(
        "Record header",
        SEAL,
        RecordHeader {
            store,
            sequence,
            session,
            epoch,
            durable,
            previous,
            kind,
            count,
            reserved,
        }
    );
    structure!(
        "Content entries",
        0,
        RawContent {
            chunk,
            checksum,
            reserved
        }
    );
    structure!("Raw entries", 0, RawEntry { kind, flags, words });
    structure!(
        "Image block header",
        SEAL,
        ImageHeader {
            store,
            image,
            number,
            used,
            reserved
        }
    );
    structure!(
        "Index runs",
        0,
        IndexEntry {
            chunk,
            len_position
        }
    );
    structure!(
        "Snapshot data",
        0,
        SnapshotItem {
            flags,
            sectors,
            designation,
            released,
            base,
            base_designation,
            base_chunks,
        }
    );
    structure!(
        "State data",
        0,
        StateItem {
            sequence,
            ring,
            content,
            content_end,
            previous,
            next,
            period,
            next_id,
            sectors,
            began,
            before,
            designation,
        }
    );
}

/// The seal is private to `ondisk`: its fields are found in blocks that it makes.
#[test]
fn seals() {
    let mut blocks = [[0; BLOCK_BYTES]; 3];
    Superblock::new_zeroed().to_block(&mut blocks[0]);
    let entries = [Entry::Drop(1).to_raw()];
    record_block(
        &mut blocks[1],
        RecordHeader::new_zeroed(),
        entries.into_iter(),
    );
    image_block(&mut blocks[2], ImageHeader::new_zeroed(), &[1, 2, 3]);
    let rows = documented("Seal");
    let names: Vec<_> = rows.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names, ["magic", "checksum", "version"]);
    for (block, word) in blocks
        .iter()
        .zip(["superblock", "record", "block of an image"])
    {
        let magic = std::str::from_utf8(field("Seal", "magic", block)).unwrap();
        assert!(TEXT.contains(&format!("``{magic}`` {word}")), "{magic}");
        assert_eq!(field("Seal", "version", block), VERSION.to_le_bytes());
        let mut copy = *block;
        copy[8..12].fill(0);
        let covered = if word == "superblock" {
            512
        } else {
            BLOCK_BYTES
        };
        let checksum = crc32c::crc32c(&copy[..covered]).to_le_bytes();
        assert_eq!(field("Seal", "checksum", block), checksum);
    }
    assert!(TEXT.contains("of a superblock its first 512 bytes"));
    // What follows the headers, where the document says that it does.
    assert_eq!(blocks[1][80..84], 5u32.to_le_bytes());
    assert!(TEXT.contains("From offset 80 on."));
    assert_eq!(blocks[2][56..59], [1, 2, 3]);
    assert!(TEXT.contains("bytes of data, from offset 56 on"));
}

#[test]
fn constants() {
    let code = BTreeMap::from([
        ("BLOCK_BYTES", BLOCK_BYTES as u64),
        ("MAX_BLOCKS", dm_preserve_core::format::MAX_BLOCKS),
        ("VERSION", VERSION.into()),
        ("MAX_CONTENTS", MAX_CONTENTS as u64),
        ("MAX_ENTRIES", MAX_ENTRIES as u64),
        ("IMAGE_DATA", IMAGE_DATA as u64),
        (
            "MAX_ITEM_DATA",
            dm_preserve_core::format::MAX_ITEM_DATA as u64,
        ),
        (
            "POSITION_BITS",
            dm_preserve_core::format::POSITION_BITS.into(),
        ),
        (
            "REGION_CHUNKS",
            dm_preserve_core::maps::region::chunks(0, u64::MAX).end,
        ),
    ]);
    let document = rows("constant").into_iter();
    let document: BTreeMap<_, _> = document
        .map(|row| (row[0], row[1].parse::<u64>().unwrap()))
        .collect();
    assert_eq!(document, code);
    // And where they stand in the text.
    for words in [
        format!("up to {MAX_CONTENTS} `content entries`_"),
        format!("up to {MAX_ENTRIES} `raw entries`_"),
        format!(
            "a: the bitmap; b: which {} bits",
            dm_preserve_core::maps::LEAF_BITS
        ),
        format!("{STATE_OPEN} open"),
        format!("{STATE_CLOSED} closed"),
        format!("{STATE_BROKEN} broken"),
        format!("{STATE_ROLLBACK} rollback"),
        format!("{KIND_CONTENTS}: contents follow the block; {KIND_ENTRIES}: the entries"),
        format!("{}: a bookmark", dm_preserve_core::format::FLAG_BOOKMARK),
        format!(
            "{}: unprotected chunks are",
            dm_preserve_core::format::FLAG_KEEP_UNPROTECTED
        ),
        format!(
            "{}: incremental",
            dm_preserve_core::format::FLAG_INCREMENTAL
        ),
        format!("{}: narrowed", dm_preserve_core::format::FLAG_NARROWED),
    ] {
        assert!(TEXT.contains(&words), "{words}");
    }
    assert_eq!(SUPERBLOCKS, [0, 1]);
}

/// Takes what is written, one after the other.
struct Written(Vec<u8>);

impl Disk for Written {
    fn read(&mut self, _: u64, _: &mut [u8]) -> kernel::error::Result {
        Err(kernel::error::code::EIO)
    }

    fn write(&mut self, _: u64, data: &[u8]) -> kernel::error::Result {
        self.0.extend_from_slice(data);
        Ok(())
    }

    fn flush(&mut self) -> kernel::error::Result {
        Ok(())
    }
}

/// A new kind does not compile until it is here; then the list below is not as long as the
/// document's.
fn name(kind: ItemKind) -> &'static str {
    match kind {
        ItemKind::Bitmap => "bitmap",
        ItemKind::Leaf => "leaf",
        ItemKind::Designation => "designation",
        ItemKind::Stretch => "stretch",
        ItemKind::Epoch => "epoch",
        ItemKind::Index => "index",
        ItemKind::Segments => "segments",
        ItemKind::Snapshot => "snapshot",
        ItemKind::State => "state",
        ItemKind::End => "end",
    }
}

/// The head of an item is private to `image`: its fields are found in an image that it makes.
#[test]
fn items() {
    let fields = documented("Item head");
    let names: Vec<_> = fields.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names, ["kind", "len", "words"]);
    let kinds = [
        ItemKind::Bitmap,
        ItemKind::Leaf,
        ItemKind::Designation,
        ItemKind::Stretch,
        ItemKind::Epoch,
        ItemKind::Index,
        ItemKind::Segments,
        ItemKind::Snapshot,
        ItemKind::State,
        ItemKind::End,
    ];
    let listed = rows("item");
    assert_eq!(listed.len(), kinds.len());
    let layout = Layout::new(4096, 1000, 8).unwrap();
    for (kind, row) in kinds.iter().zip(listed) {
        let mut disk = Written(Vec::new());
        let mut writer = ImageWriter::new(&mut disk, [0; 16], &layout, 0, 1).unwrap();
        writer.item(*kind, [11, 12, 13], &[9; 5]).unwrap();
        writer.finish().unwrap();
        let item = &disk.0[56..];
        let number: u32 = row[0].parse().unwrap();
        assert_eq!(name(*kind), row[1]);
        assert_eq!(field("Item head", "kind", item), number.to_le_bytes());
        assert_eq!(field("Item head", "len", item), 5u32.to_le_bytes());
        let words = [11u64, 12, 13].map(u64::to_le_bytes).concat();
        assert_eq!(field("Item head", "words", item), words);
        assert_eq!(item[32..37], [9; 5]);
    }
}
