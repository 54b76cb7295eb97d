// SPDX-License-Identifier: GPL-2.0

//! What the user asks for: snapshots and orders.

#![forbid(unsafe_code)]

use crate::chunks::Chunks;

/// A snapshot to be taken during the run.
#[derive(Clone, Copy, Debug)]
pub struct Taking {
    /// `incremental from=` this snapshot, or full.
    pub base: Option<u8>,
    /// `keep=1`: older snapshots are dropped in the same instant.
    pub alone: bool,
}

/// A full snapshot; the others stay.
pub const FULL: Taking = Taking {
    base: None,
    alone: false,
};
/// A full snapshot with `keep=1`.
pub const ALONE: Taking = Taking {
    base: None,
    alone: true,
};
/// An incremental snapshot from snapshot 0.
pub const FROM_FIRST: Taking = Taking {
    base: Some(0),
    alone: false,
};

/// What the user may do at any moment, once each.
#[derive(Clone, Copy, Debug)]
pub enum Order {
    /// `drop <id>`.
    Drop(u8),
    /// `release <id> ...`.
    Release(u8, Chunks),
    /// `protect ...`: at the next snapshot.
    Protect(Chunks),
    /// `unprotect ...`: at the next snapshot.
    Unprotect(Chunks),
}
