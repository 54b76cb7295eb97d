// SPDX-License-Identifier: GPL-2.0

//! Stores whose logical blocks are larger than the origin's: whatever is read from them or written
//! to them is whole blocks, though the live device and its views have the origin's.

#![forbid(unsafe_code)]

use std::fs;
use std::fs::File;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use vmtest::cmd;
use vmtest::control::Piece;
use vmtest::disk::Buffer;
use vmtest::disk::Disk;
use vmtest::dm::Dm;
use vmtest::live;
use vmtest::live::Kind;
use vmtest::live::Live;
use vmtest::nullblk::NullBlk;
use vmtest::pattern;
use vmtest::rig::Spec;
use vmtest::skipped::Skipped;

use super::bad_table::refused;
use super::both;
use super::test;
use super::Test;
use crate::Env;

pub const TESTS: &[Test] = &[
    both(test(
        "i1_a_store_has_larger_blocks_than_the_origin",
        larger_blocks,
    )),
    test(
        "i8_persistent_stores_with_blocks_over_4k_are_refused",
        over_4k,
    ),
];

/// The device's length: its last chunk has 3 sectors.
const SECTORS: u64 = 1003;

/// The disks of 4 KiB blocks refuse bios with a gap between pieces, where they cannot divide them.
const BLOCKS_4K: &[(&str, &str)] = &[("blocksize", "4096"), ("virt_boundary", "1")];

/// Parts of the device in blocks and chunks of all states: start and length.
const PARTS: &[(u64, u64)] = &[
    (0, 1),
    (3, 7),
    (5, 64),
    (79, 2),
    (8, 16),
    (501, 3),
    (SECTORS - 1, 1),
    (SECTORS - 3, 3),
    (0, SECTORS),
];

/// Compares a snapshot of nothing but stamp 1 with all that a view and the ioctl read of it.
fn check_frozen(live: &Live, id: u64) -> Result<()> {
    let view = live.view("vt-view", id, &[])?;
    let block = cmd::run("blockdev", &["--getss", view.path()])?;
    ensure!(block.trim() == "512", "the view has blocks of {block}");
    let frozen = Disk::open_ro(view.path())?;
    for &(start, len) in PARTS {
        let what = || format!("{len} sectors at {start}");
        let stamps = vec![1; len as usize];
        frozen.check(start, &stamps).with_context(what)?;
        let mut buffer = Buffer::new(len);
        let piece = live.control.read(id, start, &mut buffer);
        let piece = piece.with_context(what)?;
        ensure!(piece == Piece::Data(len), "{}: {piece:?}", what());
        pattern::check(&buffer, start, &stamps).with_context(what)?;
    }
    // A whole block, in pieces that a disk of such blocks does not take.
    let mut at = 8;
    for piece in frozen.read_pieces(at, &[1, 7])? {
        let sectors = piece.len() / pattern::SECTOR;
        pattern::check(&piece, at, &vec![1; sectors])?;
        at += sectors as u64;
    }
    Ok(())
}

fn larger_blocks(_: &Env) -> Result<()> {
    let kind = Spec::mb(1).kind;
    let origin = NullBlk::new("vt-origin", 2)?;
    let store = NullBlk::with("vt-store", 80, BLOCKS_4K)?;
    let create = || {
        Live::create(
            "vt-live",
            kind,
            SECTORS,
            origin.path(),
            store.path(),
            8,
            &[],
        )
    };
    let live = create()?;
    let disk = live.disk()?;
    disk.stamp_all(SECTORS, 1)?;
    let id = live.snapshot()?;
    for (start, len) in [(0, 80), (500, 9), (SECTORS - 2, 2)] {
        disk.stamp(start, len, 2)?;
    }
    check_frozen(&live, id)?;
    drop(disk);
    drop(live);
    if kind == Kind::Persistent {
        check_frozen(&create()?, id).context("after a removal")?;
    }
    Ok(())
}

/// A loop device with blocks of 8 KiB; gone when dropped.
struct Blocks8k(String);

impl Blocks8k {
    const FILE: &str = "/tmp/vt-blocks.img";

    /// None on a kernel that has no such blocks.
    fn new() -> Result<Option<Self>> {
        File::create(Self::FILE)?.set_len(64 << 20)?;
        let args = ["-f", "--show", "-b", "8192", Self::FILE];
        let made = cmd::output("losetup", &args, "")?;
        Ok(made.ok.then(|| Self(made.stdout.trim().into())))
    }
}

impl Drop for Blocks8k {
    fn drop(&mut self) {
        if let Err(e) = cmd::run("losetup", &["-d", &self.0]) {
            eprintln!("{e}");
        }
        let _ = fs::remove_file(Self::FILE);
    }
}

fn over_4k(_: &Env) -> Result<()> {
    let Some(store) = Blocks8k::new()? else {
        let _ = fs::remove_file(Blocks8k::FILE);
        return Err(Skipped::without(
            "logical blocks over 4 KiB (CONFIG_TRANSPARENT_HUGEPAGE)",
        ));
    };
    let origin = NullBlk::new("vt-origin", 2)?;
    let table = |kind, chunk| live::table(kind, SECTORS, origin.path(), &store.0, chunk, &[]);
    let words = "logical blocks of 4 KiB or less";
    refused(&table(Kind::Persistent, 16), words, false)?;
    let words = "chunk size is smaller";
    refused(&table(Kind::Transient, 8), words, false)?;
    drop(Dm::create("vt-good", &table(Kind::Transient, 16))?);
    Ok(())
}
