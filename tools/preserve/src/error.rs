// SPDX-License-Identifier: GPL-2.0

//! What can go wrong, and the exit code that says so to scripts.

#![forbid(unsafe_code)]

use std::fmt::Display;
use std::io;

/// A failure; the text names the thing and, where there is one, the remedy.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Anything without an exit code of its own.
    #[error("{0}")]
    Failed(String),
    /// The system refused something.
    #[error("{what}: {source}")]
    Io {
        /// What was tried, with its object.
        what: String,
        /// The system's answer.
        source: io::Error,
    },
    /// The command line asks for something that makes no sense.
    #[error("{0}")]
    Usage(String),
    /// No such device, snapshot or bookmark.
    #[error("{0}")]
    Missing(String),
    /// Frozen content was lost before it could be read.
    #[error("{0}")]
    Gone(String),
    /// The stream is not what its writer wrote.
    #[error("the stream is damaged at byte {at}: {why}; transfer or take it again")]
    Damaged {
        /// How far it was read.
        at: u64,
        /// What is wrong there.
        why: String,
    },
    /// A persistent store is not as the module left it.
    #[error("{0}")]
    Store(String),
    /// The stream is whole, but not for this copy.
    #[error("{0}")]
    Misfit(String),
}

/// The result of nearly everything here.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// The process's exit code, as `preserve --help` documents it.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Failed(_) | Error::Io { .. } => 1,
            Error::Usage(_) => 2,
            Error::Missing(_) => 3,
            Error::Gone(_) => 4,
            Error::Damaged { .. } | Error::Store(_) | Error::Misfit(_) => 5,
        }
    }

    /// True when the reader of a pipe that we write has gone.
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Error::Io { source, .. } if source.kind() == io::ErrorKind::BrokenPipe)
    }
}

/// Says what was tried when an [`io::Result`] fails.
pub trait Context<T> {
    /// `what` is evaluated for failures only.
    fn context<D: Display>(self, what: impl FnOnce() -> D) -> Result<T>;
}

impl<T> Context<T> for io::Result<T> {
    fn context<D: Display>(self, what: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|source| Error::Io {
            what: what().to_string(),
            source,
        })
    }
}
