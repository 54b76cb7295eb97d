// SPDX-License-Identifier: GPL-2.0

//! What a rollback does, or has done. As JSON it is the output of `preserve rollback --json`.

#![forbid(unsafe_code)]

use serde::Serialize;

use crate::store::Error;
use crate::store::Result;

/// See the [module's documentation](self).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RollbackReport {
    /// The snapshot.
    pub snapshot: u64,
    /// When it was taken, in nanoseconds since 1970.
    pub time_ns: u64,
    /// The same for people.
    pub time: String,
    /// Sectors of the device at the snapshot; what the origin has beyond is left as it is.
    pub sectors: u64,
    /// Bytes of a chunk.
    pub chunk_bytes: u64,
    /// It was begun earlier, and is to be finished.
    pub under_way: bool,
    /// The store was not shut down cleanly, so nothing tells whether this is its origin.
    pub was_open: bool,
    /// The snapshot is unproven: the store may have failed before it was left open.
    pub unproven: bool,
    /// Chunks to be written.
    pub chunks: u64,
    /// Bytes to be written.
    pub bytes: u64,
    /// Chunks that have not changed since.
    pub unchanged: u64,
    /// Chunks that were not protected, and are left as they are.
    pub unprotected: u64,
    /// Chunks whose content is gone: overwritten without a copy.
    pub gone: u64,
    /// Chunks whose content is damaged or cannot be read.
    pub damaged: u64,
    /// The first runs of gone and damaged ones.
    pub lost: Vec<Lost>,
    /// Newer snapshots, which end.
    pub ending_snapshots: Vec<u64>,
    /// Newer bookmarks, which end.
    pub ending_bookmarks: Vec<u64>,
    /// The origin is at the snapshot.
    pub done: bool,
}

/// Chunks whose content is lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lost {
    /// The first one.
    pub start: u64,
    /// How many.
    pub len: u64,
    /// gone or damaged.
    pub why: &'static str,
}

impl RollbackReport {
    /// An error if the snapshot is unproven.
    pub fn proven(&self) -> Result<()> {
        match self.unproven {
            false => Ok(()),
            true => Err(Error::Refused(format!(
                "snapshot {} is unproven: the store was not closed, and may have failed before \
                 the machine stopped; if you know that it had not, give --trust",
                self.snapshot
            ))),
        }
    }

    /// An error unless there is the content of every protected chunk.
    pub fn whole(&self) -> Result<()> {
        let (gone, damaged, id) = (self.gone, self.damaged, self.snapshot);
        match (gone, damaged) {
            (0, 0) => Ok(()),
            (0, _) => Err(Error::Damaged(format!(
                "{damaged} contents of snapshot {id} are damaged; with --leave-lost their chunks \
                 are left as they are now"
            ))),
            _ => Err(Error::Gone(format!(
                "{gone} chunks of snapshot {id} are gone, and {damaged} damaged; with \
                 --leave-lost they are left as they are now"
            ))),
        }
    }
}
