// SPDX-License-Identifier: GPL-2.0

//! What a store or an origin is on: a block device, or an image of one.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::io::Seek;
use std::io::SeekFrom;
use std::os::unix::fs::FileExt;

use rustix::fs::Advice;

/// Bytes that can be read, and written if it was opened for that.
pub trait Medium {
    /// How many bytes there are.
    fn size(&mut self) -> io::Result<u64>;
    /// Fills `bytes` from offset `at` on.
    fn read_at(&mut self, bytes: &mut [u8], at: u64) -> io::Result<()>;
    /// Writes all of `bytes` from offset `at` on. Durable after the next [`Medium::sync`].
    fn write_at(&mut self, bytes: &[u8], at: u64) -> io::Result<()>;
    /// Makes durable what was written.
    fn sync(&mut self) -> io::Result<()>;
    /// Has what is read from now on come from the device itself: what the system remembers of it
    /// may be what a bad cable or bad memory has made of it.
    fn forget(&mut self) -> io::Result<()>;
}

impl Medium for File {
    fn size(&mut self) -> io::Result<u64> {
        self.seek(SeekFrom::End(0))
    }

    fn read_at(&mut self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        self.read_exact_at(bytes, at)
    }

    fn write_at(&mut self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.write_all_at(bytes, at)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }

    /// The page cache drops what is on the device already, of files and block devices alike. Reads
    /// with `O_DIRECT` would go past it too, but not all file systems have that, and those that
    /// have differ in what they ask of a buffer.
    fn forget(&mut self) -> io::Result<()> {
        self.sync_all()?;
        Ok(rustix::fs::fadvise(self, 0, None, Advice::DontNeed)?)
    }
}

impl<M: Medium + ?Sized> Medium for &mut M {
    fn size(&mut self) -> io::Result<u64> {
        (**self).size()
    }

    fn read_at(&mut self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        (**self).read_at(bytes, at)
    }

    fn write_at(&mut self, bytes: &[u8], at: u64) -> io::Result<()> {
        (**self).write_at(bytes, at)
    }

    fn sync(&mut self) -> io::Result<()> {
        (**self).sync()
    }

    fn forget(&mut self) -> io::Result<()> {
        (**self).forget()
    }
}
