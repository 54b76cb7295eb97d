// SPDX-License-Identifier: GPL-2.0

//! Disks with faults, made of device-mapper targets: parts that cannot be read or written, writes
//! that take long, and flushes that fail while reads and writes go on.

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

/// A table that shows the first `sectors` of a disk, with other targets for parts of it, in their
/// order.
pub fn with_parts(disk: &str, sectors: u64, parts: &[(Range<u64>, String)]) -> String {
    let mut table = String::new();
    let mut at = 0;
    let end = (sectors..sectors, String::new());
    for (Range { start, end }, target) in parts.iter().chain([&end]) {
        if at < *start {
            table += &format!("{at} {} linear {disk} {at}\n", start - at);
        }
        if start < end {
            table += &format!("{start} {} {target}\n", end - start);
        }
        at = *end;
    }
    table
}

/// The same with one part.
pub fn with_part(disk: &str, sectors: u64, part: &Range<u64>, target: String) -> String {
    with_parts(disk, sectors, &[(part.clone(), target)])
}

/// A target for the part from `start` on: one kind of I/O fails.
pub fn failing(disk: &str, start: u64, kind: &str) -> String {
    format!("flakey {disk} {start} 0 3600 1 {kind}")
}

/// A target for the part from `start` on: writes wait there, flushes do not. A suspend lets them
/// go, early: what follows them may still go through the old table.
pub fn slow(disk: &str, start: u64) -> String {
    format!("delay {disk} {start} 0 {disk} {start} 30000 {disk} {start} 0")
}

/// The block behind so many sectors. A flush goes to each target of a table, and that of this block
/// may end it with an error.
pub fn behind(sectors: u64) -> Range<u64> {
    sectors..sectors + 8
}

/// A table for a disk of which all flushes fail.
pub fn no_flushes(disk: &str, sectors: u64) -> String {
    let behind = behind(sectors);
    with_part(disk, behind.end, &behind, failing(disk, sectors, WRITES))
}

/// A part of a disk on a device of its own, whose writes and flushes can fail while what is above
/// goes on as it was.
pub struct Part {
    dm: Dm,
    disk: String,
    range: Range<u64>,
}

impl Part {
    /// It works.
    pub fn new(disk: &str, range: Range<u64>) -> Result<Self> {
        Ok(Part {
            dm: Dm::linear("vt-part", disk, range.start, range.end - range.start)?,
            disk: disk.to_string(),
            range,
        })
    }

    /// For [`with_parts`].
    pub fn target(&self) -> (Range<u64>, String) {
        (self.range.clone(), format!("linear {} 0", self.dm.path()))
    }

    /// Writes and flushes fail from now on.
    pub fn fail(&self) -> Result<()> {
        let Range { start, end } = self.range;
        let target = failing(&self.disk, start, WRITES);
        self.dm.swap(&format!("0 {} {target}", end - start))
    }

    /// They pass again.
    pub fn mend(&self) -> Result<()> {
        let Range { start, end } = self.range;
        self.dm
            .swap(&format!("0 {} linear {} {start}", end - start, self.disk))
    }
}

/// Fails unless flushes of a device fail, and reads and writes do not.
pub fn only_flushes_fail(device: &Dm) -> Result<()> {
    let disk = Disk::open(device.path())?;
    expect_errno("a flush", disk.flush(), Errno::IO)?;
    let found = disk.read(0, 8)?;
    Ok(disk.write(0, &found)?)
}

/// Whether a write waits in the [`slow`] part of a device: its status has the reads, writes and
/// flushes that are delayed.
pub fn is_held(device: &Dm) -> Result<bool> {
    let status = device.status()?;
    let (_, delayed) = status.split_once("delay ").context("no slow part")?;
    Ok(delayed.split_whitespace().nth(1) == Some("1"))
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
