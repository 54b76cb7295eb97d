// SPDX-License-Identifier: GPL-2.0

//! Streams: what is written comes back, and no damage goes unnoticed.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

use preserve::copy::stream::Header;
use preserve::copy::stream::Reader;
use preserve::copy::stream::Totals;
use preserve::copy::stream::Writer;
use preserve::Error;
use preserve::Result;
use proptest::collection::btree_map;
use proptest::prelude::*;
use uuid::Uuid;

const CHUNK: usize = 512;
/// The layout's sizes, spelt out so that they cannot change by accident.
const HEADER: usize = 96 + 32;
const FRAME: usize = 32 + 32;

type Extents = Vec<(u64, Vec<u8>)>;

fn header() -> Header {
    Header {
        generation: Uuid::from_u128(42),
        from: 3,
        to: 5,
        time_ns: 1_700_000_000_000_000_000,
        // The last chunk is short when a chunk is two sectors; here none is.
        origin_bytes: 20 * CHUNK as u64,
        chunk_bytes: CHUNK as u32,
    }
}

fn write(header: Header, extents: &Extents) -> Vec<u8> {
    let mut stream = Vec::new();
    let mut writer = Writer::new(&mut stream, header).unwrap();
    for (start, content) in extents {
        writer.extent(*start, content).unwrap();
    }
    writer.finish().unwrap();
    stream
}

fn read(stream: &[u8]) -> Result<(Header, Extents, Totals)> {
    let mut reader = Reader::new(stream)?;
    let (header, mut extents, mut content) = (*reader.header(), Extents::new(), Vec::new());
    while let Some(at) = reader.extent(&mut content)? {
        extents.push((at / u64::from(header.chunk_bytes), content.clone()));
    }
    Ok((header, extents, reader.finish().unwrap().0))
}

/// Two extents, as the others are made.
fn sample() -> Vec<u8> {
    write(
        header(),
        &vec![(2, vec![7; 2 * CHUNK]), (9, vec![8; CHUNK])],
    )
}

fn assert_damaged(stream: &[u8], what: &str) {
    match read(stream) {
        // A changed version number looks like a newer version until its digest is read.
        Err(e @ (Error::Damaged { .. } | Error::Misfit(_))) => assert_eq!(e.exit_code(), 5),
        Err(e) => panic!("{what}: {e}"),
        Ok(_) => panic!("{what}: not noticed"),
    }
}

#[test]
fn the_layout_is_fixed() {
    let stream = sample();
    assert_eq!(stream.len(), HEADER + 2 * FRAME + 3 * CHUNK + FRAME);
    assert_eq!(&stream[..12], b"dmpresrv\x01\0\0\0");
    assert_eq!(&stream[32..40], 3u64.to_le_bytes());
    assert_eq!(&stream[HEADER..HEADER + 4], 1u32.to_le_bytes());
}

#[test]
fn every_truncation_is_noticed() {
    let stream = sample();
    for len in 0..stream.len() {
        assert_damaged(&stream[..len], &format!("{len} bytes"));
    }
}

#[test]
fn every_flipped_bit_is_noticed() {
    let mut stream = sample();
    for bit in 0..stream.len() * 8 {
        stream[bit / 8] ^= 1 << (bit % 8);
        assert_damaged(&stream, &format!("bit {bit}"));
        stream[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn what_follows_the_end_is_noticed() {
    let stream = sample();
    assert_damaged(&[stream.as_slice(), &[0]].concat(), "a byte more");
    assert_damaged(&[stream.as_slice(), &stream].concat(), "twice");
}

#[test]
fn lost_doubled_and_swapped_extents_are_noticed() {
    let stream = sample();
    let (first, second) = (HEADER + FRAME + 2 * CHUNK, HEADER + 2 * FRAME + 3 * CHUNK);
    let (head, a, b, end) = (
        &stream[..HEADER],
        &stream[HEADER..first],
        &stream[first..second],
        &stream[second..],
    );
    for parts in [
        [head, a, end, &[]].concat(),
        [head, b, a, end].concat(),
        [head, a, a, b, end].concat(),
    ] {
        assert_damaged(&parts, "parts");
    }
}

#[test]
fn a_newer_version_is_refused_by_name() {
    let mut stream = sample();
    stream[8] = 2;
    let digest = blake3::hash(&stream[..96]);
    stream[96..HEADER].copy_from_slice(digest.as_bytes());
    assert!(matches!(read(&stream), Err(Error::Misfit(text)) if text.contains("version 2")));
}

/// A stream whose checksums are right and whose content is nonsense.
#[test]
fn nonsense_with_right_checksums_is_refused() {
    let frame = |kind: u32, start: u64, chunks: u64, bytes: u64| {
        let words = [u64::from(kind), start, chunks, bytes];
        words
            .iter()
            .flat_map(|w| w.to_le_bytes())
            .collect::<Vec<u8>>()
    };
    let with = |parts: &[Vec<u8>]| {
        let mut stream = write(header(), &Extents::new())[..HEADER].to_vec();
        for part in parts {
            stream.extend_from_slice(part);
            let digest = blake3::hash(&stream);
            stream.extend_from_slice(digest.as_bytes());
        }
        stream
    };
    let data = |start: u64, chunks: u64, bytes: u64| {
        [frame(1, start, chunks, bytes), vec![1; 512]].concat()
    };
    assert!(read(&with(&[data(4, 1, 512), frame(2, 1, 1, 512)])).is_ok());
    for (what, parts) in [
        ("over the end", vec![data(19, 2, 512), frame(2, 1, 2, 512)]),
        (
            "beyond the end",
            vec![data(20, 1, 512), frame(2, 1, 1, 512)],
        ),
        (
            "overflow",
            vec![data(u64::MAX, 1, 512), frame(2, 1, 1, 512)],
        ),
        ("empty", vec![frame(1, 4, 0, 0), frame(2, 1, 0, 0)]),
        ("other length", vec![data(4, 2, 512), frame(2, 1, 2, 512)]),
        (
            "huge",
            vec![data(0, u64::MAX, u64::MAX), frame(2, 1, 1, 512)],
        ),
        (
            "twice",
            vec![data(4, 1, 512), data(4, 1, 512), frame(2, 2, 2, 1024)],
        ),
        ("wrong totals", vec![data(4, 1, 512), frame(2, 1, 2, 512)]),
        ("unknown kind", vec![frame(3, 0, 0, 0)]),
        ("no extent counted", vec![frame(2, 1, 0, 0)]),
    ] {
        assert_damaged(&with(&parts), what);
    }
}

#[test]
fn impossible_headers_are_not_written() {
    let good = header();
    for bad in [
        Header {
            chunk_bytes: 0,
            ..good
        },
        Header {
            chunk_bytes: 1000,
            ..good
        },
        Header {
            chunk_bytes: 2 << 20,
            ..good
        },
        Header {
            origin_bytes: 0,
            ..good
        },
        Header {
            origin_bytes: 513,
            ..good
        },
        Header {
            origin_bytes: u64::MAX - 511,
            ..good
        },
        Header { from: 5, ..good },
        Header {
            from: 0,
            to: 0,
            ..good
        },
    ] {
        assert!(Writer::new(Vec::new(), bad).is_err(), "{bad:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 256,
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn what_is_written_comes_back(
        chunks in btree_map(0u64..40, any::<u8>(), 0..20),
        tail in 1u64..8,
        from in 0u64..5,
    ) {
        // Chunks of eight sectors; the last one is as short as `tail` says.
        let origin_bytes = 39 * 4096 + tail * 512;
        let header = Header { from, origin_bytes, chunk_bytes: 4096, ..header() };
        let extents: Extents = chunks
            .iter()
            .map(|(chunk, fill)| {
                let sectors = if *chunk == 39 { tail } else { 8 };
                (*chunk, vec![*fill; sectors as usize * 512])
            })
            .collect();
        let (found, content, totals) = read(&write(header, &extents)).unwrap();
        let bytes = extents.iter().map(|(_, content)| content.len() as u64).sum();
        prop_assert_eq!(found, header);
        let count = chunks.len() as u64;
        prop_assert_eq!(totals, Totals { extents: count, chunks: count, bytes });
        prop_assert_eq!(content, extents);
    }

    #[test]
    fn rubbish_is_refused(rubbish in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(read(&rubbish).is_err());
        let mut stream = sample();
        stream.truncate(HEADER);
        stream.extend_from_slice(&rubbish);
        prop_assert!(read(&stream).is_err());
    }
}
