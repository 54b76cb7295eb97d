// SPDX-License-Identifier: GPL-2.0

//! The tests, a file for each group. The invariants of the design (section 12) that a running module can
//! show have tests whose names begin with theirs: `i1_`, `i3_`, `i4_`, `i6_`, `i7_`, `i8_`.

#![forbid(unsafe_code)]

mod bad_ioctl;
mod bad_message;
mod bad_table;
mod bookmarks;
mod concurrent;
mod designation;
mod events;
mod extents;
mod figures;
mod filesystem;
mod full;
mod full_block;
mod lifecycle;
mod nowait;
mod origin_errors;
mod prefix;
mod race;
mod random;
mod reload;
mod roundtrip;
mod several;
mod store_errors;
mod text;
pub mod unprivileged;
mod vanish;
mod zeroes;

use anyhow::Result;

use crate::Env;

/// A test.
pub struct Test {
    /// Its name; also says what it shows.
    pub name: &'static str,
    /// How long it may take, on a slow machine.
    pub seconds: u64,
    /// The test.
    pub run: fn(&Env) -> Result<()>,
}

/// A test with the usual time limit.
const fn test(name: &'static str, run: fn(&Env) -> Result<()>) -> Test {
    Test {
        name,
        seconds: 60,
        run,
    }
}

/// A test that takes longer.
const fn slow(name: &'static str, seconds: u64, run: fn(&Env) -> Result<()>) -> Test {
    Test { name, seconds, run }
}

const GROUPS: &[&[Test]] = &[
    figures::TESTS,
    text::TESTS,
    extents::TESTS,
    designation::TESTS,
    bookmarks::TESTS,
    several::TESTS,
    events::TESTS,
    bad_table::TESTS,
    bad_message::TESTS,
    bad_ioctl::TESTS,
    unprivileged::TESTS,
    nowait::TESTS,
    zeroes::TESTS,
    race::TESTS,
    origin_errors::TESTS,
    store_errors::TESTS,
    full::TESTS,
    full_block::TESTS,
    lifecycle::TESTS,
    reload::TESTS,
    vanish::TESTS,
    random::TESTS,
    concurrent::TESTS,
    prefix::TESTS,
    filesystem::TESTS,
    roundtrip::TESTS,
];

/// All tests.
pub fn all() -> impl Iterator<Item = &'static Test> {
    GROUPS.iter().flat_map(|group| group.iter())
}
