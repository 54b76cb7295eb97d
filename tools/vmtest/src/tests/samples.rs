// SPDX-License-Identifier: GPL-2.0

//! The modules of `samples/`: another target made of `dm/`, and the examples of its documentation.

#![forbid(unsafe_code)]

use std::path::Path;

use anyhow::ensure;
use anyhow::Result;
use vmtest::cmd;
use vmtest::disk::Disk;
use vmtest::dm::Dm;
use vmtest::node;
use vmtest::nullblk::NullBlk;

use super::test;
use super::Test;
use crate::runner;
use crate::Env;

pub const TESTS: &[Test] = &[
    test("sample_target_counts_reads_and_writes", count),
    test("examples_of_the_documentation_run", examples),
];

/// A loaded module; unloaded when dropped.
struct Module(&'static str);

impl Module {
    fn load(name: &'static str, file: &str) -> Result<Self> {
        cmd::run("insmod", &[&runner::sample_path(file)])?;
        Ok(Self(name))
    }

    fn unload(self) -> Result<()> {
        let name = self.0;
        drop(self);
        let is_there = Path::new("/sys/module").join(name).exists();
        ensure!(!is_there, "{name} cannot be unloaded");
        Ok(())
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        if let Err(e) = cmd::run("rmmod", &[self.0]) {
            eprintln!("{e}");
        }
    }
}

fn count(_: &Env) -> Result<()> {
    let module = Module::load("dm_count", "dm-count.ko")?;
    let below = NullBlk::new("vt-below", 1)?;
    let mut dm = Dm::create("vt-count", &format!("0 2048 count {}", below.path()))?;
    let device = node::number(below.path())?;
    let (major, minor) = (device.major, device.minor);
    ensure!(dm.table()? == format!("0 2048 count {major}:{minor}"));
    let counts = |reads: u64, writes: u64| -> Result<()> {
        let status = dm.status()?;
        let wanted = format!("0 2048 count {reads} {writes}");
        ensure!(status == wanted, "{status}, not {wanted}");
        Ok(())
    };
    counts(0, 0)?;

    let disk = Disk::open(dm.path())?;
    disk.stamp(0, 8, 1)?;
    disk.stamp(2040, 8, 2)?;
    counts(0, 2)?;
    disk.check(0, &[1; 8])?;
    counts(1, 2)?;
    disk.flush()?;
    disk.discard(0, 8)?;
    counts(1, 2)?;
    let beneath = Disk::open_ro(below.path())?;
    beneath.check(0, &[0; 8])?;
    beneath.check(2040, &[2; 8])?;
    counts(1, 2)?;

    dm.suspend()?;
    dm.resume()?;
    dm.suspend_noflush()?;
    dm.resume()?;
    disk.stamp(8, 8, 3)?;
    disk.check(8, &[3; 8])?;
    counts(2, 3)?;

    let too_long = format!("0 4096 count {}", below.path());
    for table in ["0 2048 count", "0 2048 count /dev/nothing", &too_long] {
        ensure!(dm.load(table).is_err(), "{table} was taken");
    }
    let in_use = cmd::output("rmmod", &["dm_count"], "")?;
    ensure!(!in_use.ok, "the module went away under its device");
    drop(disk);
    dm.remove()?;
    module.unload()
}

/// Loading it runs them; the kernel's log says which one fails.
fn examples(_: &Env) -> Result<()> {
    Module::load("dm_examples", "dm-examples.ko")?.unload()
}
