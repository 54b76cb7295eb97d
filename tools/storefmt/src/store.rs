// SPDX-License-Identifier: GPL-2.0

//! A store as a [`Disk`] that can be read, and what can go wrong with it.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::io::Seek;
use std::io::SeekFrom;
use std::os::unix::fs::FileExt;

use kernel::error::code::EIO;
use kernel::error::code::ENOMEM;
use kernel::error::Error as Errno;

use crate::disk::Disk;
use crate::ondisk::BLOCK_BYTES;

/// Why a store could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused something.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// The system's answer.
        source: io::Error,
    },
    /// Nothing but zeroes where superblocks should be.
    #[error("blank: no store has been made in it yet")]
    Blank,
    /// Something, but no superblocks.
    #[error("not a store of dm-preserve; it holds something else")]
    Foreign,
    /// A version or features that this program does not know.
    #[error("a store made by a later version of dm-preserve; use the preserve of that version")]
    Later,
}

/// The result of nearly everything here.
pub type Result<T> = std::result::Result<T, Error>;

/// Told how far the work is.
pub trait Progress {
    /// Another part of the work begins: how many bytes it will read, if that is known.
    fn part(&self, what: &'static str, bytes: Option<u64>);
    /// Bytes were read.
    fn read(&self, bytes: u64);
}

/// Nobody wants to know.
pub struct Silent;

impl Progress for Silent {
    fn part(&self, _: &'static str, _: Option<u64>) {}
    fn read(&self, _: u64) {}
}

/// Most bytes that maps and indexes of a store may take, so that a forged one cannot drive a machine out of memory.
pub(crate) const MEMORY: usize = 4 << 30;

/// An open store.
pub(crate) struct Store<'a> {
    file: File,
    /// Whole blocks that it has.
    blocks: u64,
    pub(crate) progress: &'a dyn Progress,
    /// The latest read that failed: block and reason.
    failure: Option<(u64, io::Error)>,
}

impl<'a> Store<'a> {
    pub(crate) fn new(mut file: File, progress: &'a dyn Progress) -> Result<Self> {
        let bytes = file.seek(SeekFrom::End(0)).map_err(|source| Error::Io {
            what: "cannot find out its size".into(),
            source,
        })?;
        Ok(Self {
            file,
            blocks: bytes / BLOCK_BYTES as u64,
            progress,
            failure: None,
        })
    }

    /// Whole blocks that it has.
    pub(crate) fn blocks(&self) -> u64 {
        self.blocks
    }

    /// What an error number of the module's code stands for, other than `EUCLEAN`.
    pub(crate) fn explain(&mut self, error: Errno) -> Error {
        match self.failure.take() {
            Some((block, source)) if error == EIO => Error::Io {
                what: format!("cannot read block {block}"),
                source,
            },
            _ if error == ENOMEM => Error::Io {
                what: "cannot hold what is in it".into(),
                source: io::ErrorKind::OutOfMemory.into(),
            },
            _ => Error::Io {
                what: "cannot understand it".into(),
                source: io::Error::from_raw_os_error(-error.to_errno()),
            },
        }
    }

    /// Why the latest read failed.
    pub(crate) fn why(&mut self) -> String {
        match self.failure.take() {
            Some((_, source)) => source.to_string(),
            None => "unknown error".into(),
        }
    }

    fn try_read(&mut self, block: u64, out: &mut [u8]) -> io::Result<()> {
        let beyond = || io::Error::new(io::ErrorKind::UnexpectedEof, "beyond the store's end");
        let count = (out.len() / BLOCK_BYTES) as u64;
        if block.checked_add(count).is_none_or(|end| end > self.blocks) {
            return Err(beyond());
        }
        self.file.read_exact_at(out, block * BLOCK_BYTES as u64)
    }
}

impl Disk for Store<'_> {
    fn read(&mut self, block: u64, out: &mut [u8]) -> kernel::error::Result {
        if let Err(why) = self.try_read(block, out) {
            self.failure = Some((block, why));
            return Err(EIO);
        }
        self.progress.read(out.len() as u64);
        Ok(())
    }

    /// Never: a store is only looked at here.
    fn write(&mut self, _: u64, _: &[u8]) -> kernel::error::Result {
        Err(EIO)
    }

    fn flush(&mut self) -> kernel::error::Result {
        Err(EIO)
    }
}
