// SPDX-License-Identifier: GPL-2.0

//! A store whose own disk has no space left, as one of thin provisioning may: that is a store that
//! has failed, not one without room for its checkpoint.

#![forbid(unsafe_code)]

use std::fs;

use anyhow::ensure;
use anyhow::Result;
use rustix::fs::FallocateFlags;
use vmtest::cmd;
use vmtest::kmsg::Kmsg;
use vmtest::loopdev::Loop;
use vmtest::rig::Rig;
use vmtest::rig::Spec;

use super::errors::prepared;
use super::errors::Area;
use crate::tests::test;
use crate::tests::Test;

pub const TESTS: &[Test] = &[test(
    "i4_persistent_store_on_a_full_disk_has_failed",
    |_| has_failed(),
)];

/// A small filesystem in memory; gone when dropped.
struct Tmpfs(&'static str);

impl Tmpfs {
    fn new(path: &'static str, mb: u64) -> Result<Self> {
        fs::create_dir_all(path)?;
        let size = format!("size={mb}m");
        cmd::run("mount", &["-t", "tmpfs", "-o", &size, "none", path])?;
        Ok(Self(path))
    }

    /// Uses up what space there is.
    fn fill(&self) -> Result<()> {
        let junk = vec![1; 1 << 20];
        for n in 0.. {
            let file = format!("{}/junk{n}", self.0);
            if fs::write(file, &junk).is_err() {
                return Ok(());
            }
        }
        Ok(())
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        if let Err(e) = cmd::run("umount", &[self.0]) {
            eprintln!("{e}");
        }
    }
}

fn has_failed() -> Result<()> {
    let disk = Tmpfs::new("/run/vt-full", 32)?;
    let file = format!("{}/store.img", disk.0);
    fs::File::create(&file)?.set_len(96 << 20)?;
    let (origin, store) = (Loop::new("vt-origin", 1)?, Loop::over(file.clone())?);
    let spec = Spec::mb(1).persistent();
    let (rig, live) = prepared(Rig::over(&spec, origin.path(), store.path())?)?;
    let first = rig.control.info()?.latest - 1;
    rig.control.drop_snapshot(first)?;
    rig.settle()?;
    // The images' blocks go back to the disk, which has none for the next image then.
    let images = Area::Images.of(&rig)?;
    let bytes = (images.end - images.start) * 512;
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    let sparse = fs::File::options().write(true).open(&file)?;
    rustix::fs::fallocate(sparse, punch, images.start * 512, bytes)?;
    disk.fill()?;
    let mut kernel = Kmsg::now()?;
    ensure!(!rig.dm.try_message("checkpoint")?.ok, "a checkpoint");
    let lines = kernel.lines()?;
    let heard = |words: &str| lines.iter().any(|line| line.contains(words));
    ensure!(heard("THE STORE FAILED"), "the kernel said {lines:?}");
    ensure!(!heard("has no room"), "the kernel said {lines:?}");
    // Writes go on.
    live.stamp_all(rig.sectors(), 9)?;
    live.check(0, &vec![9; rig.sectors() as usize])
}
