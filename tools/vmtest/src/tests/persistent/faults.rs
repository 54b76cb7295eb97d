// SPDX-License-Identifier: GPL-2.0

//! Disks with faults, made of device-mapper targets: parts that cannot be read or written, writes that take long, and flushes
//! that fail while reads and writes go on.

#![forbid(unsafe_code)]

use std::fs;
use std::ops::Range;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use rustix::io::Errno;
use vmtest::cmd::wait_until;
use vmtest::disk::expect_errno;
use vmtest::disk::Disk;
use vmtest::dm::Dm;

/// For [`failing`].
pub const READS: &str = "error_reads";
/// For [`failing`].
pub const WRITES: &str = "error_writes";

const LIMIT: Duration = Duration::from_secs(20);

/// A table that shows the first `sectors` of a disk, with another target for a part of it.
pub fn with_part(disk: &str, sectors: u64, part: &Range<u64>, target: &str) -> String {
    let Range { start, end } = *part;
    let mut table = String::new();
    if start > 0 {
        table += &format!("0 {start} linear {disk} 0\n");
    }
    table += &format!("{start} {} {target}\n", end - start);
    if end < sectors {
        table += &format!("{end} {} linear {disk} {end}\n", sectors - end);
    }
    table
}

/// A target for the part from `start` on: one kind of I/O fails.
pub fn failing(disk: &str, start: u64, kind: &str) -> String {
    format!("flakey {disk} {start} 0 3600 1 {kind}")
}

/// A target for the part from `start` on: writes wait there, flushes do not. A suspend lets them go.
pub fn slow(disk: &str, start: u64) -> String {
    format!("delay {disk} {start} 0 {disk} {start} 30000 {disk} {start} 0")
}

/// A table for a disk of which all flushes fail: a flush goes to each target of a table, and that of a block behind the end
/// ends it with an error.
pub fn no_flushes(disk: &str, sectors: u64) -> String {
    let behind = sectors..sectors + 8;
    with_part(disk, behind.end, &behind, &failing(disk, sectors, WRITES))
}

/// Fails unless flushes of a device fail, and reads and writes do not.
pub fn only_flushes_fail(device: &Dm) -> Result<()> {
    let disk = Disk::open(device.path())?;
    expect_errno("a flush", disk.flush(), Errno::IO)?;
    let found = disk.read(0, 8)?;
    Ok(disk.write(0, &found)?)
}

/// How many flushes a disk has done.
pub fn flushes(disk: &str) -> Result<u64> {
    let path = format!("/sys/block/{}/stat", disk.trim_start_matches("/dev/"));
    let stat = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let count = stat.split_whitespace().nth(15).context("no flushes")?;
    Ok(count.parse()?)
}

/// Waits until a disk has done another flush, and what comes behind it has begun.
pub fn flushed(disk: &str, before: u64) -> Result<()> {
    wait_until("the disk is flushed", LIMIT, || Ok(flushes(disk)? > before))?;
    thread::sleep(Duration::from_millis(500));
    Ok(())
}
