// SPDX-License-Identifier: GPL-2.0

//! The small worlds with power cuts.

#![forbid(unsafe_code)]

use crate::chunks::Chunks;
use crate::user::Order;
use crate::user::Taking;
use crate::user::ALONE;
use crate::user::FROM_FIRST;
use crate::user::FULL;

/// In which order a checkpoint saves what changes while it is saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saves {
    /// Each mark and each index entry at any time.
    Any,
    /// All marks, then all of the index.
    MarksFirst,
    /// All of the index, then all marks.
    IndexFirst,
}

/// A small world.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Its name on the command line.
    pub name: &'static str,
    /// The chunks of each writer's bio. One that a crash cut short is begun again.
    pub writers: &'static [Chunks],
    /// The snapshots to be taken during the run, in this order.
    pub snapshots: &'static [Taking],
    /// What the user may do meanwhile, in any order.
    pub orders: &'static [Order],
    /// The designation at the beginning, and of snapshot 0, with which the run begins.
    pub protected: Chunks,
    /// Chunks that the copier may fail to read.
    pub fallible: Chunks,
    /// The copier may find that the store is full: the oldest snapshot is given up.
    pub scarce: bool,
    /// Checkpoints, besides those of recovery.
    pub checkpoints: u8,
    /// Crashes.
    pub crashes: u8,
    /// How often the store fails, so that not even a superblock can be written, and comes back with
    /// a crash.
    pub failures: u8,
    /// How checkpoints save.
    pub saves: Saves,
    /// Snapshots and orders do not wait for a checkpoint that is being saved.
    pub beside: bool,
}

/// An incremental snapshot that replaces its base.
const ONLY_FROM_FIRST: Taking = Taking {
    base: Some(0),
    alone: true,
};

const SMALL: Config = Config {
    name: "",
    writers: &[0b01, 0b01],
    snapshots: &[FULL],
    orders: &[],
    protected: 0b11,
    fallible: 0,
    scarce: false,
    checkpoints: 1,
    crashes: 2,
    failures: 0,
    saves: Saves::Any,
    beside: true,
};

/// Copies only.
pub const COPIES: Config = Config {
    name: "crash-copies",
    snapshots: &[FULL, FULL],
    ..SMALL
};

/// A chunk that nobody needs: region records only.
pub const REGION: Config = Config {
    name: "crash-region",
    protected: 0b10,
    ..SMALL
};

/// A snapshot is dropped, and what it needed with it: chunk 0 is then written without a copy,
/// perhaps in a region that the other chunk has made dirty already.
pub const DROPPED: Config = Config {
    name: "crash-dropped",
    writers: &[0b01, 0b10],
    snapshots: &[],
    orders: &[Order::Drop(0)],
    protected: 0b01,
    ..SMALL
};

/// The younger snapshot is dropped; its bookmark still has to know what changed since.
pub const BOOKMARK: Config = Config {
    name: "crash-bookmark",
    orders: &[Order::Drop(1)],
    ..SMALL
};

/// Snapshots follow each other with `keep=1`.
pub const KEEP_ONE: Config = Config {
    name: "crash-keep-one",
    snapshots: &[ALONE, ALONE],
    ..SMALL
};

/// A chunk is released for one of two snapshots.
pub const RELEASED: Config = Config {
    name: "crash-released",
    writers: &[0b01, 0b10],
    orders: &[Order::Release(0, 0b01)],
    protected: 0b01,
    checkpoints: 0,
    ..SMALL
};

/// Two writes of a chunk that is released between them.
pub const RELEASED_TWICE: Config = Config {
    name: "crash-released-twice",
    orders: &[Order::Release(0, 0b01)],
    ..SMALL
};

/// A snapshot narrows its scope to what changed since another, which is dropped.
pub const NARROWED: Config = Config {
    name: "crash-narrowed",
    snapshots: &[FROM_FIRST],
    orders: &[Order::Drop(0)],
    ..SMALL
};

/// A narrowed scope in a region that is dirty already.
pub const NARROWED_DIRTY: Config = Config {
    name: "crash-narrowed-dirty",
    writers: &[0b01, 0b10],
    snapshots: &[ONLY_FROM_FIRST],
    protected: 0b01,
    crashes: 1,
    beside: false,
    ..SMALL
};

/// Snapshots that differ in what they protect.
pub const DESIGNATION: Config = Config {
    name: "crash-designation",
    orders: &[Order::Protect(0b01), Order::Unprotect(0b10)],
    protected: 0b10,
    checkpoints: 0,
    crashes: 1,
    ..SMALL
};

/// A chunk that sometimes cannot be read.
pub const GONE: Config = Config {
    name: "crash-gone",
    fallible: 0b01,
    ..SMALL
};

/// The store is full, and the oldest snapshot is given up; the region is perhaps dirty already.
pub const GIVEN_UP: Config = Config {
    name: "crash-given-up",
    writers: &[0b01, 0b10],
    snapshots: &[],
    protected: 0b01,
    scarce: true,
    crashes: 1,
    ..SMALL
};

/// The store fails while one chunk is needed, and the other's region perhaps dirty already; the
/// user drops all the same.
pub const FAILING: Config = Config {
    name: "crash-failing",
    writers: &[0b01, 0b10],
    orders: &[Order::Drop(0)],
    protected: 0b01,
    checkpoints: 0,
    crashes: 1,
    failures: 1,
    ..SMALL
};

/// A bio over a chunk that is needed and one that is not.
pub const WIDE: Config = Config {
    name: "crash-wide",
    writers: &[0b11, 0b01],
    protected: 0b01,
    crashes: 1,
    ..SMALL
};

/// The worlds in which the right protocol is explored.
pub const WORLDS: &[Config] = &[
    COPIES,
    REGION,
    DROPPED,
    BOOKMARK,
    KEEP_ONE,
    RELEASED,
    RELEASED_TWICE,
    NARROWED,
    NARROWED_DIRTY,
    DESIGNATION,
    GONE,
    GIVEN_UP,
    FAILING,
    WIDE,
];

/// Worlds that take minutes, for changes of the protocol.
pub const LARGE: &[Config] = &[
    Config {
        name: "large-crash-copies",
        writers: &[0b01, 0b01, 0b01],
        fallible: 0b01,
        checkpoints: 2,
        ..COPIES
    },
    Config {
        name: "large-crash-bookmark",
        writers: &[0b01, 0b01, 0b01],
        orders: &[Order::Drop(1), Order::Drop(0)],
        ..BOOKMARK
    },
    Config {
        name: "large-crash-narrowed",
        orders: &[Order::Drop(0), Order::Release(1, 0b01)],
        snapshots: &[FROM_FIRST, FULL],
        ..NARROWED
    },
    Config {
        name: "large-crash-released",
        checkpoints: 1,
        ..RELEASED
    },
    Config {
        name: "large-crash-designation",
        checkpoints: 1,
        crashes: 2,
        ..DESIGNATION
    },
    Config {
        name: "large-crash-failing",
        checkpoints: 1,
        ..FAILING
    },
];
