// SPDX-License-Identifier: GPL-2.0

//! One state of the model: the engine, the parties, and what only the checker knows.
//!
//! Everything is `Copy` and of fixed size, so that a state is cheap to branch from and to hash.

#![forbid(unsafe_code)]

use crate::chunks::Chunks;
use crate::chunks::Content;
use crate::invariant;
use crate::timeline;

/// Chunks of the device.
pub const CHUNKS: usize = 3;
/// All of them.
pub const ALL: Chunks = (1 << CHUNKS) - 1;
/// Most epochs, the first included.
pub const EPOCHS: usize = 4;
/// Most writers.
pub const WRITERS: usize = 3;
/// Most frozen reads.
pub const READERS: usize = 2;

/// The epochs and their snapshots.
pub type Timeline = timeline::Timeline<CHUNKS, EPOCHS>;
/// What only the checker knows of an epoch.
pub type Truth = invariant::Truth<CHUNKS>;

/// The gate that every change to the origin passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Gate {
    /// Writers enter and leave.
    Open,
    /// Nobody enters; those inside leave.
    Closing {
        /// Marks seen when closing began (only the trap `narrow-early` looks at them).
        early: Chunks,
    },
}

/// Where a write is on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Write {
    /// Outside; has to look whether it can go straight through.
    Start,
    /// Inside: nothing missing is needed; about to mark and submit.
    Direct,
    /// Outside: taking the claims on `want`, in rising order.
    Claim,
    /// Outside: the old content of the claimed chunks is being read.
    Read,
    /// Outside: the copy is in the store; waiting to enter the gate.
    Copied,
    /// Outside: was inside, but a new epoch had begun since need was decided.
    Again,
    /// Inside: checked; about to index what it copied.
    Index,
    /// Inside: about to mark.
    Mark,
    /// Inside: submitted to the origin.
    Flying,
    /// Completed.
    #[default]
    Done,
}

/// One write: a bio, and what the engine remembers of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Writer {
    /// The chunks that the bio covers.
    pub chunks: Chunks,
    /// Where it is.
    pub step: Write,
    /// Holds the gate open.
    pub inside: bool,
    /// Chunks to be claimed; in `Index` and `Mark`, those to be marked without a copy.
    pub want: Chunks,
    /// Chunks claimed.
    pub claims: Chunks,
    /// Chunks of the copy that are to be indexed and marked in this stay; in `Direct`, those to be
    /// marked without a copy.
    pub valid: Chunks,
    /// Chunks that could not be read.
    pub failed: Chunks,
    /// What was read of the claimed chunks.
    pub data: [Content; CHUNKS],
    /// The epoch in which need was decided: the record's epoch.
    pub decided: u8,
    /// Checker only: the epoch that was present when reading began.
    pub since: u8,
    /// The epoch seen on entering the gate.
    pub stay: u8,
    /// Chunks seen marked in earlier stays (only the trap `two-stays` looks at them).
    pub seen: Chunks,
}

/// Where a frozen read is on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Frozen {
    /// Has not looked at anything.
    Start,
    /// The list of epochs is captured; about to walk it.
    Look,
    /// A mark was found in `epoch`; about to ask the index of that epoch.
    Lookup,
    /// The origin is being read.
    Reading,
    /// The origin's data is here.
    Arrived,
    /// Ended with the right content or an honest error.
    #[default]
    Done,
    /// Checker only: returned something that the chunk did not hold at the snapshot.
    Wrong,
    /// Checker only: an error although the snapshot owes the content.
    Unjust,
}

/// One frozen read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reader {
    /// The snapshot it reads.
    pub snapshot: u8,
    /// The chunk it reads.
    pub chunk: u8,
    /// Where it is.
    pub step: Frozen,
    /// The origin has been read.
    pub second: bool,
    /// How many epochs the captured list has.
    pub list: u8,
    /// The epoch in which it found a mark.
    pub epoch: u8,
    /// What the origin held.
    pub data: Content,
}

/// Everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// The live data.
    pub origin: [Content; CHUNKS],
    /// What happened to it.
    pub timeline: Timeline,
    /// The gate.
    pub gate: Gate,
    /// Which of the configuration's orders have been carried out, a bit each.
    pub orders: u8,
    /// The writes.
    pub writers: [Writer; WRITERS],
    /// The frozen reads.
    pub readers: [Reader; READERS],
    /// Checker only.
    pub truth: [Truth; EPOCHS],
    /// Checker only: chunks to which a write was submitted during each epoch.
    pub written: [Chunks; EPOCHS],
}
