// SPDX-License-Identifier: GPL-2.0

//! Files on an ext4 on a live device, of which is known what must be there after a crash.
//!
//! File number n has the name `f<n % 20>`, is whole and synced before it gets it, and then the
//! directory is synced as well.

#![forbid(unsafe_code)]

use std::fs;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use preserve::uapi::TakeSnapshot;
use preserve::uapi::SNAPSHOT_FREEZE;
use vmtest::cmd;
use vmtest::live::Live;

use super::portrait::snapshots;

/// Names of files that are written again and again.
const NAMES: u64 = 20;

/// A mounted ext4; unmounted when dropped.
pub struct Mount;

impl Mount {
    pub const AT: &str = "/tmp/vt-mounted";

    /// Mounts a device.
    pub fn new(path: &str, options: &str) -> Result<Self> {
        fs::create_dir_all(Self::AT)?;
        cmd::run("mount", &["-t", "ext4", "-o", options, path, Self::AT])?;
        Ok(Mount)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Err(e) = cmd::run("umount", &[Self::AT]) {
            eprintln!("{e}");
        }
    }
}

/// What must be there after a crash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Promise {
    /// Files below this number.
    pub files: u64,
    /// This snapshot or a later one; 0: none.
    pub snapshot: u64,
    /// Files below this number, in it.
    pub frozen: u64,
}

fn content(number: u64) -> Vec<u8> {
    format!("file {number} ")
        .repeat(500 + number as usize % 7 * 300)
        .into_bytes()
}

/// Makes the filesystem.
pub fn make(live: &Live) -> Result<()> {
    cmd::run("mkfs.ext4", &["-q", "-F", live.dm.path()]).map(drop)
}

/// Goes on from what is there: writes files, and takes frozen snapshots now and then, until told to
/// stop; `promised` hears what must be there from now on.
pub fn write(
    live: &Live,
    mut promise: Promise,
    stop: &AtomicBool,
    promised: impl Fn(&Promise) -> Result<()>,
) -> Result<()> {
    let _mount = Mount::new(live.dm.path(), "rw")?;
    while !stop.load(Ordering::SeqCst) {
        let number = promise.files;
        let path = format!("{}/f{}", Mount::AT, number % NAMES);
        let mut file = File::create(format!("{path}.new"))?;
        file.write_all(&content(number))?;
        file.sync_all()?;
        fs::rename(format!("{path}.new"), &path)?;
        File::open(Mount::AT)?.sync_all()?;
        promise.files += 1;
        promised(&promise)?;
        if number % 8 == 7 {
            let wish = TakeSnapshot {
                flags: SNAPSHOT_FREEZE,
                keep: 3,
                ..TakeSnapshot::default()
            };
            promise.snapshot = live.control.take(wish, 0)?;
            promise.frozen = promise.files;
            promised(&promise)?;
        }
    }
    Ok(())
}

/// Every file is one that was written, as a whole; and all below `number`, or what replaced them,
/// are there.
fn check_files(number: u64) -> Result<()> {
    for n in 0..NAMES {
        let path = format!("{}/f{n}", Mount::AT);
        // The last one below `number` that has the name.
        let least = (n..number).step_by(NAMES as usize).last();
        if !Path::new(&path).exists() {
            ensure!(least.is_none(), "f{n} is missing, {number} were written");
            continue;
        }
        let found = fs::read(&path)?;
        let words = String::from_utf8_lossy(&found[..found.len().min(40)]).into_owned();
        let number = words.split(' ').nth(1).and_then(|word| word.parse().ok());
        let number: u64 = number.with_context(|| format!("f{n} begins with {words:?}"))?;
        ensure!(
            number % NAMES == n && found == content(number),
            "f{n} is not whole: {words:?}"
        );
        ensure!(
            least.is_none_or(|least| least <= number),
            "f{n} is file {number}, and {least:?} had replaced it"
        );
    }
    Ok(())
}

/// What was promised is there, on the live device and in every snapshot, and the filesystem is
/// clean.
pub fn check(live: &Live, promise: &Promise) -> Result<()> {
    let all = snapshots(live)?;
    let latest = all.last().copied().unwrap_or(0);
    ensure!(
        latest >= promise.snapshot,
        "the latest snapshot is {latest} instead of {}",
        promise.snapshot
    );
    for id in all {
        let view = live.view("vt-view", id, &[])?;
        let context = || format!("snapshot {id}");
        cmd::run("e2fsck", &["-fn", view.path()]).with_context(context)?;
        let mount = Mount::new(view.path(), "ro,noload").with_context(context)?;
        let least = if id >= promise.snapshot {
            promise.frozen
        } else {
            0
        };
        check_files(least).with_context(context)?;
        drop(mount);
    }
    let mount = Mount::new(live.dm.path(), "rw")?;
    check_files(promise.files)?;
    drop(mount);
    cmd::run("e2fsck", &["-fn", live.dm.path()])?;
    ensure!(live.control.info()?.gone_chunks == 0, "gone chunks");
    Ok(())
}
