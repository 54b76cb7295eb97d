// SPDX-License-Identifier: GPL-2.0

//! One state of the model: the engine, the parties, and what only the checker knows.
//!
//! Everything is `Copy` and of fixed size, so that a state is cheap to branch from and to hash.
//! Sets of chunks are bit masks; contents are small numbers of which only equality means anything.

#![forbid(unsafe_code)]

/// Chunks of the device.
pub const CHUNKS: usize = 3;
/// Most epochs, the first included.
pub const EPOCHS: usize = 4;
/// Most writers.
pub const WRITERS: usize = 3;
/// Most frozen reads.
pub const READERS: usize = 2;

/// A set of chunks.
pub type Chunks = u8;
/// What a chunk holds.
pub type Content = u8;

/// The chunks in a set, one by one.
pub fn each(set: Chunks) -> impl Iterator<Item = usize> {
    (0..CHUNKS).filter(move |chunk| set & (1 << chunk) != 0)
}

/// What the index says of one chunk in one epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kept {
    #[default]
    /// No copy.
    Nothing,
    /// Where the copy is, that is to say what it holds.
    Copy(Content),
    /// The space was given back: whoever follows an old reference finds something else there.
    Reused,
}

/// The time from one snapshot to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch {
    /// The chunks written during it.
    pub marks: Chunks,
    /// What they held when it began.
    pub copies: [Kept; CHUNKS],
    /// Marked without a copy because the origin could not be read.
    pub lost: Chunks,
    /// Checker only: what each chunk held when the epoch began.
    pub start: [Content; CHUNKS],
    /// Checker only: chunks to which a write was submitted during the epoch.
    pub written: Chunks,
    /// Checker only: the marks as they were when the epoch was closed.
    pub sealed: Chunks,
}

/// The snapshot that began the epoch of the same number. Dropped, it is a bookmark.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Snapshot {
    /// Not dropped.
    pub live: bool,
    /// The designation of its instant.
    pub protected: Chunks,
    /// What it keeps: protected and in its scope.
    pub keeps: Chunks,
    /// Released for this snapshot.
    pub released: Chunks,
    /// Checker only: what a user may insist on, worked out from the contents and not from marks.
    pub owed: Chunks,
}

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
    /// The timeline, oldest first.
    pub epochs: [Epoch; EPOCHS],
    /// Snapshot or bookmark that began each epoch.
    pub snapshots: [Snapshot; EPOCHS],
    /// How many epochs exist; the last is the present one.
    pub count: u8,
    /// The gate.
    pub gate: Gate,
    /// What the next snapshot will protect.
    pub designation: Chunks,
    /// Which of the configuration's orders have been carried out, a bit each.
    pub orders: u8,
    /// The writes.
    pub writers: [Writer; WRITERS],
    /// The frozen reads.
    pub readers: [Reader; READERS],
}
