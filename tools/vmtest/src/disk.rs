// SPDX-License-Identifier: GPL-2.0

//! Direct I/O to block devices, in sectors.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::io::IoSlice;
use std::io::IoSliceMut;
use std::ops::Deref;
use std::ops::DerefMut;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::OpenOptionsExt;

use anyhow::Context;
use anyhow::Result;
use rustix::fs::FallocateFlags;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::io::ReadWriteFlags;

use crate::node;
use crate::pattern;
use crate::pattern::SECTOR;
use crate::raw;

const ALIGNMENT: usize = 4096;
/// Sectors written at a time when a whole device is filled.
const STEP: u64 = 2048;

/// Bytes at an address that direct I/O takes.
pub struct Buffer {
    bytes: Vec<u8>,
    offset: usize,
    len: usize,
}

impl Buffer {
    /// Zeroes for so many sectors.
    pub fn new(sectors: u64) -> Self {
        let len = sectors as usize * SECTOR;
        let bytes = vec![0; len + ALIGNMENT];
        let offset = bytes.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        Buffer { bytes, offset, len }
    }

    /// The contents of sectors `start..` with one stamp.
    pub fn stamped(start: u64, sectors: u64, stamp: u64) -> Self {
        let mut buffer = Self::new(sectors);
        pattern::fill(&mut buffer, start, stamp);
        buffer
    }
}

impl Deref for Buffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes[self.offset..self.offset + self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.offset..self.offset + self.len]
    }
}

/// An open block device.
pub struct Disk {
    file: File,
    sectors: u64,
}

impl Disk {
    /// Opens a device for direct reading and writing.
    pub fn open(path: &str) -> Result<Self> {
        Self::open_with(path, true)
    }

    /// Opens a device for direct reading.
    pub fn open_ro(path: &str) -> Result<Self> {
        Self::open_with(path, false)
    }

    fn open_with(path: &str, write: bool) -> Result<Self> {
        let sectors = node::sectors(path)?;
        let file = File::options()
            .read(true)
            .write(write)
            .custom_flags(OFlags::DIRECT.bits() as i32)
            .open(path)
            .with_context(|| format!("cannot open {path}"))?;
        Ok(Disk { file, sectors })
    }

    /// Its size.
    pub fn sectors(&self) -> u64 {
        self.sectors
    }

    /// Reads sectors.
    pub fn read(&self, start: u64, sectors: u64) -> io::Result<Buffer> {
        let mut buffer = Buffer::new(sectors);
        self.file
            .read_exact_at(&mut buffer, start * SECTOR as u64)?;
        Ok(buffer)
    }

    /// Reads sectors at once into buffers of so many sectors each, which do not follow one another
    /// in memory.
    pub fn read_pieces(&self, start: u64, sectors: &[u64]) -> io::Result<Vec<Buffer>> {
        let mut buffers: Vec<Buffer> = sectors.iter().map(|len| Buffer::new(*len)).collect();
        let wanted = buffers.iter().map(|buffer| buffer.len()).sum::<usize>();
        let mut parts: Vec<IoSliceMut<'_>> = buffers
            .iter_mut()
            .map(|buffer| IoSliceMut::new(buffer))
            .collect();
        match rustix::io::preadv(&self.file, &mut parts, start * SECTOR as u64)? {
            read if read == wanted => Ok(buffers),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Writes whole sectors.
    pub fn write(&self, start: u64, bytes: &Buffer) -> io::Result<()> {
        self.file.write_all_at(bytes, start * SECTOR as u64)
    }

    /// Writes sectors with one stamp.
    pub fn stamp(&self, start: u64, sectors: u64, stamp: u64) -> io::Result<()> {
        self.write(start, &Buffer::stamped(start, sectors, stamp))
    }

    /// Writes the whole device, or its first `sectors`, with one stamp.
    pub fn stamp_all(&self, sectors: u64, stamp: u64) -> io::Result<()> {
        let mut at = 0;
        while at < sectors {
            let len = STEP.min(sectors - at);
            self.stamp(at, len, stamp)?;
            at += len;
        }
        Ok(())
    }

    /// Reads sectors and compares them with the stamps that they must have.
    pub fn check(&self, start: u64, stamps: &[u64]) -> Result<()> {
        for (i, part) in stamps.chunks(STEP as usize).enumerate() {
            let at = start + i as u64 * STEP;
            let found = self
                .read(at, part.len() as u64)
                .with_context(|| format!("reading {} sectors at {at}", part.len()))?;
            pattern::check(&found, at, part)?;
        }
        Ok(())
    }

    /// Reads with flags.
    pub fn read_flags(
        &self,
        start: u64,
        buffer: &mut Buffer,
        flags: ReadWriteFlags,
    ) -> io::Result<usize> {
        let at = start * SECTOR as u64;
        Ok(rustix::io::preadv2(
            &self.file,
            &mut [IoSliceMut::new(buffer)],
            at,
            flags,
        )?)
    }

    /// Writes with flags.
    pub fn write_flags(
        &self,
        start: u64,
        buffer: &Buffer,
        flags: ReadWriteFlags,
    ) -> io::Result<usize> {
        let at = start * SECTOR as u64;
        Ok(rustix::io::pwritev2(
            &self.file,
            &[IoSlice::new(buffer)],
            at,
            flags,
        )?)
    }

    /// Flushes the device's cache.
    pub fn flush(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// Discards sectors.
    pub fn discard(&self, start: u64, sectors: u64) -> io::Result<()> {
        let bytes = SECTOR as u64;
        raw::discard(self.file.as_fd(), start * bytes, sectors * bytes)
    }

    /// Has sectors read as zeroes: by write-zeroes that may unmap, where the device has it (a loop
    /// device over tmpfs has no other), and otherwise by writes of zeroes.
    pub fn zero(&self, start: u64, sectors: u64) -> io::Result<()> {
        let bytes = SECTOR as u64;
        let (offset, len) = (start * bytes, sectors * bytes);
        let unmap = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match rustix::fs::fallocate(&self.file, unmap, offset, len) {
            Err(Errno::OPNOTSUPP) => {
                rustix::fs::fallocate(&self.file, FallocateFlags::ZERO_RANGE, offset, len)?;
            }
            result => result?,
        }
        Ok(())
    }
}

/// The error number of a failure, for comparison.
pub fn errno(e: &io::Error) -> Option<Errno> {
    e.raw_os_error().map(Errno::from_raw_os_error)
}

/// Fails unless `result` is the error `wanted`.
pub fn expect_errno<T>(what: &str, result: io::Result<T>, wanted: Errno) -> Result<()> {
    match result {
        Ok(_) => anyhow::bail!("{what}: succeeded, but {wanted:?} was expected"),
        Err(e) if errno(&e) == Some(wanted) => Ok(()),
        Err(e) => anyhow::bail!("{what}: {e}, but {wanted:?} was expected"),
    }
}
