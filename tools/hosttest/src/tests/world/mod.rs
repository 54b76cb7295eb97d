// SPDX-License-Identifier: GPL-2.0

//! A device and its store in memory, whose power can go at any moment.
//!
//! The device follows the protocol as the module does, over the module's own files: log, segments,
//! image, recovery. What the kernel does in parallel happens here in small steps, in an order that
//! a seed decides. [`Trap`]s break a rule each; the tests see to it that the checks notice.

#![forbid(unsafe_code)]

mod checkpoint;
mod config;
mod control;
mod copies;
mod device;
mod growth;
mod history;
mod model;
mod record;
mod recovery;
mod totals;
mod tries;
mod verify;
mod write;

pub(super) use config::config;
pub(super) use config::short;
pub(super) use copies::SimCopies;
pub(super) use device::Config;
pub(super) use device::Trail;
pub(super) use device::World;
pub(super) use history::busy;
pub(super) use history::run;
pub(super) use history::run_on;
pub(super) use totals::Totals;

/// A rule to break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trap {
    /// Records are not forced to the medium.
    NoFua,
    /// A write is let go when its own record is durable, whatever became of the earlier ones.
    OutOfOrder,
    /// A checkpoint's log begins at the next record, although copies are on their way.
    CutAtNext,
    /// The origin is not flushed at the snapshot.
    NoOriginFlush,
    /// An image has the index of its cut, and replay takes a chunk's mark of the present epoch for
    /// proof that its copy is there.
    AskPresentMarks,
    /// A drop takes effect before its record is durable.
    EarlyDrop,
    /// A release takes effect before its record is durable.
    EarlyRelease,
    /// "Region dirty" stays valid across a checkpoint.
    RegionsSurviveCheckpoint,
    /// "Region dirty" stays valid across a snapshot.
    RegionsSurviveSnapshot,
    /// Segments are free as soon as nobody needs them.
    EarlyReuse,
    /// Only the first superblock is written.
    OneSuperblock,
    /// Both superblocks are written without a flush between them.
    SuperblocksTogether,
    /// The same superblock is always written first.
    SuperblocksInFixedOrder,
    /// The image is not durable before the superblock names it.
    ImageNotFlushed,
    /// A checkpoint does not wait for marks under way.
    NoDrain,
    /// A scope narrows before a checkpoint has saved the epochs before it as closed.
    EarlyNarrow,
    /// A copy whose epoch has ended is indexed in that and marked in the present one.
    StaleCopy,
    /// Durable records take effect in any order.
    SettleInAnyOrder,
    /// A segment that the store has grown by is named before the larger layout is durable.
    EarlySegments,
    /// Contents are not read again after a drop has let a write of the chunk pass.
    StaleContent,
}
