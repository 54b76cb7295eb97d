// SPDX-License-Identifier: GPL-2.0

//! Who takes part: the small worlds that are explored.

#![forbid(unsafe_code)]

use crate::chunks::Chunks;
use crate::user::Order;
use crate::user::Taking;
use crate::user::ALONE;
use crate::user::FROM_FIRST;
use crate::user::FULL;

/// How a bio over several chunks works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Claims all it needs (rising order), and marks nothing unless it is submitted in the same
    /// stay. Closed marks are exact.
    Whole,
    /// Claims what is free, marks it, gives up the claims, goes round. Never waits while holding a
    /// claim; a mark may be left behind in an epoch in which the bio was not submitted after all.
    Piecewise,
}

/// A small world.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Its name on the command line.
    pub name: &'static str,
    /// The chunks of each writer's bio.
    pub writers: &'static [Chunks],
    /// Snapshot and chunk of each frozen read.
    pub readers: &'static [(u8, u8)],
    /// The snapshots to be taken during the run, in this order.
    pub snapshots: &'static [Taking],
    /// What the user may do meanwhile, in any order.
    pub orders: &'static [Order],
    /// The designation at the beginning, and of snapshot 0, with which the run begins.
    pub protected: Chunks,
    /// Chunks that the copier may fail to read.
    pub fallible: Chunks,
    /// How bios over several chunks work.
    pub policy: Policy,
}

const SMALL: Config = Config {
    name: "",
    writers: &[],
    readers: &[],
    snapshots: &[],
    orders: &[],
    protected: 0b111,
    fallible: 0,
    policy: Policy::Whole,
};

/// All writes meet in one chunk.
pub const ONE_CHUNK_THREE_WRITERS: Config = Config {
    name: "one-chunk-three-writers",
    writers: &[0b001, 0b001, 0b001],
    readers: &[(0, 0)],
    snapshots: &[FULL, FULL],
    orders: &[Order::Drop(0), Order::Release(1, 0b001)],
    ..SMALL
};

/// Reads of two snapshots of the same chunk.
pub const ONE_CHUNK_TWO_READERS: Config = Config {
    name: "one-chunk-two-readers",
    writers: &[0b001, 0b001, 0b001],
    readers: &[(0, 0), (1, 0)],
    snapshots: &[FULL, FULL],
    orders: &[Order::Release(0, 0b001), Order::Drop(1)],
    ..SMALL
};

const ONE_CHUNK_THREE_SNAPSHOTS: Config = Config {
    name: "one-chunk-three-snapshots",
    writers: &[0b001, 0b001, 0b001],
    readers: &[(1, 0)],
    snapshots: &[FULL, ALONE, FULL],
    orders: &[Order::Drop(0), Order::Release(1, 0b001)],
    ..SMALL
};

/// Bios over two chunks that overlap fully and in part.
pub const WIDE_BIOS: Config = Config {
    name: "wide-bios",
    writers: &[0b011, 0b011, 0b001],
    readers: &[(0, 1)],
    snapshots: &[FULL, ALONE],
    orders: &[Order::Release(0, 0b010), Order::Drop(0)],
    ..SMALL
};

const WIDE_BIOS_PIECEWISE: Config = Config {
    name: "wide-bios-piecewise",
    policy: Policy::Piecewise,
    ..WIDE_BIOS
};

const RING_OF_BIOS: Config = Config {
    name: "ring-of-bios",
    writers: &[0b011, 0b110, 0b101],
    snapshots: &[FULL, FULL],
    orders: &[Order::Release(0, 0b010)],
    ..SMALL
};

const RING_OF_BIOS_PIECEWISE: Config = Config {
    name: "ring-of-bios-piecewise",
    policy: Policy::Piecewise,
    ..RING_OF_BIOS
};

/// Snapshots that differ in what they protect.
pub const DESIGNATION: Config = Config {
    name: "designation",
    writers: &[0b011, 0b001, 0b010],
    readers: &[(1, 0)],
    snapshots: &[FULL, ALONE],
    orders: &[Order::Protect(0b010), Order::Unprotect(0b001)],
    protected: 0b001,
    ..SMALL
};

/// A snapshot that keeps only what changed since the first.
pub const INCREMENTAL: Config = Config {
    name: "incremental",
    writers: &[0b011, 0b001, 0b010],
    readers: &[(1, 0)],
    snapshots: &[FROM_FIRST, FULL],
    orders: &[Order::Drop(0)],
    ..SMALL
};

const READ_ERRORS: Config = Config {
    name: "read-errors",
    writers: &[0b011, 0b001, 0b010],
    readers: &[(0, 0)],
    snapshots: &[FULL],
    orders: &[Order::Drop(0), Order::Release(1, 0b001)],
    fallible: 0b001,
    ..SMALL
};

/// The worlds in which the right protocol is explored.
pub const WORLDS: &[Config] = &[
    ONE_CHUNK_THREE_WRITERS,
    ONE_CHUNK_TWO_READERS,
    ONE_CHUNK_THREE_SNAPSHOTS,
    WIDE_BIOS,
    WIDE_BIOS_PIECEWISE,
    RING_OF_BIOS,
    RING_OF_BIOS_PIECEWISE,
    DESIGNATION,
    INCREMENTAL,
    READ_ERRORS,
];

/// Worlds that take minutes, for changes of the protocol.
pub const LARGE: &[Config] = &[
    Config {
        name: "large-one-chunk",
        snapshots: &[FULL, ALONE, FULL],
        orders: &[
            Order::Release(0, 0b001),
            Order::Drop(1),
            Order::Release(1, 0b001),
        ],
        ..ONE_CHUNK_TWO_READERS
    },
    Config {
        name: "large-wide-bios",
        writers: &[0b011, 0b011, 0b011],
        readers: &[(0, 1), (1, 0)],
        ..WIDE_BIOS
    },
    Config {
        name: "large-ring",
        writers: &[0b011, 0b110, 0b111],
        readers: &[(0, 1)],
        snapshots: &[FULL, ALONE, FULL],
        orders: &[Order::Release(0, 0b010), Order::Drop(1)],
        ..WIDE_BIOS
    },
    Config {
        name: "large-ring-piecewise",
        readers: &[(0, 1)],
        ..RING_OF_BIOS_PIECEWISE
    },
    Config {
        name: "large-incremental",
        writers: &[0b011, 0b011, 0b010],
        readers: &[(1, 0), (2, 1)],
        snapshots: &[FROM_FIRST, FROM_FIRST],
        orders: &[Order::Drop(0), Order::Protect(0b010)],
        protected: 0b001,
        fallible: 0b001,
        ..WIDE_BIOS
    },
];
