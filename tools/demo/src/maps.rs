// SPDX-License-Identifier: GPL-2.0

//! Where the demo's maps come from: the command, sysfs, the filesystem, and a stream's own extents.

#![forbid(unsafe_code)]

use std::fs;
use std::fs::File;
use std::io::BufReader;
use std::io::Read;
use std::path::PathBuf;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use preserve::copy::stream::format::RawFrame;
use preserve::copy::stream::format::RawHeader;
use preserve::copy::stream::format::FRAME_DATA;
use preserve::copy::stream::format::FRAME_END;
use preserve::copy::stream::format::MAGIC;
use preserve::device;
use serde_json::Value;
use zerocopy::FromBytes;
use zerocopy::IntoBytes;

use crate::chunks::Chunks;
use crate::setup::NAME;
use crate::tell::run;

/// Bytes of a chunk; what `preserve create` takes when it is not told otherwise.
pub const CHUNK: usize = 4096;
/// Bytes of a digest in a stream.
const DIGEST: i64 = 32;

/// A field of `preserve status live --json`.
pub fn status(field: &str) -> Result<u64> {
    json()?[field]
        .as_u64()
        .with_context(|| format!("preserve status --json has no number {field}"))
}

/// Snapshots and bookmarks, with everything that `preserve status live --json` says about them.
pub fn snapshots() -> Result<Vec<Value>> {
    let list = json()?["snapshots"].as_array().cloned();
    list.context("preserve status --json has no list of snapshots")
}

fn json() -> Result<Value> {
    let text = run(&format!("preserve status {NAME} --json"))?;
    serde_json::from_str(&text).context("preserve status --json")
}

/// Chunks of the live device.
pub fn total_chunks() -> Result<usize> {
    ensure!(
        status("chunk_bytes")? == CHUNK as u64,
        "the chunks have another size"
    );
    Ok(usize::try_from(status("origin_sectors")?)? * 512 / CHUNK)
}

/// `preserve map live KIND OPTIONS`.
pub fn map(kind: &str, options: &str, total: usize) -> Result<Chunks> {
    let text = run(&format!("preserve map {NAME} {kind} {options}"))?;
    Chunks::from_map(&text, total)
}

/// A bitmap in the live device's folder in sysfs: another way to the same maps than the command's.
pub fn sysfs(name: &str, total: usize) -> Result<Chunks> {
    let number = device::number(device::find(NAME)?.device);
    let path = PathBuf::from("/sys/dev/block")
        .join(number)
        .join("preserve")
        .join(name);
    let bits = fs::read(&path).with_context(|| path.display().to_string())?;
    Chunks::from_bits(&bits, total)
}

/// Where files lie, as `filefrag` says, which is no part of this project.
pub fn file_extents(files: &[&str], total: usize) -> Result<Chunks> {
    let mut chunks = Chunks::none(total);
    for file in files {
        let text = run(&format!("filefrag -v -b{CHUNK} {file}"))?;
        let before = chunks.count();
        // "   0:        0..    1023:      34816..     35839:   1024:             last,eof"
        for line in text.lines() {
            let mut fields = line.split(':').map(str::trim);
            let number = fields.next().unwrap_or_default();
            if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
                continue;
            }
            let what = || format!("filefrag: {line:?}");
            let place = fields.nth(1).with_context(what)?;
            let len = fields
                .next()
                .with_context(what)?
                .parse()
                .with_context(what)?;
            let (start, _) = place.split_once("..").with_context(what)?;
            chunks.add(start.parse().with_context(what)?, len)?;
        }
        let found = (chunks.count() - before) * CHUNK;
        let size = usize::try_from(fs::metadata(file)?.len())?;
        ensure!(
            found == size,
            "filefrag finds {found} bytes of {file}, which has {size}"
        );
    }
    Ok(chunks)
}

/// The chunks that a stream really carries, frame by frame. The content is passed over: whether it
/// is whole is for `preserve apply` to see, and what it is shows in the copy.
pub fn stream(path: &str, total: usize) -> Result<Chunks> {
    let mut file = BufReader::new(File::open(path)?);
    let header: RawHeader = get(&mut file)?;
    ensure!(header.magic == MAGIC, "{path} is no stream");
    let mut chunks = Chunks::none(total);
    loop {
        // Each part is followed by a digest of all before it.
        file.seek_relative(DIGEST)?;
        let frame: RawFrame = get(&mut file)?;
        if frame.kind.get() == FRAME_END {
            ensure!(
                frame.chunks.get() == chunks.count() as u64,
                "{path}: the totals are wrong"
            );
            return Ok(chunks);
        }
        ensure!(
            frame.kind.get() == FRAME_DATA,
            "{path}: a frame of unknown kind"
        );
        chunks.add(
            frame.start.get().try_into()?,
            frame.chunks.get().try_into()?,
        )?;
        file.seek_relative(frame.bytes.get().try_into()?)?;
    }
}

fn get<T: FromBytes + IntoBytes>(file: &mut impl Read) -> Result<T> {
    let mut value = T::new_zeroed();
    file.read_exact(value.as_mut_bytes())
        .context("the stream ends too early")?;
    Ok(value)
}
