// SPDX-License-Identifier: GPL-2.0

//! What is known of a [world](super::world), on a disk of its own, so that it is still known after
//! a power cut.
//!
//! First two arrays with a number for each sector: the last stamp begun, and the oldest one that
//! may be left. Then two slots that are written by turns, each with the rest: snapshots,
//! designation, and what is in doubt.

#![forbid(unsafe_code)]

use std::ops::Range;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::sync::Mutex;

use anyhow::bail;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use rustix::io::ReadWriteFlags;
use vmtest::disk::Buffer;
use vmtest::disk::Disk;

use super::world::Doubt;
use super::world::Point;

/// Sectors of an array, and of a slot.
const ARRAY: u64 = 64;
const SLOT: u64 = 4096;
/// Of the disk, at least.
pub const SECTORS: u64 = 2 * (ARRAY + SLOT);
/// Numbers in a sector.
const NUMBERS: usize = 64;
const MAGIC: u64 = 0x6c65_6467_6572_3031;

/// The disk.
pub struct Ledger {
    disk: Disk,
    flags: ReadWriteFlags,
    /// The number of the last slot written.
    last: Mutex<u64>,
}

/// What a slot holds.
pub struct Kept {
    pub latest: u64,
    pub designation: Vec<bool>,
    pub points: Vec<Point>,
    pub doubt: Doubt,
}

fn checksum(numbers: &[u64]) -> u64 {
    numbers.iter().fold(MAGIC, |sum, number| {
        (sum ^ number).wrapping_mul(0x100_0000_01b3).rotate_left(23)
    })
}

fn numbers(bytes: &[u8]) -> Vec<u64> {
    let words = bytes.chunks_exact(8);
    words
        .map(|word| u64::from_le_bytes(word.try_into().unwrap_or_default()))
        .collect()
}

fn buffer(numbers: &[u64]) -> Buffer {
    let mut buffer = Buffer::new(numbers.len().div_ceil(NUMBERS) as u64);
    for (place, number) in buffer.chunks_exact_mut(8).zip(numbers) {
        place.copy_from_slice(&number.to_le_bytes());
    }
    buffer
}

impl Ledger {
    /// Opens the disk.
    pub fn open(path: &str) -> Result<Self> {
        let disk = Disk::open(path)?;
        ensure!(disk.sectors() >= SECTORS, "{path} is too small");
        Ok(Ledger {
            disk,
            flags: ReadWriteFlags::empty(),
            last: Mutex::new(0),
        })
    }

    /// Opens the disk, which has a volatile cache.
    pub fn open_volatile(path: &str) -> Result<Self> {
        let flags = ReadWriteFlags::DSYNC;
        Ok(Ledger {
            flags,
            ..Self::open(path)?
        })
    }

    fn write(&self, at: u64, bytes: &Buffer) -> Result<()> {
        let written = self.disk.write_flags(at, bytes, self.flags)?;
        ensure!(written == bytes.len(), "{written} bytes were written");
        Ok(())
    }

    /// Notes the stamps of a range of sectors.
    pub fn note(
        &self,
        sectors: &Range<usize>,
        begun: &[AtomicU64],
        lasting: &[AtomicU64],
    ) -> Result<()> {
        let first = sectors.start / NUMBERS;
        let from = first * NUMBERS;
        let to = (sectors.end.div_ceil(NUMBERS) * NUMBERS).min(begun.len());
        // Writers share sectors of the arrays.
        let _guard = self.last.lock().map_err(|_| anyhow::anyhow!("a lock"))?;
        for (array, stamps) in (0..).zip([begun, lasting]) {
            let stamps = stamps[from..to].iter();
            let stamps: Vec<u64> = stamps.map(|s| s.load(Ordering::SeqCst)).collect();
            let at = array * ARRAY + first as u64;
            self.write(at, &buffer(&stamps))?;
        }
        Ok(())
    }

    /// The stamps that were noted: begun, and lasting.
    pub fn stamps(&self, sectors: u64) -> Result<[Vec<u64>; 2]> {
        ensure!(sectors <= ARRAY * NUMBERS as u64, "too large a device");
        let array = |n: u64| -> Result<Vec<u64>> {
            let mut all = numbers(&self.disk.read(n * ARRAY, ARRAY)?);
            all.truncate(sectors as usize);
            Ok(all)
        };
        Ok([array(0)?, array(1)?])
    }

    /// Keeps the rest.
    pub fn save(
        &self,
        latest: u64,
        designation: &[bool],
        points: &[Point],
        doubt: &Doubt,
    ) -> Result<()> {
        let mut out = vec![latest];
        flags(&mut out, designation);
        out.push(points.len() as u64);
        points.iter().for_each(|point| encode(&mut out, point));
        match doubt {
            Doubt::None => out.push(0),
            Doubt::Snapshot(point) => {
                out.push(1);
                encode(&mut out, point);
            }
            Doubt::Drop(id) => out.extend([2, *id]),
            Doubt::Forget(id) => out.extend([3, *id]),
            Doubt::Edit(edited) => {
                out.push(4);
                flags(&mut out, edited);
            }
        }
        let mut last = self.last.lock().map_err(|_| anyhow::anyhow!("a lock"))?;
        *last += 1;
        let at = 2 * ARRAY + *last % 2 * SLOT;
        ensure!(out.len().div_ceil(NUMBERS) < SLOT as usize, "a full slot");
        self.write(at + 1, &buffer(&out))?;
        let head = [MAGIC, *last, out.len() as u64, checksum(&out)];
        self.write(at, &buffer(&head))
    }

    /// What was kept last; `None` on a new disk.
    pub fn load(&self) -> Result<Option<Kept>> {
        let mut best = None;
        for slot in 0..2 {
            let at = 2 * ARRAY + slot * SLOT;
            let head = numbers(&self.disk.read(at, 1)?);
            let len = head[2] as usize;
            if head[0] != MAGIC || len.div_ceil(NUMBERS) >= SLOT as usize {
                continue;
            }
            let mut body = numbers(&self.disk.read(at + 1, len.div_ceil(NUMBERS) as u64)?);
            body.truncate(len);
            let newer = best.as_ref().is_none_or(|(number, _)| *number < head[1]);
            if checksum(&body) == head[3] && newer {
                best = Some((head[1], body));
            }
        }
        let Some((number, body)) = best else {
            return Ok(None);
        };
        *self.last.lock().map_err(|_| anyhow::anyhow!("a lock"))? = number;
        decode_all(&body).map(Some)
    }
}

fn flags(out: &mut Vec<u64>, flags: &[bool]) {
    out.push(flags.len() as u64);
    out.extend(flags.iter().map(|flag| u64::from(*flag)));
}

fn encode(out: &mut Vec<u64>, point: &Point) {
    out.extend([point.id, u64::from(point.dropped), point.from.len() as u64]);
    out.extend(&point.from);
    out.extend(&point.to);
    out.extend(point.frozen.iter().map(|stamp| stamp.unwrap_or(u64::MAX)));
    flags(out, &point.protected);
    flags(out, &point.may_go);
}

/// Numbers that are taken one after another.
struct Rest<'a>(&'a [u64]);

impl Rest<'_> {
    fn some(&mut self, count: u64) -> Result<Vec<u64>> {
        let (some, rest) = self
            .0
            .split_at_checked(count as usize)
            .context("the ledger is too short")?;
        self.0 = rest;
        Ok(some.to_vec())
    }

    fn one(&mut self) -> Result<u64> {
        Ok(self.some(1)?[0])
    }

    fn flags(&mut self) -> Result<Vec<bool>> {
        let count = self.one()?;
        Ok(self.some(count)?.iter().map(|flag| *flag != 0).collect())
    }

    fn point(&mut self) -> Result<Point> {
        let (id, dropped, sectors) = (self.one()?, self.one()? != 0, self.one()?);
        let (from, to) = (self.some(sectors)?, self.some(sectors)?);
        let frozen = self.some(sectors)?.into_iter();
        Ok(Point {
            id,
            dropped,
            from,
            to,
            frozen: frozen.map(|s| (s != u64::MAX).then_some(s)).collect(),
            protected: self.flags()?,
            may_go: self.flags()?,
        })
    }
}

fn decode_all(body: &[u64]) -> Result<Kept> {
    let mut rest = Rest(body);
    let (latest, designation, count) = (rest.one()?, rest.flags()?, rest.one()?);
    let points = (0..count).map(|_| rest.point()).collect::<Result<_>>()?;
    let doubt = match rest.one()? {
        0 => Doubt::None,
        1 => Doubt::Snapshot(rest.point()?),
        2 => Doubt::Drop(rest.one()?),
        3 => Doubt::Forget(rest.one()?),
        4 => Doubt::Edit(rest.flags()?),
        other => bail!("the ledger is damaged: {other}"),
    };
    Ok(Kept {
        latest,
        designation,
        points,
        doubt,
    })
}
