// SPDX-License-Identifier: GPL-2.0

//! Repairs of a store, where the outcome is provably right. There are two:
//!
//! - The place of one superblock is *damaged*, *blank* or *unreadable*. No program has anything of
//!   what is there, whoever wrote it, and every reader goes by the other superblock already: that
//!   is written to both places. It may be the older one; but then the power went between the two,
//!   and what it refers to is whole still. What cannot be read may be written, as a disk replaces a
//!   bad sector then; if it does not, that is an error. What is *foreign* may be the beginning of a
//!   file system that somebody wants, and what is *unsupported* a later version's: these stay, and
//!   with them, as a commit writes both places, everything else. Two *valid* ones that contradict
//!   each other stay too, and so does a store whose formatting was cut short, where there is
//!   nothing to be saved.
//! - A content is not what its checksum says. Nobody has it any longer, and a read of it is wrong,
//!   or at best an error: its entry in the index goes, by a checkpoint of everything else. Its
//!   chunk stays marked, and without a copy it is gone.
//!
//! That something was read wrong proves nothing, as a cable, a controller or the page cache's
//! memory may be what is bad, and the device good. So everything is read again just before it is
//! written, past the page cache, and what comes out differently then is said, and left as it is.
//!
//! Everything else stays as it is. With a damaged checkpoint, or a log that is damaged in its
//! middle, it is not known which snapshots there were, or what has changed since; the module gives
//! up what cannot be relied on by itself. A content that no record accounts for, or that cannot be
//! read today, the first or the second time, may be good.
//!
//! Each step leaves a store that is at least as good as it was (see
//! [`commit`](crate::store::commit)).

#![forbid(unsafe_code)]

mod contents;
mod whole;

pub use whole::repair;
pub use whole::Repaired;
