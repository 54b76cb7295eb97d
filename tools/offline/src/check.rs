// SPDX-License-Identifier: GPL-2.0

//! A check: from the superblocks to the last content, and what is wrong on the way.
//!
//! Each part of a store has its file, in the order in which they are looked at: superblocks and
//! layout, the checkpoint, the log, epochs and snapshots, contents. What they find goes into the
//! [`Report`]. Nothing is written.

#![forbid(unsafe_code)]

mod advice;
mod checkpoint;
mod contents;
mod inventory;
mod log;
mod report;
mod whole;

pub(crate) use advice::advice;
pub(crate) use inventory::time;
pub(crate) use report::superblocks as superblock_reports;
pub(crate) use report::Rotten;
pub use report::*;
pub use whole::check;
