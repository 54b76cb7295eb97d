// SPDX-License-Identifier: GPL-2.0

//! Inputs to begin with: stores that the module's code has made, their checkpoints and blocks,
//! streams, and examples of what people write.

#![forbid(unsafe_code)]

use offline::builder::Builder;
use offline::builder::Built;
use preserve::copy::state::Position;
use preserve::copy::state::State;
use preserve::copy::stream::Header;
use uuid::Uuid;
use zerocopy::IntoBytes;

use super::image::LAYOUT;
use crate::sparse::encode;
use crate::sparse::Sparse;
use crate::sparse::BLOCKS;
use dm_preserve_core::format::Block;
use dm_preserve_core::format::Layout;
use dm_preserve_core::format::Record;
use dm_preserve_core::format::Superblock;
use dm_preserve_core::format::BLOCK_BYTES;
use dm_preserve_core::maps::Geometry;
use dm_preserve_core::store::load;
use dm_preserve_core::store::Disk;
use dm_preserve_core::store::ImageReader;
use dm_preserve_core::uapi;
use offline::Copies;

/// An input: its target, a name, and the bytes.
pub struct Seed(pub &'static str, pub String, pub Vec<u8>);

/// All of them. An error number is that of the module's code, which made no store.
pub fn seeds() -> Result<Vec<Seed>, i32> {
    let mut seeds = Vec::new();
    for (name, mut builder) in stores()? {
        let bytes = builder.bytes().clone();
        let (superblock, layout) = superblock(&bytes).ok_or(-22)?;
        let first = layout.image_block(superblock.image_area.get());
        let image = first..first + superblock.image_used.get();
        let (cut, items) = image_seed(&bytes, &superblock, &layout).ok_or(-22)?;
        let wanted = |at: u64, block: &Block| match Record::from_block(block) {
            Ok(record) => record.header.sequence.get() >= cut,
            Err(_) => at == 0 || image.contains(&at),
        };
        seeds.push(Seed("store", name.into(), encode(&bytes, wanted)));
        if layout == LAYOUT {
            seeds.push(Seed("image", name.into(), items));
        }
        if name == "log" {
            seeds.extend(block_seeds(&bytes, wanted));
        }
    }
    seeds.extend(stream_seeds());
    seeds.extend(request_seeds());
    seeds.extend(arg_seeds());
    Ok(seeds)
}

fn stores() -> Built<Vec<(&'static str, Builder)>> {
    let new = |chunk_sectors| Builder::new(BLOCKS, 5000 * chunk_sectors, chunk_sectors);
    let mut log = new(8)?;
    everything(&mut log, 0)?;
    let mut saved = new(8)?;
    everything(&mut saved, 0)?;
    saved.checkpoint()?;
    let mut both = new(8)?;
    everything(&mut both, 0)?;
    both.checkpoint()?;
    everything(&mut both, 1)?;
    let mut large = new(16)?;
    everything(&mut large, 0)?;
    large.reopen()?;
    everything(&mut large, 0)?;
    let mut closed = new(8)?;
    everything(&mut closed, 1)?;
    closed.close()?;
    // The record in the middle is missing, and later ones prove that it was durable; or do not.
    let mut torn = new(8)?;
    torn.in_flight = 8;
    everything(&mut torn, 0)?;
    let mut damaged = new(8)?;
    everything(&mut damaged, 0)?;
    for builder in [&mut torn, &mut damaged] {
        builder.block(6).fill(0);
    }
    Ok(vec![
        ("new", new(8)?),
        ("log", log),
        ("saved", saved),
        ("both", both),
        ("large", large),
        ("closed", closed),
        ("torn", torn),
        ("damaged", damaged),
    ])
}

/// A record of each kind.
fn everything(builder: &mut Builder, segment: u64) -> Built<()> {
    let base = builder.snapshot()?;
    builder.protect(1, 4, false)?;
    let id = builder.incremental(base)?;
    builder.segment(segment)?;
    builder.copy(&[(5, 1), (6, 2), (100, 3)])?;
    builder.region(3)?;
    builder.gone(77)?;
    builder.narrow(id)?;
    builder.release(id, 9, 12)?;
    builder.copy(&[(4999, 4)])?;
    builder.drop_snapshot(base)?;
    builder.snapshot()?;
    builder.forget(base)?;
    builder.region(0)?;
    Ok(())
}

fn block(bytes: &[u8], at: u64) -> Option<&Block> {
    let at = usize::try_from(at).ok()? * BLOCK_BYTES;
    bytes.get(at..)?.first_chunk()
}

fn superblock(bytes: &[u8]) -> Option<(Superblock, Layout)> {
    let superblock = Superblock::from_block(block(bytes, 0)?).ok()?;
    Some((superblock, Layout::from_superblock(&superblock)?))
}

/// The number of the first record behind a checkpoint, and its items as the target `image` takes
/// them.
fn image_seed(bytes: &[u8], superblock: &Superblock, layout: &Layout) -> Option<(u64, Vec<u8>)> {
    let mut disk = Sparse::default();
    for at in 0..BLOCKS {
        disk.write(at, block(bytes, at)?).ok()?;
    }
    let (area, image) = (superblock.image_area.get(), superblock.image_number.get());
    let (store, used) = (superblock.store, superblock.image_used.get());
    let sectors = superblock.origin_sectors.get();
    let mut input = sectors.to_le_bytes().to_vec();
    let mut reader = ImageReader::new(&mut disk, store, layout, area, image, used).ok()?;
    while let Some(item) = reader.next().ok()? {
        // CAST: Ten kinds, the first of which is 1; at most 4096 bytes.
        input.push(item.kind as u8 + 1);
        input.extend(item.words.iter().flat_map(|word| word.to_le_bytes()));
        input.extend_from_slice(&(item.data.len() as u16).to_le_bytes());
        input.extend_from_slice(item.data);
    }
    let shape = Geometry::new(sectors, layout.chunk_blocks * 8)?;
    let mut reader = ImageReader::new(&mut disk, store, layout, area, image, used).ok()?;
    let known = load::load(&mut reader, shape, layout, &Copies::maker(layout)).ok()?;
    Some((known.place.sequence, input))
}

fn block_seeds(bytes: &[u8], wanted: impl Fn(u64, &Block) -> bool) -> Vec<Seed> {
    let blocks = (0..BLOCKS).filter_map(|at| Some((at, block(bytes, at)?)));
    let sealed = blocks.filter(|(at, block)| block.starts_with(b"dmprsv1") && wanted(*at, block));
    let seed = |(at, block): (u64, &Block)| {
        let len = block.iter().rposition(|byte| *byte != 0).unwrap_or(0) + 1;
        Seed("blocks", format!("block-{at}"), block[..len].to_vec())
    };
    sealed.map(seed).collect()
}

fn header(from: u64) -> Header {
    Header {
        generation: Uuid::from_bytes([8; 16]),
        from,
        to: 5,
        time_ns: 1_700_000_000_000_000_000,
        origin_bytes: 9 * 1024 - 512,
        chunk_bytes: 1024,
    }
}

/// A stream without its digests.
fn frames(header: &Header) -> Vec<u8> {
    use preserve::copy::stream::format::RawFrame;
    use preserve::copy::stream::format::RawHeader;
    let frame = |kind: u32, start: u64, chunks: u64, bytes: u64| RawFrame {
        kind: kind.into(),
        flags: 0.into(),
        start: start.into(),
        chunks: chunks.into(),
        bytes: bytes.into(),
    };
    let mut bytes = vec![0];
    bytes.extend_from_slice(RawHeader::from(header).as_bytes());
    bytes.extend_from_slice(frame(1, 2, 1, 1024).as_bytes());
    bytes.extend_from_slice(&[7; 1024]);
    bytes.extend_from_slice(frame(1, 8, 1, 512).as_bytes());
    bytes.extend_from_slice(&[9; 512]);
    bytes.extend_from_slice(frame(2, 2, 2, 1536).as_bytes());
    bytes
}

fn stream_seeds() -> Vec<Seed> {
    let (full, next) = (header(0), header(3));
    let mut state = State::new();
    state.at = Some(Position {
        snapshot: 3,
        ..Position::after(&next, "00")
    });
    let mut half = state.clone();
    half.applying = Some(Position::after(&next, "11"));
    let apply = |flags: u8, kib: u8, state: &State, header: &Header| {
        let state = serde_json::to_vec(state).unwrap_or_default();
        let mut input = vec![flags, kib];
        // CAST: Some hundred bytes.
        input.extend_from_slice(&(state.len() as u16).to_le_bytes());
        input.extend_from_slice(&state);
        input.extend_from_slice(&frames(header));
        input
    };
    vec![
        Seed("stream", "full".into(), frames(&full)),
        Seed("stream", "increment".into(), frames(&next)),
        Seed("apply", "new".into(), apply(2, 0, &state, &full)),
        Seed("apply", "overwrite".into(), apply(1, 9, &state, &full)),
        Seed("apply", "next".into(), apply(0, 8, &state, &next)),
        Seed("apply", "half".into(), apply(0, 9, &half, &next)),
    ]
}

fn request_seeds() -> Vec<Seed> {
    // CAST: A struct's size.
    let sized = |number: u32, argument: &[u8]| {
        let mut bytes = argument.to_vec();
        bytes[..4].copy_from_slice(&(argument.len() as u32).to_le_bytes());
        bytes.insert(0, number as u8);
        bytes
    };
    let edit = |flags: u32| {
        let argument = uapi::EditRanges {
            flags,
            count: 3,
            ..uapi::EditRanges::default()
        };
        let mut bytes = sized(uapi::NR_EDIT, argument.as_bytes());
        bytes.extend_from_slice(&600_001u64.to_le_bytes());
        bytes.push(0);
        for word in [0u64, 100, 1003, 9, 300_000, 300_001] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes
    };
    let extents = uapi::ListExtents::default();
    vec![
        Seed("requests", "protect".into(), edit(0)),
        Seed("requests", "unprotect".into(), edit(uapi::EDIT_UNPROTECT)),
        Seed(
            "requests",
            "extents".into(),
            sized(uapi::NR_EXTENTS, extents.as_bytes()),
        ),
    ]
}

fn arg_seeds() -> Vec<Seed> {
    let lines = [
        "253:0 253:1 8",
        "/dev/vg/data /dev/vg/store 64 4 transient on_full=block on_error=block low_space=90",
        "253:0 253:1 8 3 keep_unprotected default=unprotected reset_protection",
        "live latest 1 unprotected=error",
        "live 17",
        "snapshot incremental from=3 keep=2",
        "snapshot full",
        "release 3 2048 8192",
        "unprotect 2048 8192",
        "drop 4",
        "forget 4",
        "checkpoint",
        "2048+8192",
    ];
    let seed =
        |(n, line): (usize, &&str)| Seed("args", format!("line-{n}"), line.as_bytes().into());
    lines.iter().enumerate().map(seed).collect()
}
