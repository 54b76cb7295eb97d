// SPDX-License-Identifier: GPL-2.0

//! ext4 and XFS on the live device: a snapshot taken frozen, under load, is a clean filesystem.

#![forbid(unsafe_code)]

use std::fs;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use preserve::uapi::TakeSnapshot;
use preserve::uapi::SNAPSHOT_FREEZE;
use vmtest::cmd;
use vmtest::disk::Disk;
use vmtest::loopdev::Loop;
use vmtest::rig::Rig;
use vmtest::rig::Spec;

use super::both;
use super::slow;
use super::Test;
use crate::Env;

pub const TESTS: &[Test] = &[
    both(slow("ext4_frozen_snapshots_are_clean", 180, |env| {
        filesystem(env, &EXT4)
    })),
    both(slow("xfs_frozen_snapshots_are_clean", 180, |env| {
        filesystem(env, &XFS)
    })),
];

struct Kind {
    name: &'static str,
    mb: u64,
    make: &'static [&'static str],
    /// How a snapshot is mounted.
    options: &'static str,
    /// Checks the copy of a snapshot, without changing it.
    check: &'static [&'static str],
    /// A frozen filesystem has something in its log, by design: it is mounted once before it is
    /// checked.
    replay: bool,
}

const EXT4: Kind = Kind {
    name: "ext4",
    mb: 64,
    make: &["mkfs.ext4", "-q", "-F"],
    options: "ro,noload",
    check: &["e2fsck", "-fn"],
    replay: false,
};

const XFS: Kind = Kind {
    name: "xfs",
    // The least that mkfs.xfs makes.
    mb: 304,
    make: &["mkfs.xfs", "-q", "-f"],
    options: "ro,norecovery,nouuid",
    check: &["xfs_repair", "-n"],
    replay: true,
};

/// A mounted filesystem; unmounted when dropped.
struct Mount(String);

impl Mount {
    fn new(kind: &Kind, path: &str, options: &str, name: &str) -> Result<Self> {
        let at = format!("/tmp/{name}");
        fs::create_dir_all(&at)?;
        cmd::run("mount", &["-t", kind.name, "-o", options, path, &at])?;
        Ok(Mount(at))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Err(e) = cmd::run("umount", &[&self.0]) {
            eprintln!("{e}");
        }
    }
}

/// Files whose content tells which they are.
fn content(number: u64) -> Vec<u8> {
    format!("file {number} ")
        .repeat(2000 + number as usize % 7 * 500)
        .into_bytes()
}

/// Writes, renames and deletes files until told to stop.
fn load(dir: &str, stop: &AtomicBool) -> Result<u64> {
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let path = format!("{dir}/load-{}", number % 20);
        let mut file = File::create(format!("{path}.new"))?;
        file.write_all(&content(number))?;
        if number % 5 == 0 {
            file.sync_all()?;
        }
        fs::rename(format!("{path}.new"), &path)?;
        if number % 7 == 0 {
            fs::remove_file(&path)?;
        }
        number += 1;
    }
    Ok(number)
}

fn filesystem(env: &Env, kind: &Kind) -> Result<()> {
    let rig = Rig::new(&Spec {
        store: 48 * 2048,
        sparse: true,
        ..Spec::mb(kind.mb)
    })?;
    let path = rig.dm.path();
    cmd::run(kind.make[0], &[&kind.make[1..], &[path]].concat())?;
    let live = Mount::new(kind, path, "rw", "live")?;
    for number in 0..40 {
        fs::write(format!("{}/kept-{number}", live.0), content(number))?;
    }
    let stop = AtomicBool::new(false);
    thread::scope(|scope| -> Result<()> {
        let writer = scope.spawn(|| load(&live.0, &stop));
        let mut result = Ok(());
        for round in 0..env.rounds(3, 1) {
            result = snapshot(&rig, kind).with_context(|| format!("round {round}"));
            if result.is_err() {
                break;
            }
        }
        stop.store(true, Ordering::Relaxed);
        let written = writer
            .join()
            .map_err(|_| anyhow::anyhow!("the load died"))??;
        result?;
        ensure!(written > 20, "only {written} files were written");
        Ok(())
    })?;
    drop(live);
    // The live filesystem is whole, too.
    cmd::run(kind.check[0], &[&kind.check[1..], &[path]].concat())?;
    Ok(())
}

fn snapshot(rig: &Rig, kind: &Kind) -> Result<()> {
    thread::sleep(std::time::Duration::from_millis(500));
    let frozen = TakeSnapshot {
        flags: SNAPSHOT_FREEZE,
        ..TakeSnapshot::default()
    };
    let id = rig.control.take(frozen, 0).context("a frozen snapshot")?;
    let view = rig.view("vt-view", id, &[])?;
    thread::sleep(std::time::Duration::from_millis(500));
    let image = format!("/tmp/{}.img", kind.name);
    copy(view.path(), &image).context("copying the view")?;
    let image = Loop::over(image)?;
    if kind.replay {
        drop(Mount::new(kind, image.path(), "rw,nouuid", "copy")?);
    }
    cmd::run(kind.check[0], &[&kind.check[1..], &[image.path()]].concat())
        .context("the copy of the view")?;
    drop(image);
    let mount = Mount::new(kind, view.path(), kind.options, "frozen")?;
    for number in 0..40 {
        let found = fs::read(format!("{}/kept-{number}", mount.0))?;
        ensure!(found == content(number), "kept-{number} has changed");
    }
    for entry in fs::read_dir(&mount.0)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::read(entry.path()).with_context(|| format!("{}", entry.path().display()))?;
        }
    }
    let refused = fs::write(Path::new(&mount.0).join("new"), "x");
    ensure!(refused.is_err(), "a file was made in a view");
    ensure!(
        rig.control.info()?.invalidated == 0,
        "the snapshot was given up"
    );
    Ok(())
}

/// Copies what is not zero.
fn copy(from: &str, to: &str) -> Result<()> {
    use std::os::unix::fs::FileExt;
    let disk = Disk::open_ro(from)?;
    let image = File::create(to)?;
    image.set_len(disk.sectors() * 512)?;
    for start in (0..disk.sectors()).step_by(2048) {
        let len = 2048.min(disk.sectors() - start);
        let bytes = disk.read(start, len)?;
        for (i, part) in bytes.chunks(4096).enumerate() {
            if part.iter().any(|b| *b != 0) {
                image.write_all_at(part, start * 512 + i as u64 * 4096)?;
            }
        }
    }
    Ok(())
}
