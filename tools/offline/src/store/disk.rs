// SPDX-License-Identifier: GPL-2.0

//! A store as a [`Disk`], and what can go wrong with it.

#![forbid(unsafe_code)]

use std::io;

use kernel::error::code::EFBIG;
use kernel::error::code::EIO;
use kernel::error::code::ENOMEM;
use kernel::error::code::ENOSPC;
use kernel::error::Error as Errno;

use super::medium::Medium;
use dm_preserve_core::format::BLOCK_BYTES;
use dm_preserve_core::store::Disk;

/// Why something could not be done with a store.
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
    /// There is no such snapshot.
    #[error("{0}")]
    Missing(String),
    /// It, or the origin, is not in a state in which that can be done.
    #[error("{0}")]
    Refused(String),
    /// Too much of it is damaged for that.
    #[error("{0}")]
    Damaged(String),
    /// Frozen content is gone.
    #[error("{0}")]
    Gone(String),
}

/// The result of nearly everything here.
pub type Result<T> = std::result::Result<T, Error>;

/// Told how far the work is.
pub trait Progress {
    /// Another part of the work begins: how many bytes it will read from the store, if that is
    /// known.
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

/// Most bytes that maps and indexes of a store may take, so that a forged one cannot drive a
/// machine out of memory.
pub(crate) const MEMORY: usize = 4 << 30;

/// An open store.
pub(crate) struct Store<'a> {
    medium: Box<dyn Medium + 'a>,
    /// Whole blocks that it has.
    blocks: u64,
    pub(crate) progress: &'a dyn Progress,
    /// The latest access that failed: what was tried, and why.
    failure: Option<(String, io::Error)>,
}

impl<'a> Store<'a> {
    pub(crate) fn new(medium: impl Medium + 'a, progress: &'a dyn Progress) -> Result<Self> {
        let mut medium = Box::new(medium);
        let bytes = medium.size().map_err(|source| Error::Io {
            what: "cannot find out its size".into(),
            source,
        })?;
        Ok(Self {
            medium,
            blocks: bytes / BLOCK_BYTES as u64,
            progress,
            failure: None,
        })
    }

    /// Whole blocks that it has.
    pub(crate) fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Has everything be read from the device again, past what the system remembers.
    pub(crate) fn forget(&mut self) -> Result<()> {
        self.medium.forget().map_err(|source| Error::Io {
            what: "cannot have the system forget what it has read".into(),
            source,
        })
    }

    /// What an error number of the module's code stands for, other than `EUCLEAN`.
    pub(crate) fn explain(&mut self, error: Errno) -> Error {
        match self.failure.take() {
            Some((what, source)) if error == EIO => Error::Io { what, source },
            _ if error == ENOMEM => Error::Io {
                what: "cannot hold what is in it".into(),
                source: io::ErrorKind::OutOfMemory.into(),
            },
            // Only what is written can be too large.
            _ if error == ENOSPC || error == EFBIG => Error::Refused(
                "it has no room for a checkpoint of what its log has grown to; activate the live \
                 device, which makes room, remove it, and try again"
                    .into(),
            ),
            _ => Error::Io {
                what: "cannot understand it".into(),
                source: io::Error::from_raw_os_error(-error.to_errno()),
            },
        }
    }

    /// Why the latest access failed.
    pub(crate) fn why(&mut self) -> String {
        match self.failure.take() {
            Some((_, source)) => source.to_string(),
            None => "unknown error".into(),
        }
    }

    /// Where so many bytes from a block on are, if the store has them.
    fn place(&self, block: u64, len: usize) -> io::Result<u64> {
        let beyond = || io::Error::new(io::ErrorKind::UnexpectedEof, "beyond the store's end");
        // CAST: A length in memory.
        let count = (len / BLOCK_BYTES) as u64;
        match block.checked_add(count) {
            // It fits into the size in bytes.
            Some(end) if end <= self.blocks => Ok(block * BLOCK_BYTES as u64),
            _ => Err(beyond()),
        }
    }

    fn done(&mut self, what: &str, block: u64, result: io::Result<()>) -> kernel::error::Result {
        result.map_err(|why| {
            self.failure = Some((format!("cannot {what} block {block}"), why));
            EIO
        })
    }
}

impl Disk for Store<'_> {
    fn read(&mut self, block: u64, out: &mut [u8]) -> kernel::error::Result {
        let place = self.place(block, out.len());
        let read = place.and_then(|at| self.medium.read_at(out, at));
        self.done("read", block, read)?;
        self.progress.read(out.len() as u64);
        Ok(())
    }

    fn write(&mut self, block: u64, data: &[u8]) -> kernel::error::Result {
        let place = self.place(block, data.len());
        let written = place.and_then(|at| self.medium.write_at(data, at));
        self.done("write", block, written)
    }

    fn flush(&mut self) -> kernel::error::Result {
        self.medium.sync().map_err(|why| {
            self.failure = Some(("cannot flush it".into(), why));
            EIO
        })
    }
}
