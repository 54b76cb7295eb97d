// SPDX-License-Identifier: GPL-2.0

//! Discards and write-zeroes, small and as large as the device.

#![forbid(unsafe_code)]

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use preserve::uapi::Range;
use vmtest::disk::Disk;
use vmtest::rig::Rig;
use vmtest::rig::Spec;

use super::slow;
use super::test;
use super::Test;
use crate::Env;

pub const TESTS: &[Test] = &[
    test("discards_keep_what_is_needed_and_pass_otherwise", discards),
    test("write_zeroes_preserve_what_they_overwrite", zeroes),
    slow("write_zeroes_of_a_whole_large_device", 120, whole),
    slow("overlapping_large_write_zeroes", 120, overlapping),
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
