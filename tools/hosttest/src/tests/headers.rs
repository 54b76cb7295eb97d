// SPDX-License-Identifier: GPL-2.0

//! Finding the checksum of a content in the store (I1: content that is not what was written is
//! never shown).

#![forbid(unsafe_code)]

use dm_preserve_core::format::Block;
use dm_preserve_core::format::Entry;
use dm_preserve_core::format::Layout;
use dm_preserve_core::format::BLOCK_BYTES;
use dm_preserve_core::format::BLOCK_SECTORS;
use dm_preserve_core::store::Content;
use dm_preserve_core::store::Headers;
use dm_preserve_core::store::LogEnd;
use dm_preserve_core::store::LogPosition;
use kernel::prelude::EIO;
use kernel::prelude::EUCLEAN;
use sim::Rng;
use sim::SimDisk;
use std::collections::BTreeMap;

const STORE: [u8; 16] = [7; 16];

/// A store with segments of some epochs, and what is in them.
struct Written {
    disk: SimDisk,
    layout: Layout,
    /// Contents with their checksums, and where the record's header is.
    contents: Vec<(Content, u32, u64)>,
    /// Headers by block.
    headers: BTreeMap<u64, Block>,
}

/// Fills segments with records of random lengths. Contents are rubbish, or copies of headers.
fn written(chunk_blocks: u64, rng: &mut Rng) -> Written {
    let blocks = 2000 + 700 * chunk_blocks;
    let layout = Layout::new(blocks, 1 << 20, chunk_blocks * BLOCK_SECTORS).unwrap();
    let place = LogPosition {
        sequence: 1,
        ..LogPosition::default()
    };
    let mut disk = SimDisk::new(blocks);
    let mut book = LogEnd::new(STORE, 3, layout, place);
    let mut contents = Vec::new();
    let mut headers = BTreeMap::new();
    let mut chunk = 0;
    for segment in 0..layout.segments.min(4) {
        let epoch = 5 + segment / 2;
        let mut block = [0; BLOCK_BYTES];
        let entry = Entry::Segment { segment, epoch };
        book.entries(&[entry], 0, 0, &mut block).unwrap();
        while book.room() > 0 {
            let most = book.room().min([1, 3, 20, 240][rng.below(4) as usize]);
            let count = 1 + rng.below(most);
            let list: Vec<(u64, u32)> = (0..count)
                .map(|_| {
                    chunk += 1 + rng.below(3);
                    (chunk, rng.below(1 << 32) as u32)
                })
                .collect();
            let formed = book.contents(epoch, &list, 0, &mut block).unwrap();
            for (n, (chunk, checksum)) in (0..).zip(&list) {
                let position = formed.block + 1 + n * chunk_blocks;
                for at in position..position + chunk_blocks {
                    let some = headers
                        .values()
                        .nth(rng.below(headers.len() as u64 + 1) as usize);
                    let data = some.copied().unwrap_or([rng.below(256) as u8; BLOCK_BYTES]);
                    disk.set(at, data);
                }
                let content = Content {
                    chunk: *chunk,
                    position,
                    epoch,
                };
                contents.push((content, *checksum, formed.block));
            }
            disk.set(formed.block, block);
            headers.insert(formed.block, block);
        }
    }
    Written {
        disk,
        layout,
        contents,
        headers,
    }
}

fn each_size(test: impl Fn(Written, &mut Rng)) {
    for chunk_blocks in [1, 2, 16, 128] {
        for seed in 0..8 {
            let mut rng = Rng::new(seed);
            test(written(chunk_blocks, &mut rng), &mut rng);
        }
    }
}

#[test]
fn i1_every_content_has_its_checksum() {
    each_size(|mut store, rng| {
        let mut headers = Headers::new(STORE).unwrap();
        for _ in 0..600 {
            let n = rng.below(store.contents.len() as u64) as usize;
            // Now and then the neighbours, as a reader of a run asks for them.
            let some = store.contents[n..].iter().take(1 + rng.below(20) as usize);
            for (content, checksum, _) in some {
                let found = headers.find(&mut store.disk, &store.layout, content);
                assert_eq!(found, Ok(*checksum), "{content:?}");
                assert_eq!(
                    headers.known(store.layout.chunk_blocks, content),
                    Some(*checksum)
                );
            }
        }
    });
}

#[test]
fn i1_no_other_content_has_one() {
    each_size(|mut store, rng| {
        let mut headers = Headers::new(STORE).unwrap();
        let mut other = Headers::new([8; 16]).unwrap();
        for _ in 0..50 {
            let n = rng.below(store.contents.len() as u64) as usize;
            let (right, checksum, _) = store.contents[n];
            let found = headers.find(&mut store.disk, &store.layout, &right);
            assert_eq!(found, Ok(checksum));
            let wrong = [
                Content {
                    chunk: right.chunk + 1_000_000,
                    ..right
                },
                Content {
                    epoch: right.epoch + 2,
                    ..right
                },
                Content {
                    position: right.position - 1,
                    ..right
                },
                Content {
                    position: 1,
                    ..right
                },
                Content {
                    position: u64::MAX,
                    ..right
                },
            ];
            for content in wrong {
                let found = headers.find(&mut store.disk, &store.layout, &content);
                assert_eq!(found, Err(EUCLEAN), "{content:?}");
            }
            let found = other.find(&mut store.disk, &store.layout, &right);
            assert_eq!(found, Err(EUCLEAN));
        }
    });
}

#[test]
fn i1_a_damaged_header_takes_no_other_record_along() {
    each_size(|mut store, rng| {
        let n = rng.below(store.headers.len() as u64) as usize;
        let (bad, mut block) = store
            .headers
            .iter()
            .map(|(at, b)| (*at, *b))
            .nth(n)
            .unwrap();
        let wanted = match rng.below(2) {
            0 => {
                store.disk.bad = Some(bad);
                EIO
            }
            _ => {
                block[rng.below(4096) as usize] ^= 4;
                store.disk.set(bad, block);
                EUCLEAN
            }
        };
        let mut headers = Headers::new(STORE).unwrap();
        for (content, checksum, header) in &store.contents {
            let found = headers.find(&mut store.disk, &store.layout, content);
            match *header == bad {
                true => assert_eq!(found, Err(wanted), "{content:?}"),
                false => assert_eq!(found, Ok(*checksum), "{content:?}"),
            }
        }
    });
}
