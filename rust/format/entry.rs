// SPDX-License-Identifier: GPL-2.0

//! What the log's records say, apart from contents: [`Entry`], and how it is on disk.

#![forbid(unsafe_code)]

use crate::format::record::RawEntry;
use crate::maps::Chunks;
use zerocopy::little_endian::U32;
use zerocopy::little_endian::U64;

/// An entry of the log. Entries that belong together are in one record, and so take effect
/// together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// The next contents, of this epoch, go to this segment.
    Segment {
        /// Its number.
        segment: u64,
        /// The epoch.
        epoch: u64,
    },
    /// An epoch begins; the present one is closed.
    Epoch {
        /// Its number.
        epoch: u64,
        /// Sectors of the live device.
        sectors: u64,
    },
    /// A snapshot, taken at the epoch that this record begins. Its designation is the one at this
    /// place in the log.
    Snapshot {
        /// Its id.
        id: u64,
        /// When, in nanoseconds since 1970.
        time_ns: u64,
        /// The base of an incremental scope, 0 for a full one.
        base: u64,
        /// It preserves unprotected chunks too.
        keep_unprotected: bool,
        /// After it the designation is this default again.
        reset: Option<bool>,
    },
    /// Snapshots up to this id become bookmarks.
    DropUpTo(u64),
    /// A snapshot becomes a bookmark.
    Drop(u64),
    /// A bookmark goes.
    Forget(u64),
    /// A snapshot needs these chunks no longer.
    Release(u64, Chunks),
    /// The designation of these chunks changes.
    Protect(Chunks, bool),
    /// An incremental scope takes effect.
    Narrow(u64),
    /// Chunks of a region may be marked without a record of their own.
    Region {
        /// The region.
        region: u64,
        /// The epoch for which that holds.
        epoch: u64,
        /// The period (from one checkpoint to the next) for which it holds.
        period: u64,
    },
    /// A chunk cannot be read; its content is gone.
    Gone {
        /// The chunk.
        chunk: u64,
        /// The epoch in which that was decided.
        epoch: u64,
    },
}

const SEGMENT: u32 = 1;
const EPOCH: u32 = 2;
const SNAPSHOT: u32 = 3;
const DROP_UP_TO: u32 = 4;
const DROP: u32 = 5;
const FORGET: u32 = 6;
const RELEASE: u32 = 7;
const PROTECT: u32 = 8;
const NARROW: u32 = 9;
const REGION: u32 = 10;
const GONE: u32 = 11;

/// Flag of `SNAPSHOT`: unprotected chunks are preserved too.
const KEEP_UNPROTECTED: u32 = 1 << 0;
/// Flag of `SNAPSHOT`: the designation becomes the default again.
const RESET: u32 = 1 << 1;
/// Flag of `SNAPSHOT` with `RESET`: the default is protected.
const RESET_PROTECTED: u32 = 1 << 2;
/// Flag of `PROTECT`: protected from now on; otherwise unprotected.
const PROTECTED: u32 = 1 << 0;

fn flag(set: bool, bit: u32) -> u32 {
    match set {
        true => bit,
        false => 0,
    }
}

impl Entry {
    /// Returns the entry as it is on disk.
    pub fn to_raw(self) -> RawEntry {
        let (kind, flags, words) = match self {
            Self::Segment { segment, epoch } => (SEGMENT, 0, [segment, epoch, 0]),
            Self::Epoch { epoch, sectors } => (EPOCH, 0, [epoch, sectors, 0]),
            Self::Snapshot {
                id,
                time_ns,
                base,
                keep_unprotected,
                reset,
            } => {
                let flags = flag(keep_unprotected, KEEP_UNPROTECTED)
                    | flag(reset.is_some(), RESET)
                    | flag(reset == Some(true), RESET_PROTECTED);
                (SNAPSHOT, flags, [id, time_ns, base])
            }
            Self::DropUpTo(id) => (DROP_UP_TO, 0, [id, 0, 0]),
            Self::Drop(id) => (DROP, 0, [id, 0, 0]),
            Self::Forget(id) => (FORGET, 0, [id, 0, 0]),
            Self::Release(id, run) => (RELEASE, 0, [id, run.start, run.end]),
            Self::Protect(run, on) => (PROTECT, flag(on, PROTECTED), [run.start, run.end, 0]),
            Self::Narrow(id) => (NARROW, 0, [id, 0, 0]),
            Self::Region {
                region,
                epoch,
                period,
            } => (REGION, 0, [region, epoch, period]),
            Self::Gone { chunk, epoch } => (GONE, 0, [chunk, epoch, 0]),
        };
        RawEntry {
            kind: U32::new(kind),
            flags: U32::new(flags),
            words: words.map(U64::new),
        }
    }

    /// Returns the entry that is on disk; `None` for a kind that this code does not know.
    pub fn from_raw(raw: RawEntry) -> Option<Self> {
        let flags = raw.flags.get();
        let [a, b, c] = raw.words.map(U64::get);
        Some(match raw.kind.get() {
            SEGMENT => Self::Segment {
                segment: a,
                epoch: b,
            },
            EPOCH => Self::Epoch {
                epoch: a,
                sectors: b,
            },
            SNAPSHOT => Self::Snapshot {
                id: a,
                time_ns: b,
                base: c,
                keep_unprotected: flags & KEEP_UNPROTECTED != 0,
                reset: (flags & RESET != 0).then_some(flags & RESET_PROTECTED != 0),
            },
            DROP_UP_TO => Self::DropUpTo(a),
            DROP => Self::Drop(a),
            FORGET => Self::Forget(a),
            RELEASE => Self::Release(a, Chunks { start: b, end: c }),
            PROTECT => Self::Protect(Chunks { start: a, end: b }, flags & PROTECTED != 0),
            NARROW => Self::Narrow(a),
            REGION => Self::Region {
                region: a,
                epoch: b,
                period: c,
            },
            GONE => Self::Gone { chunk: a, epoch: b },
            _ => return None,
        })
    }
}
