// SPDX-License-Identifier: GPL-2.0

//! Discards and write-zeroes, small and as large as the device.

#![forbid(unsafe_code)]

use std::fs;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use preserve::uapi::Range;
use vmtest::disk::Disk;
use vmtest::rig::Rig;
use vmtest::rig::Spec;

use super::both;
use super::slow;
use super::test;
use super::Test;
use crate::health;
use crate::Env;

pub const TESTS: &[Test] = &[
    test("discards_keep_what_is_needed_and_pass_otherwise", discards),
    test("write_zeroes_preserve_what_they_overwrite", zeroes),
    slow("write_zeroes_of_a_whole_large_device", 120, whole),
    slow("overlapping_large_write_zeroes", 120, overlapping),
    both(slow(
        "a_terabyte_of_protected_free_space_is_discarded_at_once",
        120,
        free_space,
    )),
    slow("what_is_all_marked_is_not_cut", 120, all_marked),
    both(slow(
        "a_release_of_a_whole_large_device_takes_no_memory",
        120,
        released,
    )),
];

fn discards(_: &Env) -> Result<()> {
    let rig = Rig::new(&Spec::mb(4))?;
    let disk = rig.disk()?;
    let all = rig.sectors() as usize;
    disk.stamp_all(rig.sectors(), 1)?;
    // Without a snapshot nothing is needed: all goes through, and is marked.
    disk.discard(0, 800)?;
    disk.check(0, &[&[0; 800][..], &[1; 800]].concat())?;
    ensure!(rig.number("changed_chunks")? == 1024);
    disk.stamp_all(rig.sectors(), 1)?;
    let id = rig.snapshot()?;
    disk.discard(0, rig.sectors())?;
    disk.check(0, &vec![1; all]).context("needed chunks")?;
    ensure!(
        rig.number("changed_chunks")? == 0,
        "ignored discards left marks"
    );
    ensure!(
        rig.number("store_used_sectors")? == 0,
        "a discard used the store"
    );
    // Some are needed no longer, one by an overwrite, some by a release.
    disk.stamp(80, 8, 2)?;
    rig.control.release(id, 160, 80)?;
    disk.discard(0, rig.sectors())?;
    let mut now = vec![1; all];
    now[80..88].fill(0);
    now[160..240].fill(0);
    disk.check(0, &now).context("some are not needed")?;
    let marks: Vec<u64> = [10].into_iter().chain(20..30).collect();
    ensure!(
        rig.set_in("snapshot_map")? == marks,
        "marks after a discard"
    );
    // Parts of chunks.
    disk.discard(83, 90)?;
    disk.check(0, &now)?;
    let view = rig.view("vt-view", id, &[])?;
    let frozen = Disk::open_ro(view.path())?;
    frozen.check(0, &[1; 160])?;
    frozen.check(240, &[1; 800])?;
    rig.control.drop_snapshot(id)?;
    disk.discard(0, rig.sectors())?;
    disk.check(0, &vec![0; all])
}

fn zeroes(_: &Env) -> Result<()> {
    for sparse in [false, true] {
        let rig = Rig::new(&Spec {
            sparse,
            ..Spec::mb(4)
        })?;
        let disk = rig.disk()?;
        disk.stamp_all(rig.sectors(), 1)?;
        let id = rig.snapshot()?;
        for (start, len) in [(5, 1), (100, 300), (1000, 3000)] {
            disk.zero(start, len)?;
            disk.check(start, &vec![0; len as usize])?;
        }
        disk.check(400, &[1; 600])?;
        let view = rig.view("vt-view", id, &[])?;
        let all = vec![1; rig.sectors() as usize];
        view.check(0, &all)?;
        let preserved = rig.number("preserved_chunks")?;
        // 0; 12 to 49; 125 to 499.
        ensure!(preserved == 1 + 38 + 375, "{preserved} preserved");
    }
    Ok(())
}

/// Free memory in KiB.
fn available() -> Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"));
    let number = line.and_then(|l| l.split_whitespace().next());
    Ok(number.context("no MemAvailable")?.parse()?)
}

const GIB: u64 = 2 << 20;
/// What is protected of it: 16 stretches of 1 MiB.
const STRETCHES: u64 = 16;

fn large() -> Result<(Rig, Disk)> {
    let rig = Rig::new(&Spec {
        sectors: GIB,
        store: (STRETCHES + 1) * 2048,
        args: &["default=unprotected"],
        sparse: true,
        ..Spec::mb(1)
    })?;
    let disk = rig.disk()?;
    for i in 0..STRETCHES {
        let (start, len) = (i * GIB / STRETCHES, 2048);
        disk.stamp(start, len, i + 1)?;
        rig.control.edit(true, &[Range { start, len }])?;
    }
    Ok((rig, disk))
}

fn check_large(rig: &Rig, disk: &Disk, id: u64) -> Result<()> {
    let info = rig.control.info()?;
    ensure!(info.invalidated == 0, "the snapshot was given up");
    ensure!(
        info.changed_chunks == GIB / 8,
        "{} changed",
        info.changed_chunks
    );
    ensure!(
        info.preserved_chunks == STRETCHES * 256,
        "{} preserved",
        info.preserved_chunks
    );
    let view = rig.view("vt-view", id, &[])?;
    let frozen = Disk::open_ro(view.path())?;
    for i in 0..STRETCHES {
        let start = i * GIB / STRETCHES;
        frozen.check(start, &[i + 1; 2048])?;
        disk.check(start, &[0; 2048])?;
    }
    Ok(())
}

fn whole(_: &Env) -> Result<()> {
    let (rig, disk) = large()?;
    let id = rig.snapshot()?;
    let before = available()?;
    let least = thread::scope(|scope| -> Result<u64> {
        let zeroing = scope.spawn(|| disk.zero(0, GIB));
        let mut least = before;
        while !zeroing.is_finished() {
            least = least.min(available()?);
            thread::sleep(Duration::from_millis(5));
        }
        zeroing
            .join()
            .map_err(|_| anyhow::anyhow!("a thread died"))??;
        Ok(least)
    })?;
    // The store's content, and little else: not a second copy of the device.
    let used = before.saturating_sub(least) / 1024;
    ensure!(used < STRETCHES + 64, "it took {used} MiB of memory");
    check_large(&rig, &disk, id)
}

fn overlapping(_: &Env) -> Result<()> {
    let (rig, disk) = large()?;
    let id = rig.snapshot()?;
    thread::scope(|scope| -> Result<()> {
        let half = GIB / 2;
        let ranges = [
            (0, GIB),
            (half / 2, GIB - half / 2),
            (0, GIB - half / 2),
            (half, half),
        ];
        let jobs = ranges.map(|(start, len)| {
            // Each through an open file of its own, or the page cache's lock would put them in a
            // row.
            let disk = rig.disk();
            scope.spawn(move || -> Result<()> { Ok(disk?.zero(start, len)?) })
        });
        for job in jobs {
            job.join().map_err(|_| anyhow::anyhow!("a thread died"))??;
        }
        Ok(())
    })?;
    check_large(&rig, &disk, id)
}

const TIB: u64 = 2 << 30;

/// A device of a terabyte that nearly all is free space.
fn terabyte() -> Result<Rig> {
    Rig::new(&Spec {
        sectors: TIB,
        store: 16 * 2048,
        sparse: true,
        ..Spec::mb(1)
    })
}

fn free_space(_: &Env) -> Result<()> {
    let rig = terabyte()?;
    let disk = rig.disk()?;
    // Files at the beginning, in the middle and at the end.
    let files = [0, TIB / 2 + 24, TIB - 64];
    for start in files {
        disk.stamp(start, 64, 1)?;
    }
    rig.snapshot()?;
    // Two chunks are written since, in one word with others.
    disk.stamp(16, 16, 2)?;
    let begun = Instant::now();
    disk.discard(0, TIB)?;
    let taken = begun.elapsed();
    println!("a terabyte was discarded in {taken:?}");
    ensure!(taken < health::within(2), "it took {taken:?}");
    let mut first = [1; 64];
    first[16..32].fill(0);
    disk.check(0, &first)
        .context("what was written since goes, and nothing beside it")?;
    for start in &files[1..] {
        disk.check(*start, &[1; 64]).context("needed chunks")?;
    }
    let info = rig.control.info()?;
    ensure!(info.changed_chunks == 2, "{} changed", info.changed_chunks);
    ensure!(
        info.preserved_chunks == 2,
        "{} preserved",
        info.preserved_chunks
    );
    Ok(())
}

/// What the origin has been asked for: writes, with those of zeroes, and discards.
fn asked(rig: &Rig) -> Result<[u64; 2]> {
    let node = fs::canonicalize(rig.origin.path())?;
    let name = node.file_name().and_then(|name| name.to_str());
    let stat = fs::read_to_string(format!("/sys/block/{}/stat", name.context("no name")?))?;
    let number = |column| -> Result<u64> {
        let number = stat.split_whitespace().nth(column);
        Ok(number.context("a short line")?.parse()?)
    };
    Ok([number(4)?, number(11)?])
}

/// How many pieces the block layer makes of a request for all of a device.
fn pieces(rig: &Rig, limit: &str) -> Result<u64> {
    let node = fs::canonicalize(rig.dm.path())?;
    let name = node.file_name().and_then(|name| name.to_str());
    let path = format!("/sys/block/{}/queue/{limit}", name.context("no name")?);
    let most: u64 = fs::read_to_string(path)?.trim().parse()?;
    Ok((TIB * 512).div_ceil(most))
}

fn all_marked(_: &Env) -> Result<()> {
    let rig = terabyte()?;
    let disk = rig.disk()?;
    let before = rig.number("memory_bytes")?;
    disk.discard(0, TIB)?;
    ensure!(rig.number("changed_chunks")? == TIB / 8);
    let more = rig.number("memory_bytes")?.saturating_sub(before);
    // A leaf where a piece of the block layer ends; all would be 32 MiB.
    ensure!(more < 4 << 20, "its marks take {more} bytes");
    let [writes, discards] = asked(&rig)?;
    disk.discard(0, TIB)?;
    disk.zero(0, TIB)?;
    let now = asked(&rig)?;
    let (writes, discards) = (now[0] - writes, now[1] - discards);
    let most = [
        pieces(&rig, "write_zeroes_max_bytes")?,
        pieces(&rig, "discard_max_bytes")?,
    ];
    // One more where it does not begin with a whole piece.
    ensure!(
        writes <= most[0] + 1 && discards <= most[1] + 1,
        "{writes} of zeroes, {discards} discards, of {most:?}"
    );
    Ok(())
}

fn released(_: &Env) -> Result<()> {
    let rig = terabyte()?;
    let disk = rig.disk()?;
    disk.stamp(8, 8, 1)?;
    let id = rig.snapshot()?;
    let before = rig.number("memory_bytes")?;
    let begun = Instant::now();
    // The ends are in the middle of leaves.
    rig.control.release(id, 8, TIB - 16)?;
    let taken = begun.elapsed();
    println!("a terabyte was released in {taken:?}");
    ensure!(taken < health::within(5), "it took {taken:?}");
    let more = rig.number("memory_bytes")?.saturating_sub(before);
    ensure!(more <= 2 * 4096, "what is released takes {more} bytes");
    disk.discard(8, 64)?;
    disk.check(8, &[0; 64])?;
    // The first chunk is still needed, and the last one.
    disk.stamp(0, 8, 2)?;
    disk.stamp(TIB - 8, 8, 2)?;
    let preserved = rig.number("preserved_chunks")?;
    ensure!(preserved == 2, "{preserved} preserved");
    Ok(())
}
