// SPDX-License-Identifier: GPL-2.0

//! What a first overwrite costs the disks, by their own count: the same however many snapshots need
//! the chunk.

#![forbid(unsafe_code)]

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use vmtest::rig::Rig;
use vmtest::rig::Spec;

use crate::tests::slow;
use crate::tests::Test;
use crate::Env;

pub const TESTS: &[Test] = &[slow(
    "persistent_first_overwrites_cost_the_same_with_64_snapshots",
    120,
    same,
)];

/// Columns of a disk's `stat`.
const READS: usize = 0;
const WRITES: usize = 4;
const WRITTEN: usize = 6;
pub const FLUSHES: usize = 15;

/// First overwrites that are counted.
const COUNT: u64 = 96;
const MANY: u32 = 64;

/// A disk's own count.
pub fn number(disk: &str, column: usize) -> Result<u64> {
    let path = format!("/sys/block/{disk}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let number = stat.split_whitespace().nth(column);
    Ok(number.context("a short line")?.parse()?)
}

#[derive(Debug, PartialEq, Eq)]
struct Cost {
    origin_reads: u64,
    origin_writes: u64,
    store_writes: u64,
    store_sectors: u64,
}

/// The counts when they have come to rest: a disk counts an I/O only after its end has been told.
fn now() -> Result<Cost> {
    let mut last = counted()?;
    loop {
        thread::sleep(Duration::from_millis(50));
        let now = counted()?;
        if now == last {
            return Ok(now);
        }
        last = now;
    }
}

fn counted() -> Result<Cost> {
    Ok(Cost {
        origin_reads: number("vt-origin", READS)?,
        origin_writes: number("vt-origin", WRITES)?,
        store_writes: number("vt-store", WRITES)?,
        store_sectors: number("vt-store", WRITTEN)?,
    })
}

/// With so many snapshots, between any two of which something else was written.
fn cost(snapshots: u32) -> Result<Cost> {
    let rig = Rig::new(&Spec::mb(1).persistent())?;
    let disk = rig.disk()?;
    disk.stamp_all(rig.sectors(), 1)?;
    for n in 0..u64::from(snapshots) {
        rig.control.snapshot_keeping(None, MANY)?;
        disk.stamp((COUNT + n) * 8, 8, 2 + n)?;
    }
    // No checkpoint is under way.
    thread::sleep(Duration::from_millis(300));
    rig.settle()?;
    let before = now()?;
    for chunk in 0..COUNT {
        disk.stamp(chunk * 8, 8, 100)?;
    }
    let after = now()?;
    let info = rig.control.info()?;
    let copies = COUNT + u64::from(snapshots);
    ensure!(
        (info.snapshots, info.preserved_chunks) == (snapshots, copies),
        "{info:?}"
    );
    Ok(Cost {
        origin_reads: after.origin_reads - before.origin_reads,
        origin_writes: after.origin_writes - before.origin_writes,
        store_writes: after.store_writes - before.store_writes,
        store_sectors: after.store_sectors - before.store_sectors,
    })
}

fn same(_: &Env) -> Result<()> {
    let (one, many) = (cost(1)?, cost(MANY)?);
    ensure!(one == many, "{one:?} with one, {many:?} with {MANY}");
    let each = (one.origin_reads, one.origin_writes);
    ensure!(each == (COUNT, COUNT), "the origin: {one:?}");
    // A record each; and those of a few segments.
    let records = COUNT..=COUNT + 8;
    ensure!(records.contains(&one.store_writes), "the store: {one:?}");
    Ok(())
}
