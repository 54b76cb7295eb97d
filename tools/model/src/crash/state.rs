// SPDX-License-Identifier: GPL-2.0

//! One state of a world with power cuts: memory, the two devices, the parties, and what only the
//! checker knows.

#![forbid(unsafe_code)]

use crate::chunks::Chunks;
use crate::chunks::Content;
use crate::invariant;
use crate::timeline;

/// Chunks of the device; together they are one region.
pub const CHUNKS: usize = 2;
/// All of them.
pub const ALL: Chunks = (1 << CHUNKS) - 1;
/// Most epochs, the first included.
pub const EPOCHS: usize = 3;
/// Most writers.
pub const WRITERS: usize = 3;
/// Most records between the root's cut and the end of the log.
pub const LOG: usize = 16;
/// Most contents that a chunk of the origin may have after a power cut.
pub const CACHE: usize = 5;

/// What a checkpoint saves and memory holds.
pub type Timeline = timeline::Timeline<CHUNKS, EPOCHS>;
/// What only the checker knows of an epoch.
pub type Truth = invariant::Truth<CHUNKS>;

/// A record of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Record {
    /// No record.
    #[default]
    Nothing,
    /// Old contents of chunks that were decided to be needed in `epoch`.
    Copy {
        /// The epoch of the decision.
        epoch: u8,
        /// Which chunks.
        chunks: Chunks,
        /// What was read of them.
        data: [Content; CHUNKS],
    },
    /// Chunks needed in `epoch` that the origin cannot read.
    Gone {
        /// The epoch of the decision.
        epoch: u8,
        /// Which chunks.
        chunks: Chunks,
    },
    /// The region is dirty.
    Region {
        /// In this epoch.
        epoch: u8,
        /// And in this period.
        period: u8,
    },
    /// The configuration's next snapshot.
    Epoch,
    /// The configuration's order of that number: drop, release, protect, unprotect.
    Order(u8),
    /// The scope of that snapshot narrows.
    Narrow(u8),
    /// That snapshot is given up.
    GiveUp(u8),
}

/// The records from the root's cut on. Those before it are forgotten, and numbers begin at the cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Log {
    /// In order.
    pub records: [Record; LOG],
    /// How many have been begun.
    pub len: u8,
    /// How many at least are durable, since somebody has seen it. A crash may keep more.
    pub durable: u8,
}

/// What recovery begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Root {
    /// What was saved.
    pub timeline: Timeline,
    /// The period that began with it.
    pub period: u8,
    /// Control records with a lower number are in it.
    pub next: u8,
}

/// A checkpoint under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Saving {
    /// What has been saved so far.
    pub timeline: Timeline,
    /// The record at which a recovery from this checkpoint will begin to read.
    pub cut: u8,
    /// The number of the next record when it began.
    pub next: u8,
    /// Chunks of which the present epoch's mark is not yet saved.
    pub marks: Chunks,
    /// Chunks of which the present epoch's index entry is not yet saved.
    pub index: Chunks,
}

/// Who does what happens one after another: snapshots, orders, narrowing, giving up, recovery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Keeper {
    /// Nothing.
    #[default]
    Idle,
    /// The gate is closed; waits until so many records are durable, to swap.
    Epoch(u8),
    /// Waits until so many records are durable, to carry out the order of that number.
    Order(u8, u8),
    /// Waits until so many records are durable, to narrow the scope of that snapshot.
    Narrow(u8, u8),
    /// Waits until so many records are durable, to give that snapshot up.
    GiveUp(u8, u8),
    /// Has loaded the root and replayed the log; nobody is let in.
    Recovering,
}

/// Where a write is on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Write {
    /// Outside; has to look whether it can go straight through.
    Start,
    /// Inside: nothing missing is needed and the region is dirty; about to mark and submit.
    Direct,
    /// Outside: nothing missing is needed; about to log that the region is dirty.
    Region,
    /// Outside: waits for that record.
    Asked,
    /// Outside: holds claims on needed chunks; about to read and log them.
    Read,
    /// Outside: waits for that record.
    Copied,
    /// Inside: has indexed what it claims; about to mark.
    Indexed,
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
    /// Chunks claimed.
    pub claims: Chunks,
    /// The claimed chunks could not be read.
    pub failed: bool,
    /// What was read of them.
    pub data: [Content; CHUNKS],
    /// The epoch of its decision.
    pub epoch: u8,
    /// The period of its decision.
    pub period: u8,
    /// How many records have to be durable before it goes on.
    pub due: u8,
}

/// A chunk of the origin, behind a volatile cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Cached {
    /// What it may hold after a power cut: the flushed content first, the present one last.
    pub holds: [Content; CACHE],
    /// How many of these.
    pub writes: u8,
}

/// Everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// The live data.
    pub origin: [Cached; CHUNKS],
    /// Memory.
    pub now: Timeline,
    /// Memory: rises with each checkpoint.
    pub period: u8,
    /// Memory: the region is dirty in the present epoch and period.
    pub dirty: bool,
    /// The log.
    pub log: Log,
    /// The last durable checkpoint.
    pub root: Root,
    /// The store cannot be written: nothing is logged any longer, until a crash. That could not be
    /// said in it either.
    pub failing: bool,
    /// The snapshot or order under way.
    pub keeper: Keeper,
    /// The checkpoint under way.
    pub saving: Option<Saving>,
    /// The writes.
    pub writers: [Writer; WRITERS],
    /// Which of the configuration's orders have been given, a bit each.
    pub orders: u8,
    /// Checker only: which of them were reported as done.
    pub reported: u8,
    /// Checker only: how many epochs were reported to have begun.
    pub begun: u8,
    /// Checkpoints that may still be taken.
    pub checkpoints: u8,
    /// Crashes that may still happen.
    pub crashes: u8,
    /// How often the store may still fail.
    pub failures: u8,
    /// Checker only.
    pub truth: [Truth; EPOCHS],
}
