// SPDX-License-Identifier: GPL-2.0

//! `Documentation/on-disk-format.rst` says the same as the code: every table is compared, and every field,
//! kind and flag has its row.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::mem::offset_of;

use zerocopy::little_endian::U32;
use zerocopy::little_endian::U64;
use zerocopy::FromZeros;
use zerocopy::IntoBytes;

use crate::chunk::Chunks;
use crate::disk::Disk;
use crate::entry::Entry;
use crate::image::ImageWriter;
use crate::image::IndexEntry;
use crate::image::Kind;
use crate::image::SnapshotItem;
use crate::image::StateItem;
use crate::layout::Layout;
use crate::ondisk::*;

const TEXT: &str = include_str!("../../../../Documentation/on-disk-format.rst");

/// A table: the heading that it stands under, the names of its columns, its rows.
struct Table {
    heading: &'static str,
    columns: Vec<&'static str>,
    rows: Vec<Vec<&'static str>>,
}

/// A line of `=` and spaces: where the columns begin and end.
fn border(line: &str) -> Option<Vec<(usize, usize)>> {
    if !line.starts_with('=') || !line.contains(' ') || line.trim_matches(['=', ' ']) != "" {
        return None;
    }
    let starts = (0..line.len())
        .filter(|i| line[*i..].starts_with('=') && (*i == 0 || line[*i - 1..].starts_with(' ')));
    let starts: Vec<_> = starts.collect();
    let ends = starts.iter().skip(1).copied().chain([usize::MAX]);
    Some(starts.iter().copied().zip(ends).collect())
}

fn cells(line: &'static str, columns: &[(usize, usize)]) -> Vec<&'static str> {
    let cell = |(start, end): &(usize, usize)| line[*start..line.len().min(*end)].trim();
    columns.iter().map(cell).collect()
}

fn tables() -> Vec<Table> {
    let lines: Vec<&'static str> = TEXT.lines().collect();
    let mut tables = Vec::new();
    let mut heading = "";
    let mut at = 0;
    while at < lines.len() {
        let under = lines.get(at + 1).unwrap_or(&"");
        let underlined = !under.is_empty() && under.trim_matches(['=', '-']).is_empty();
        if underlined && !under.contains(' ') && !lines[at].is_empty() {
            heading = lines[at];
        }
        if let Some(columns) = border(lines[at]) {
            let end = (at + 3..).find(|i| border(lines[*i]).is_some()).unwrap();
            tables.push(Table {
                heading,
                columns: cells(lines[at + 1], &columns),
                rows: (at + 3..end).map(|i| cells(lines[i], &columns)).collect(),
            });
            at = end;
        }
        at += 1;
    }
    tables
}

/// Name, offset and size of each field that the document has under a heading.
fn documented(heading: &str) -> Vec<(String, usize, usize)> {
    let tables = tables();
    let found = tables.iter().find(|table| table.heading == heading);
    let table = found.unwrap_or_else(|| panic!("no table under {heading:?}"));
    assert_eq!(table.columns, ["offset", "size", "name", "meaning"]);
    let row = |row: &Vec<&str>| {
        assert!(!row[3].is_empty(), "{} has no meaning", row[2]);
        (
            row[2].to_string(),
            row[0].parse().unwrap(),
            row[1].parse().unwrap(),
        )
    };
    table.rows.iter().map(row).collect()
}

/// Compares a table with a struct that begins at `base`. The pattern does not compile when a field is missing here.
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
        Content {
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
            generation,
            next_id,
            sectors,
            began,
            before,
            designation,
        }
    );
}

/// The bytes of a block that a field of the document names.
fn field<'b>(heading: &str, name: &str, bytes: &'b [u8]) -> &'b [u8] {
    let fields = documented(heading);
    let (_, offset, size) = fields.iter().find(|(known, ..)| known == name).unwrap();
    &bytes[*offset..*offset + *size]
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
        let checksum = crc32c::crc32c(&copy).to_le_bytes();
        assert_eq!(field("Seal", "checksum", block), checksum);
    }
    // What follows the headers, where the document says that it does.
    assert_eq!(blocks[1][80..84], 5u32.to_le_bytes());
    assert!(TEXT.contains("From offset 80 on."));
    assert_eq!(blocks[2][56..59], [1, 2, 3]);
    assert!(TEXT.contains("bytes of data, from offset 56 on"));
}

/// The document's rows under columns that begin with this one.
fn rows(first: &str) -> Vec<Vec<&'static str>> {
    let mut tables = tables()
        .into_iter()
        .filter(|table| table.columns[0] == first);
    let table = tables.next().unwrap();
    assert!(tables.next().is_none(), "two tables of {first}");
    table.rows
}

#[test]
fn constants() {
    let code = BTreeMap::from([
        ("BLOCK_BYTES", BLOCK_BYTES as u64),
        ("VERSION", VERSION.into()),
        ("MAX_CONTENTS", MAX_CONTENTS as u64),
        ("MAX_ENTRIES", MAX_ENTRIES as u64),
        ("IMAGE_DATA", IMAGE_DATA as u64),
        ("MAX_DATA", crate::image::MAX_DATA as u64),
        ("POSITION_BITS", crate::image::POSITION_BITS.into()),
        ("REGION_CHUNKS", crate::region::chunks(0, u64::MAX).end),
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
        format!("a: the bitmap; b: which {} bits", crate::bitmap::LEAF_BITS),
        format!("{STATE_OPEN} open"),
        format!("{STATE_CLOSED} closed"),
        format!("{STATE_BROKEN} broken"),
        format!("{KIND_CONTENTS}: contents follow the block; {KIND_ENTRIES}: the entries"),
        format!("{}: a bookmark", crate::image::FLAG_BOOKMARK),
        format!(
            "{}: unprotected chunks are",
            crate::image::FLAG_KEEP_UNPROTECTED
        ),
        format!("{}: incremental", crate::image::FLAG_INCREMENTAL),
        format!("{}: narrowed", crate::image::FLAG_NARROWED),
    ] {
        assert!(TEXT.contains(&words), "{words}");
    }
    assert_eq!(SUPERBLOCKS, [0, 1]);
}

/// A number for each name of a word, so that they can be told apart.
fn word(name: &str) -> u64 {
    let names = [
        "segment",
        "epoch",
        "sectors",
        "id",
        "time_ns",
        "base",
        "start",
        "end",
        "region",
        "generation",
        "chunk",
    ];
    100 + names.iter().position(|known| *known == name).unwrap() as u64
}

/// An entry of each kind, made of those numbers. A new kind does not compile until it is here.
fn entry(name: &str, flags: bool) -> Entry {
    let run = Chunks {
        start: word("start"),
        end: word("end"),
    };
    let (segment, epoch, id) = (word("segment"), word("epoch"), word("id"));
    let all = [
        Entry::Segment { segment, epoch },
        Entry::Epoch {
            epoch,
            sectors: word("sectors"),
        },
        Entry::Snapshot {
            id,
            time_ns: word("time_ns"),
            base: word("base"),
            keep_unprotected: flags,
            reset: flags.then_some(true),
        },
        Entry::DropUpTo(id),
        Entry::Drop(id),
        Entry::Forget(id),
        Entry::Release(id, run),
        Entry::Protect(run, flags),
        Entry::Narrow(id),
        Entry::Region {
            region: word("region"),
            epoch,
            generation: word("generation"),
        },
        Entry::Gone {
            chunk: word("chunk"),
            epoch,
        },
    ];
    let named = |entry: &Entry| {
        name == match entry {
            Entry::Segment { .. } => "segment",
            Entry::Epoch { .. } => "epoch",
            Entry::Snapshot { .. } => "snapshot",
            Entry::DropUpTo(_) => "drop_up_to",
            Entry::Drop(_) => "drop",
            Entry::Forget(_) => "forget",
            Entry::Release(..) => "release",
            Entry::Protect(..) => "protect",
            Entry::Narrow(_) => "narrow",
            Entry::Region { .. } => "region",
            Entry::Gone { .. } => "gone",
        }
    };
    *all.iter().find(|entry| named(entry)).unwrap()
}

#[test]
fn entries() {
    let rows = rows("kind");
    for row in &rows {
        let raw = entry(row[1], false).to_raw();
        assert_eq!(raw.kind.get(), row[0].parse::<u32>().unwrap(), "{}", row[1]);
        let mut words: Vec<_> = row[2].split(' ').map(word).collect();
        words.resize(3, 0);
        assert_eq!(raw.words.map(U64::get), words[..], "{}", row[1]);
        assert_eq!(raw.flags.get(), 0, "{}", row[1]);
    }
    // The code knows no kind that the document has not.
    let mut raw = RawEntry::new_zeroed();
    for kind in 0..200 {
        raw.kind = U32::new(kind);
        let listed = rows.iter().any(|row| row[0] == kind.to_string());
        assert_eq!(Entry::from_raw(raw).is_some(), listed, "{kind}");
    }
}

#[test]
fn flags() {
    let mut sums: BTreeMap<&str, u32> = BTreeMap::new();
    for row in rows("flag") {
        let flag: u32 = row[0].parse().unwrap();
        *sums.entry(row[1]).or_default() += flag;
        let mut raw = entry(row[1], false).to_raw();
        // The default of a reset is only looked at together with it.
        raw.flags = U32::new(flag | if row[2] == "reset_protected" { 2 } else { 0 });
        let shows = match (row[2], Entry::from_raw(raw).unwrap()) {
            (
                "keep_unprotected",
                Entry::Snapshot {
                    keep_unprotected, ..
                },
            ) => keep_unprotected,
            ("reset", Entry::Snapshot { reset, .. }) => reset == Some(false),
            ("reset_protected", Entry::Snapshot { reset, .. }) => reset == Some(true),
            ("protected", Entry::Protect(_, protected)) => protected,
            other => panic!("{other:?}"),
        };
        assert!(shows, "{}", row[2]);
    }
    for row in rows("kind") {
        let all = entry(row[1], true).to_raw().flags.get();
        assert_eq!(all, sums.get(row[1]).copied().unwrap_or(0), "{}", row[1]);
    }
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

/// A new kind does not compile until it is here; then the list below is not as long as the document's.
fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Bitmap => "bitmap",
        Kind::Leaf => "leaf",
        Kind::Designation => "designation",
        Kind::Stretch => "stretch",
        Kind::Epoch => "epoch",
        Kind::Index => "index",
        Kind::Segments => "segments",
        Kind::Snapshot => "snapshot",
        Kind::State => "state",
        Kind::End => "end",
    }
}

/// The head of an item is private to `image`: its fields are found in an image that it makes.
#[test]
fn items() {
    let rows = documented("Item head");
    let names: Vec<_> = rows.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names, ["kind", "len", "words"]);
    let kinds = [
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
    let listed = self::rows("item");
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
