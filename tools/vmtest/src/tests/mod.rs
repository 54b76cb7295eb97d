// SPDX-License-Identifier: GPL-2.0

//! The tests, a file for each group. The invariants of the design (section 12) that a running
//! module can show have tests whose names begin with theirs: `i1_`, `i3_`, `i4_`, `i6_`, `i7_`,
//! `i8_`.

#![forbid(unsafe_code)]

mod bad_ioctl;
mod bad_message;
mod bad_table;
mod blocks;
mod bookmarks;
mod cgroup;
mod concurrent;
mod designation;
mod events;
mod extents;
mod figures;
mod filesystem;
mod full;
pub mod full_block;
mod lifecycle;
mod nowait;
mod origin_errors;
pub mod persistent;
mod prefix;
mod race;
mod random;
mod reload;
mod roundtrip;
mod samples;
mod several;
mod stacked;
mod stale;
mod store_errors;
mod suspended;
mod text;
mod udev;
pub mod unprivileged;
mod vanish;
mod zeroes;

use anyhow::Result;

use crate::Env;

/// A test.
#[derive(Clone, Copy)]
pub struct Test {
    /// Its name; also says what it shows.
    name: &'static str,
    /// How long it may take, on a slow machine.
    pub seconds: u64,
    /// The test.
    run: fn(&Env) -> Result<()>,
    /// On which kinds of store it runs.
    stores: Stores,
}

/// See [`Test`].
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stores {
    /// On what the test itself asks for.
    Own,
    /// On a transient one and on a persistent one.
    Both,
}

/// A test on one kind of store.
#[derive(Clone, Copy)]
pub struct Case {
    /// The test.
    pub test: &'static Test,
    persistent: bool,
}

impl Case {
    /// The test's name, and the kind of store if that is not the usual one.
    pub fn name(&self) -> String {
        match self.persistent {
            true => format!("{}_persistent", self.test.name),
            false => self.test.name.to_string(),
        }
    }

    /// Runs it, once in a process.
    pub fn run(&self, env: &Env) -> Result<()> {
        if self.persistent {
            vmtest::rig::use_persistent_stores();
        }
        (self.test.run)(env)
    }
}

/// A test with the usual time limit.
const fn test(name: &'static str, run: fn(&Env) -> Result<()>) -> Test {
    Test {
        name,
        seconds: 60,
        run,
        stores: Stores::Own,
    }
}

/// A test that takes longer.
pub const fn slow(name: &'static str, seconds: u64, run: fn(&Env) -> Result<()>) -> Test {
    Test {
        name,
        seconds,
        run,
        stores: Stores::Own,
    }
}

/// A test that runs on a persistent store as well: what it shows does not depend on the kind.
const fn both(test: Test) -> Test {
    Test {
        stores: Stores::Both,
        ..test
    }
}

const GROUPS: &[&[Test]] = &[
    figures::TESTS,
    text::TESTS,
    extents::TESTS,
    designation::TESTS,
    bookmarks::TESTS,
    several::TESTS,
    stacked::TESTS,
    stale::TESTS,
    events::TESTS,
    bad_table::TESTS,
    bad_message::TESTS,
    bad_ioctl::TESTS,
    blocks::TESTS,
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
    suspended::TESTS,
    vanish::TESTS,
    random::TESTS,
    cgroup::TESTS,
    concurrent::TESTS,
    prefix::TESTS,
    filesystem::TESTS,
    roundtrip::TESTS,
    samples::TESTS,
    udev::TESTS,
    persistent::TESTS,
    persistent::controls::TESTS,
    persistent::crash::TESTS,
    persistent::errors::TESTS,
    persistent::full_disk::TESTS,
    persistent::damage::TESTS,
    persistent::activation::TESTS,
    persistent::flush_origin::TESTS,
    persistent::flush_store::TESTS,
    persistent::foreign::TESTS,
    persistent::full_log::TESTS,
    persistent::growth::TESTS,
    persistent::io_counts::TESTS,
    persistent::last_snapshot::TESTS,
    persistent::losing::TESTS,
    persistent::many_epochs::TESTS,
    persistent::offline::TESTS,
    persistent::on_error::TESTS,
    persistent::failing::TESTS,
    persistent::recovery::TESTS,
    persistent::shown::TESTS,
    persistent::order::TESTS,
    persistent::replay::TESTS,
    persistent::snapshot_flush::TESTS,
    persistent::space::TESTS,
    persistent::strange::TESTS,
    persistent::trust::TESTS,
];

/// All tests.
pub fn all() -> impl Iterator<Item = Case> {
    let tests = GROUPS.iter().flat_map(|group| group.iter());
    tests.flat_map(|test| {
        let kinds: &[bool] = match test.stores {
            Stores::Own => &[false],
            Stores::Both => &[false, true],
        };
        kinds
            .iter()
            .map(move |&persistent| Case { test, persistent })
    })
}
