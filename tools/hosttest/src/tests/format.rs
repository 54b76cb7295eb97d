// SPDX-License-Identifier: GPL-2.0

//! I8: the on-disk format. What is written is read again; what was changed on the way is an error
//! or, with a checksum to match, anything but a panic. Tests run with overflow checks.

#![forbid(unsafe_code)]

use dm_preserve_core::format::crc32c;
use dm_preserve_core::format::image_block;
use dm_preserve_core::format::image_data;
use dm_preserve_core::format::record_block;
use dm_preserve_core::format::Block;
use dm_preserve_core::format::Entry;
use dm_preserve_core::format::ImageHeader;
use dm_preserve_core::format::Invalid;
use dm_preserve_core::format::Layout;
use dm_preserve_core::format::RawContent;
use dm_preserve_core::format::RawEntry;
use dm_preserve_core::format::Record;
use dm_preserve_core::format::RecordHeader;
use dm_preserve_core::format::Superblock;
use dm_preserve_core::format::BLOCK_BYTES;
use dm_preserve_core::format::IMAGE_DATA;
use dm_preserve_core::format::KIND_CONTENTS;
use dm_preserve_core::format::KIND_ENTRIES;
use dm_preserve_core::format::MAX_CONTENTS;
use dm_preserve_core::format::MAX_ENTRIES;
use dm_preserve_core::format::STATE_OPEN;
use dm_preserve_core::format::STATE_ROLLBACK;
use dm_preserve_core::maps::Chunks;
use proptest::prelude::*;
use zerocopy::little_endian::U32;
use zerocopy::little_endian::U64;
use zerocopy::FromBytes;

/// Bytes of a superblock behind the seal.
const SUPERBLOCK_BYTES: usize = core::mem::size_of::<Superblock>();

/// Makes the checksum right again, as whoever wants to do harm would.
pub(super) fn reseal(block: &mut Block) {
    let covered = match block.starts_with(b"dmprsv1S") {
        true => 512,
        false => BLOCK_BYTES,
    };
    block[8..12].fill(0);
    let checksum = crc32c(0, &block[..covered]);
    block[8..12].copy_from_slice(&checksum.to_le_bytes());
}

/// A number that is likely to hurt.
pub(super) fn sharp() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        Just(u64::MAX),
        0u64..20,
        (0u32..64, 0u64..3).prop_map(|(bit, less)| (1u64 << bit).wrapping_sub(less)),
    ]
}

fn header(kind: u32) -> RecordHeader {
    RecordHeader {
        store: [7; 16],
        sequence: U64::new(5),
        session: U64::new(6),
        epoch: U64::new(7),
        durable: U64::new(3),
        previous: U32::new(9),
        kind: U32::new(kind),
        count: U32::new(0),
        reserved: U32::new(0),
    }
}

fn entry() -> impl Strategy<Value = Entry> {
    let run = || (any::<u64>(), any::<u64>()).prop_map(|(start, end)| Chunks { start, end });
    let snapshot = (any::<[u64; 3]>(), any::<bool>(), any::<Option<bool>>());
    prop_oneof![
        any::<[u64; 2]>().prop_map(|[segment, epoch]| Entry::Segment { segment, epoch }),
        any::<[u64; 2]>().prop_map(|[epoch, sectors]| Entry::Epoch { epoch, sectors }),
        snapshot.prop_map(
            |([id, time_ns, base], keep_unprotected, reset)| Entry::Snapshot {
                id,
                time_ns,
                base,
                keep_unprotected,
                reset,
            }
        ),
        any::<u64>().prop_map(Entry::DropUpTo),
        any::<u64>().prop_map(Entry::Drop),
        any::<u64>().prop_map(Entry::Forget),
        (any::<u64>(), run()).prop_map(|(id, run)| Entry::Release(id, run)),
        (run(), any::<bool>()).prop_map(|(run, on)| Entry::Protect(run, on)),
        any::<u64>().prop_map(Entry::Narrow),
        any::<[u64; 3]>().prop_map(|[region, epoch, period]| Entry::Region {
            region,
            epoch,
            period,
        }),
        any::<[u64; 2]>().prop_map(|[chunk, epoch]| Entry::Gone { chunk, epoch }),
    ]
}

/// Everything that may be asked of a layout.
fn exercise(layout: &Layout) {
    assert!(layout.blocks() <= 1 << 40);
    assert!(layout.ring_start >= 2 && layout.segments > 0);
    for n in [0, 1, layout.ring_blocks, u64::MAX] {
        let block = layout.ring_block(n);
        assert!(layout.ring_start <= block && block < layout.image_block(0));
    }
    assert!(layout.image_block(1) + layout.image_blocks <= layout.data_start);
    for segment in [0, layout.segments - 1] {
        let start = layout.segment_start(segment).unwrap();
        let last = start + layout.segment_blocks - 1;
        assert_eq!(layout.segment_of(start), Some(segment));
        assert_eq!(layout.segment_of(last), Some(segment));
        assert!(last < layout.blocks());
    }
    assert_eq!(layout.segment_start(layout.segments), None);
    for block in [0, layout.data_start - 1, layout.blocks(), u64::MAX] {
        assert_eq!(layout.segment_of(block), None);
    }
    for blocks in [0, layout.blocks(), layout.blocks() * 2, u64::MAX] {
        let grown = layout.grown(blocks);
        assert!(grown.segments >= layout.segments && grown.blocks() <= 1 << 40);
    }
}

proptest! {
    #[test]
    fn i8_superblocks(
        words in proptest::collection::vec(sharp(), SUPERBLOCK_BYTES / 8),
        state in 0u32..6,
    ) {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let mut superblock = Superblock::read_from_bytes(&bytes).unwrap();
        superblock.state = U32::new(state);
        let mut block = [0; BLOCK_BYTES];
        superblock.to_block(&mut block);
        if let Ok(read) = Superblock::from_block(&block) {
            prop_assert_eq!(read, superblock);
            prop_assert_eq!((read.incompatible.get(), read.read_only.get()), (0, 0));
        }
        if let Some(layout) = Layout::from_superblock(&superblock) {
            exercise(&layout);
        }
        let [first, second] = superblock.places();
        prop_assert_eq!(first + second, 1);
    }

    #[test]
    fn layouts_of_new_stores(blocks in sharp(), chunks in 0u64..1 << 50, shift in 3u32..12) {
        let chunk_sectors = 1u64 << shift;
        let Some(layout) = Layout::new(blocks, chunks, chunk_sectors) else {
            // Superblocks, the smallest ring and images, and one segment of the smallest size.
            prop_assert!(blocks < 2 + 64 + 2 * 64 + 8 * ((chunk_sectors / 8).max(16) + 2));
            return Ok(());
        };
        exercise(&layout);
        prop_assert!(layout.blocks() <= blocks);
        let mut superblock = Superblock::read_from_bytes(&[0; SUPERBLOCK_BYTES]).unwrap();
        superblock.chunk_sectors = U32::new(chunk_sectors as u32);
        layout.store(&mut superblock);
        prop_assert_eq!(Layout::from_superblock(&superblock), Some(layout));
    }

    #[test]
    fn records_of_entries(entries in proptest::collection::vec(entry(), 0..=MAX_ENTRIES)) {
        let mut block = [0; BLOCK_BYTES];
        let raw = entries.iter().map(|entry| entry.to_raw());
        let checksum = record_block(&mut block, header(KIND_ENTRIES), raw);
        let record = Record::from_block(&block).unwrap();
        prop_assert_eq!(record.checksum, checksum);
        let read: Vec<_> = record.raw_entries().map(Entry::from_raw).collect();
        prop_assert_eq!(read, entries.into_iter().map(Some).collect::<Vec<_>>());
    }

    #[test]
    fn records_of_contents(
        chunks in proptest::collection::vec(any::<(u64, u32)>(), 0..=MAX_CONTENTS),
    ) {
        let mut block = [0; BLOCK_BYTES];
        let contents = chunks.iter().map(|(chunk, checksum)| RawContent {
            chunk: U64::new(*chunk),
            checksum: U32::new(*checksum),
            reserved: U32::new(0),
        });
        record_block(&mut block, header(KIND_CONTENTS), contents);
        let record = Record::from_block(&block).unwrap();
        let read = record.contents().map(|content| (content.chunk.get(), content.checksum.get()));
        prop_assert!(read.eq(chunks.iter().copied()));
    }

    /// A changed byte is noticed, wherever it is.
    #[test]
    fn i8_changed_bytes(at in 0..BLOCK_BYTES, flip in 1u8..) {
        let mut record = [0; BLOCK_BYTES];
        record_block(&mut record, header(KIND_ENTRIES), [Entry::Drop(1).to_raw()].into_iter());
        record[at] ^= flip;
        prop_assert!(Record::from_block(&record).is_err());
        let mut image = [0; BLOCK_BYTES];
        let image_header = ImageHeader::read_from_bytes(&[3; 40]).unwrap();
        image_block(&mut image, image_header, &[1; IMAGE_DATA]);
        prop_assert_eq!(image_data(&image).unwrap().1, &[1; IMAGE_DATA]);
        image[at] ^= flip;
        prop_assert!(image_data(&image).is_err());
        let mut superblock = Superblock::read_from_bytes(&[0; SUPERBLOCK_BYTES]).unwrap();
        superblock.state = U32::new(STATE_OPEN);
        let mut block = [0; BLOCK_BYTES];
        superblock.to_block(&mut block);
        block[at] ^= flip;
        let read = Superblock::from_block(&block);
        // The checksum covers the first sector, which a disk writes whole or not at all.
        prop_assert_eq!(read.is_err(), at < 512);
        prop_assert!(at >= 512 || matches!(read, Err(Invalid::Foreign | Invalid::Damaged)));
    }

    /// Random blocks, with the right magic and checksum.
    #[test]
    fn i8_random_blocks(
        seed: [u64; 8],
        magic in 0usize..4,
        kind in 0u32..4,
        count in sharp(),
        version in 0u32..3,
    ) {
        let mut block = [0; BLOCK_BYTES];
        for (n, part) in block.chunks_exact_mut(8).enumerate() {
            let word = seed[n % 8].rotate_left(n as u32 / 8);
            part.copy_from_slice(&word.to_le_bytes());
        }
        let magics = [*b"dmprsv1S", *b"dmprsv1R", *b"dmprsv1I", seed[0].to_le_bytes()];
        block[..8].copy_from_slice(&magics[magic]);
        block[12..16].copy_from_slice(&version.to_le_bytes());
        // Where a record has its kind and count, and an image's block how much is used.
        block[68..72].copy_from_slice(&kind.to_le_bytes());
        block[72..76].copy_from_slice(&(count as u32).to_le_bytes());
        block[48..52].copy_from_slice(&(count as u32).to_le_bytes());
        reseal(&mut block);
        let _ = Superblock::from_block(&block);
        if let Ok(record) = Record::from_block(&block) {
            prop_assert_eq!(record.contents().count(), (count as u32 as usize).min(252));
            let known = record.raw_entries().filter_map(Entry::from_raw);
            prop_assert!(known.count() <= MAX_ENTRIES);
        }
        if let Ok((header, data)) = image_data(&block) {
            prop_assert_eq!(data.len(), header.used.get() as usize);
        }
    }

    #[test]
    fn i8_random_entries(kind in 0u32..20, flags: u32, words: [u64; 3]) {
        let raw = RawEntry {
            kind: U32::new(kind),
            flags: U32::new(flags),
            words: words.map(U64::new),
        };
        if let Some(entry) = Entry::from_raw(raw) {
            prop_assert_eq!(Entry::from_raw(entry.to_raw()), Some(entry));
        } else {
            prop_assert!(kind == 0 || kind > 11);
        }
    }
}

#[test]
fn what_a_block_is() {
    let kind = |block: &Block| Superblock::from_block(block).err();
    assert_eq!(kind(&[0; BLOCK_BYTES]), Some(Invalid::Blank));
    assert_eq!(kind(&[1; BLOCK_BYTES]), Some(Invalid::Foreign));
    let mut superblock = Superblock::read_from_bytes(&[0; SUPERBLOCK_BYTES]).unwrap();
    superblock.state = U32::new(STATE_OPEN);
    let mut block = [0; BLOCK_BYTES];
    superblock.to_block(&mut block);
    assert_eq!(kind(&block), None);
    let mut later = block;
    later[12] += 1;
    assert_eq!(kind(&later), Some(Invalid::Damaged));
    reseal(&mut later);
    assert_eq!(kind(&later), Some(Invalid::Unsupported));
    superblock.compatible = U64::new(1);
    superblock.to_block(&mut block);
    assert_eq!(kind(&block), None);
    superblock.incompatible = U64::new(1);
    superblock.to_block(&mut block);
    assert_eq!(kind(&block), Some(Invalid::Unsupported));
    superblock.incompatible = U64::new(0);
    // A rollback is one to a snapshot, and nothing else is.
    for (state, snapshot, expected) in [
        (STATE_ROLLBACK, 3, None),
        (STATE_ROLLBACK, 0, Some(Invalid::Damaged)),
        (STATE_OPEN, 3, Some(Invalid::Damaged)),
        (STATE_ROLLBACK + 1, 0, Some(Invalid::Damaged)),
    ] {
        superblock.state = U32::new(state);
        superblock.rollback = U64::new(snapshot);
        superblock.to_block(&mut block);
        assert_eq!(kind(&block), expected, "{state} {snapshot}");
    }
}
