// SPDX-License-Identifier: GPL-2.0

//! The writers of a [world](super::world): each has a part of the device, and one write in flight.

#![forbid(unsafe_code)]

use std::ops::Range;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use rustix::io::ReadWriteFlags;
use vmtest::disk::Buffer;
use vmtest::disk::Disk;
use vmtest::rng::Rng;

use super::world::now;
use super::world::World;
use super::world::WRITERS;

/// When a write lasts.
#[derive(Clone, Copy)]
enum How {
    /// Some time.
    Cached,
    /// After a flush.
    Flushed,
    /// When it is acknowledged.
    Lasting,
}

impl World {
    /// Writes until told to stop, or an error.
    pub fn write(&self, writer: u64, seed: u64, stop: &AtomicBool) -> Result<()> {
        let disk = self.rig.disk()?;
        let mut rng = Rng::new(seed);
        let part = self.rig.sectors() / WRITERS;
        let first = (writer * part) as usize;
        let all = first..first + part as usize;
        while !stop.load(Ordering::SeqCst) {
            let longest = if rng.chance(10) { 200 } else { 16 };
            let (start, len) = rng.range(part, longest);
            let start = first + start as usize;
            let sectors = start..start + len as usize;
            let how = self.how(&mut rng);
            if self.is_volatile && matches!(how, How::Lasting) {
                // A log of all writes has it before older ones that are not flushed; see
                // `vmtest::logwrites`.
                self.settle(&all, || Ok(disk.flush()?))?;
            }
            self.put(&disk, &sectors, how)
                .with_context(|| format!("a write of sectors {sectors:?}"))?;
            match how {
                How::Cached => (),
                How::Flushed => self.settle(&all, || Ok(disk.flush()?))?,
                How::Lasting => self.settle(&sectors, || Ok(()))?,
            }
        }
        Ok(())
    }

    fn how(&self, rng: &mut Rng) -> How {
        match rng.below(10) {
            _ if !self.is_volatile => How::Lasting,
            0..2 => How::Flushed,
            2 => How::Lasting,
            _ => How::Cached,
        }
    }

    /// Makes one write.
    fn put(&self, disk: &Disk, sectors: &Range<usize>, how: How) -> Result<()> {
        let stamp = self.stamp.fetch_add(1, Ordering::SeqCst) + 1;
        for sector in &self.begun[sectors.clone()] {
            sector.store(stamp, Ordering::SeqCst);
        }
        self.note(sectors)?;
        let start = sectors.start as u64;
        let bytes = Buffer::stamped(start, sectors.len() as u64, stamp);
        let flags = match how {
            How::Lasting if self.is_volatile => ReadWriteFlags::DSYNC,
            _ => ReadWriteFlags::empty(),
        };
        let written = disk.write_flags(start, &bytes, flags)?;
        ensure!(written == bytes.len(), "{written} bytes were written");
        for sector in &self.acked[sectors.clone()] {
            sector.store(stamp, Ordering::SeqCst);
        }
        Ok(())
    }

    /// What is acknowledged of some sectors of a writer's part now lasts, after `flush`.
    fn settle(&self, sectors: &Range<usize>, flush: impl FnOnce() -> Result<()>) -> Result<()> {
        let acked = now(&self.acked[sectors.clone()]);
        flush()?;
        for (sector, stamp) in self.lasting[sectors.clone()].iter().zip(acked) {
            sector.store(stamp, Ordering::SeqCst);
        }
        self.note(sectors)
    }
}
