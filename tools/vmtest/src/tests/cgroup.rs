// SPDX-License-Identifier: GPL-2.0

//! Limits of control groups (version 2) on the disk below: first overwrites, which the copier sends
//! on, count for the group of who wrote them, as all other writes do.

#![forbid(unsafe_code)]

use std::fs;
use std::time::Duration;
use std::time::Instant;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use vmtest::cmd;
use vmtest::node;
use vmtest::rig::Rig;
use vmtest::rig::Spec;
use vmtest::skipped::Skipped;

use super::both;
use super::test;
use super::Test;
use crate::Env;

pub const TESTS: &[Test] = &[both(test(
    "first_overwrites_count_for_the_writers_control_group",
    charged,
))];

/// A control group that this process is in; left when dropped.
struct Group;

impl Group {
    const ROOT: &str = "/tmp/vt-cgroup";
    const AT: &str = "/tmp/vt-cgroup/writer";

    /// Makes the group, for I/O, and moves this process there.
    fn enter() -> Result<Self> {
        fs::create_dir_all(Self::ROOT)?;
        let mount = ["-t", "cgroup2", "none", Self::ROOT];
        if !cmd::output("mount", &mount, "")?.ok {
            return Err(Skipped::without("control groups (CONFIG_CGROUPS)"));
        }
        // From here on it is left.
        let group = Self;
        let there = fs::read_to_string(format!("{}/cgroup.controllers", Self::ROOT))?;
        if !there.split_whitespace().any(|name| name == "io") {
            return Err(Skipped::without("the controller io (CONFIG_BLK_CGROUP)"));
        }
        fs::write(format!("{}/cgroup.subtree_control", Self::ROOT), "+io")?;
        fs::create_dir(Self::AT)?;
        if fs::metadata(format!("{}/io.max", Self::AT)).is_err() {
            return Err(Skipped::without("io.max (CONFIG_BLK_DEV_THROTTLING)"));
        }
        Self::move_to(Self::AT)?;
        Ok(group)
    }

    /// Moves this process.
    fn move_to(group: &str) -> Result<()> {
        let process = std::process::id().to_string();
        fs::write(format!("{group}/cgroup.procs"), process)
            .with_context(|| format!("cannot move to {group}"))
    }

    /// Lets the group write so many bytes a second to a disk.
    fn limit(&self, disk: &str, bytes: u64) -> Result<()> {
        let line = format!("{disk} wbps={bytes}");
        fs::write(format!("{}/io.max", Self::AT), line).context("cannot set io.max")
    }

    /// Returns the bytes that the group has written to a disk.
    fn written(&self, disk: &str) -> Result<u64> {
        let all = fs::read_to_string(format!("{}/io.stat", Self::AT))?;
        let line = all
            .lines()
            .find(|line| line.split(' ').next() == Some(disk));
        let words = line.unwrap_or("").split(' ');
        let bytes = words.filter_map(|word| word.strip_prefix("wbytes=")).next();
        Ok(bytes.unwrap_or("0").parse()?)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The first three fail if it was not made.
        let _ = Self::move_to(Self::ROOT);
        let _ = fs::remove_dir(Self::AT);
        let _ = fs::write(format!("{}/cgroup.subtree_control", Self::ROOT), "-io");
        if let Err(e) = cmd::run("umount", &[Self::ROOT]) {
            eprintln!("{e}");
        }
    }
}

/// Sectors written, all of them for the first time since a snapshot.
const SECTORS: u64 = 2048;
/// They take two seconds.
const BYTES_PER_SECOND: u64 = SECTORS * 512 / 2;

fn charged(_: &Env) -> Result<()> {
    let rig = Rig::new(&Spec::mb(4))?;
    let device = node::number(rig.origin_disk())?;
    let disk_below = format!("{}:{}", device.major, device.minor);
    let disk = rig.disk()?;
    disk.stamp_all(rig.sectors(), 1)?;
    rig.snapshot()?;
    let group = Group::enter()?;
    let before = group.written(&disk_below)?;
    for start in (0..SECTORS).step_by(64) {
        disk.stamp(start, 64, 2)?;
    }
    let written = group.written(&disk_below)? - before;
    ensure!(written == SECTORS * 512, "{written} bytes were charged");
    group.limit(&disk_below, BYTES_PER_SECOND)?;
    let begun = Instant::now();
    for start in (SECTORS..2 * SECTORS).step_by(64) {
        disk.stamp(start, 64, 2)?;
    }
    let took = begun.elapsed();
    ensure!(
        took >= Duration::from_millis(1500),
        "io.max did not hold them up: {took:?}"
    );
    Ok(())
}
