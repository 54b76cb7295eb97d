// SPDX-License-Identifier: GPL-2.0

//! The command `preserve` on a real device: backups and snapshot copies.

#![forbid(unsafe_code)]

use std::fs;
use std::path::Path;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use vmtest::cmd;
use vmtest::disk::Disk;
use vmtest::fio::Job;
use vmtest::pattern;
use vmtest::rig::Rig;
use vmtest::rig::Spec;
use vmtest::rng::Rng;

use super::both;
use super::lifecycle::LIMIT;
use super::slow;
use super::Test;
use crate::Env;

pub const TESTS: &[Test] = &[
    both(slow(
        "i7_snapshot_copies_go_from_snapshot_to_snapshot",
        120,
        round_trip,
    )),
    both(slow(
        "i7_streams_that_do_not_fit_are_refused",
        60,
        do_not_fit,
    )),
    both(slow("backups_under_load_equal_the_view", 120, under_load)),
];

const COPY: &str = "/tmp/copy.img";

fn preserve(args: &[&str]) -> Result<String> {
    cmd::run("preserve", &[&["--quiet"], args].concat())
}

fn stream(number: u64) -> String {
    format!("/tmp/stream-{number}")
}

/// Files of a test; gone when dropped.
struct Files;

impl Files {
    fn none() -> Self {
        Files.remove();
        Files
    }

    fn remove(&self) {
        for number in 0..100 {
            let _ = fs::remove_file(stream(number));
        }
        for suffix in ["", ".preserve.json"] {
            let _ = fs::remove_file(format!("{COPY}{suffix}"));
        }
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Backs up the latest snapshot; a base makes it incremental.
fn back_up(rig: &Rig, id: u64, base: Option<u64>) -> Result<()> {
    let (output, name) = (stream(id), rig.dm.name());
    let base = base.map(|base| base.to_string());
    let mut args = vec!["backup", name, "-o", &output];
    if let Some(base) = &base {
        args.extend(["--from", base]);
    }
    preserve(&args).map(drop)
}

fn apply(id: u64) -> Result<()> {
    preserve(&["apply", &stream(id), COPY]).map(drop)
}

/// The copy equals the view wherever it is protected. The snapshot's scope must be full, or what is
/// out of it may be gone.
fn copy_equals_view(rig: &Rig, id: u64) -> Result<()> {
    let view = rig.view("vt-copied", id, &[])?;
    let frozen = Disk::open_ro(view.path())?.read(0, rig.sectors())?;
    copy_equals(rig, id, &frozen)
}

/// The copy equals these contents wherever it is protected.
fn copy_equals(rig: &Rig, id: u64, frozen: &[u8]) -> Result<()> {
    let copy = fs::read(COPY)?;
    ensure!(
        copy.len() == frozen.len(),
        "the copy has {} bytes",
        copy.len()
    );
    let size = rig.chunk() as usize * 512;
    for chunk in rig.control.chunks(0, id, 2, 2)? {
        let at = chunk as usize * size;
        let end = copy.len().min(at + size);
        ensure!(copy[at..end] == frozen[at..end], "chunk {chunk} differs");
    }
    Ok(())
}

fn round_trip(env: &Env) -> Result<()> {
    let _files = Files::none();
    let rig = Rig::new(&Spec {
        sectors: 4096 + 3,
        ..Spec::mb(2)
    })?;
    let disk = rig.disk()?;
    disk.stamp_all(rig.sectors(), 1)?;
    let mut rng = Rng::new(env.seed.unwrap_or(7));
    let mut base = None;
    for round in 0..env.rounds(6, 3) {
        for _ in 0..30 {
            let (start, len) = rng.range(rig.sectors(), 40);
            disk.stamp(start, len, 100 + rng.below(1000))?;
        }
        let (start, len) = rng.range(rig.sectors(), 300);
        let verb = if rng.chance(50) {
            "protect"
        } else {
            "unprotect"
        };
        rig.dm.message(&format!("{verb} {start} {len}"))?;
        let id = match base {
            None => rig.snapshot()?,
            Some(base) => rig.control.incremental(base)?,
        };
        let frozen = disk.read(0, rig.sectors())?;
        // Some of it is overwritten before the backup reads it.
        let (start, len) = rng.range(rig.sectors(), 2000);
        disk.stamp(start, len, 5000 + round)?;
        back_up(&rig, id, base).with_context(|| format!("round {round}"))?;
        preserve(&["verify", &stream(id)])?;
        apply(id).with_context(|| format!("round {round}"))?;
        copy_equals(&rig, id, &frozen).with_context(|| format!("round {round}"))?;
        base = Some(id);
    }
    Ok(())
}

fn do_not_fit(_: &Env) -> Result<()> {
    let _files = Files::none();
    let rig = Rig::new(&Spec::mb(1))?;
    let disk = rig.disk()?;
    let mut ids = Vec::new();
    for round in 0..3 {
        disk.stamp(round * 100, 500, round + 1)?;
        let id = rig.snapshot()?;
        back_up(&rig, id, ids.last().copied())?;
        ids.push(id);
    }
    ensure!(
        apply(ids[1]).is_err(),
        "an increment was applied to nothing"
    );
    ensure!(!Path::new(COPY).exists(), "a refused stream left a copy");
    apply(ids[0])?;
    let before = fs::read(COPY)?;
    ensure!(apply(ids[2]).is_err(), "an increment was left out");
    // One byte that is wrong, anywhere.
    let mut bytes = fs::read(stream(ids[1]))?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(stream(99), &bytes)?;
    ensure!(apply(99).is_err(), "a damaged stream was applied");
    fs::write(stream(99), &bytes[..middle])?;
    ensure!(apply(99).is_err(), "half a stream was applied");
    ensure!(
        fs::read(COPY)? == before,
        "a refused stream has changed the copy"
    );
    apply(ids[1])?;
    apply(ids[2])?;
    copy_equals_view(&rig, ids[2])?;
    // The first sectors are what the last round wrote.
    let copy = fs::read(COPY)?;
    pattern::check(&copy[200 * 512..700 * 512], 200, &[3; 500])
}

fn under_load(env: &Env) -> Result<()> {
    let _files = Files::none();
    let rig = Rig::new(&Spec::mb(8))?;
    rig.disk()?.stamp_all(rig.sectors(), 1)?;
    let fio = Job {
        path: rig.dm.path(),
        offset: 0,
        size: rig.sectors() * 512,
        loops: env.rounds(4, 2) as u32,
        block: "4k",
        depth: 8,
        seed: 3,
        more: &[],
    }
    .start()?;
    let mut base = None;
    for round in 0..env.rounds(4, 2) {
        let id = match base {
            None => rig.snapshot()?,
            Some(base) => rig.control.incremental(base)?,
        };
        back_up(&rig, id, base).with_context(|| format!("round {round}"))?;
        apply(id)?;
        // What is out of the snapshot's scope is not preserved; the next round looks at it again.
        if base.is_none() {
            copy_equals_view(&rig, id)?;
        }
        base = Some(id);
    }
    fio.finish(LIMIT)?;
    let id = rig.snapshot()?;
    back_up(&rig, id, base)?;
    apply(id)?;
    copy_equals_view(&rig, id)
}
