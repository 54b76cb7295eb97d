// SPDX-License-Identifier: GPL-2.0

//! A device that logs all writes to it in the order in which they came to last (dm-log-writes), and
//! what a crash could have left on it.
//!
//! A write comes into the log when it is completed with FUA, or when a flush is completed that was
//! begun after the write's completion: just before that flush. So any prefix of the log is what is
//! there at least at some moment, when a volatile cache is lost as a whole. Of the writes that
//! stand before a flush, any part may be there before it is completed; and of a write with FUA any
//! sectors.
//!
//! A write with FUA stands before writes of the same sectors that it came after, while these are in
//! the cache: there must be none.
//!
//! Two flushes at once would be logged in the order of their completion, and what came to last with
//! the first to *begin* might stand behind the second. So flushes pass one thread (dm-delay's), and
//! then a queue that completes them in its order (the loop device's).

#![forbid(unsafe_code)]

mod image;

use std::fs::File;
use std::os::unix::fs::FileExt;

use anyhow::bail;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;

use crate::dm::Dm;
use crate::loopdev::Loop;
use crate::pattern::SECTOR;
pub use image::Image;

const MAGIC: u64 = 0x006a_7366_7773_6872;
const VERSION: u64 = 1;
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;
const MARK: u64 = 8;

/// A device over a loop device, of which all writes are logged.
pub struct Logged {
    ordered: Dm,
    dm: Dm,
    log: Loop,
}

impl Logged {
    /// Over a whole device; the log takes `mb` MiB of memory at most.
    pub fn over(disk: &Loop, sectors: u64, mb: u64) -> Result<Self> {
        let log = Loop::new("vt-log", mb)?;
        let table = format!("0 {sectors} log-writes {} {}", disk.path(), log.path());
        let dm = Dm::create("vt-logged", &table)?;
        // Reads and writes without a delay.
        let path = dm.path();
        let table = format!("0 {sectors} delay {path} 0 0 {path} 0 0 {path} 0 1");
        Ok(Logged {
            ordered: Dm::create("vt-ordered", &table)?,
            dm,
            log,
        })
    }

    /// Its node.
    pub fn path(&self) -> &str {
        self.ordered.path()
    }

    /// Removes it. What remains is the log.
    pub fn finish(mut self) -> Result<Log> {
        self.ordered.remove()?;
        let status = self.dm.status()?;
        ensure!(!status.contains("disabled"), "the log was full: {status}");
        self.dm.remove()?;
        Log::read(File::open(self.log.file())?)
    }
}

/// A log.
pub struct Log {
    file: File,
    /// What was written, in its order.
    pub entries: Vec<Entry>,
}

/// What was written at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The first sector.
    pub sector: u64,
    /// How many.
    pub sectors: u64,
    flags: u64,
    /// Where the data is in the log, in bytes.
    data: u64,
}

impl Entry {
    /// It was completed when it had come to last, and is no flush.
    pub fn is_fua(&self) -> bool {
        self.flags & FUA != 0
    }

    /// Before it was completed, everything before it lasted.
    pub fn is_flush(&self) -> bool {
        self.flags & FLUSH != 0
    }

    /// It changes something: neither an empty flush nor a mark.
    pub fn is_change(&self) -> bool {
        self.sectors > 0
    }

    /// It was in a volatile cache until the next flush.
    pub fn was_cached(&self) -> bool {
        self.flags & (FLUSH | FUA | MARK) == 0 && self.is_change()
    }
}

/// Reads `N` numbers.
fn numbers<const N: usize>(file: &File, at: u64) -> Result<[u64; N]> {
    let mut numbers = [0; N];
    for (i, number) in (0..).zip(&mut numbers) {
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, at + i * 8)?;
        *number = u64::from_le_bytes(bytes);
    }
    Ok(numbers)
}

impl Log {
    /// Reads what an entry wrote, as far as `place` goes.
    fn content(&self, entry: &Entry, place: &mut [u8]) -> Result<()> {
        match entry.flags & DISCARD {
            0 => self.file.read_exact_at(place, entry.data)?,
            _ => place.fill(0),
        }
        Ok(())
    }

    /// Reads a log.
    pub fn read(file: File) -> Result<Self> {
        let sector = SECTOR as u64;
        let end = file.metadata()?.len();
        let [magic, version, count, size] = numbers(&file, 0)?;
        ensure!((magic, version) == (MAGIC, VERSION), "this is no log");
        ensure!(size as u32 == SECTOR as u32, "sectors of {size} bytes");
        let mut entries = Vec::new();
        let mut at = sector;
        for n in 0..count {
            let [start, sectors, flags, _] =
                numbers(&file, at).with_context(|| format!("entry {n} of {count}"))?;
            let data = at + sector;
            let is_there = flags & DISCARD == 0;
            at = match sectors.checked_mul(sector) {
                Some(len) if is_there && len <= end.saturating_sub(data) => data + len,
                Some(_) if !is_there => data,
                _ => bail!("entry {n} of {count} has {sectors} sectors"),
            };
            entries.push(Entry {
                sector: start,
                sectors,
                flags,
                data,
            });
        }
        Ok(Log { file, entries })
    }
}

#[cfg(test)]
mod tests;
