// SPDX-License-Identifier: GPL-2.0

//! The guest's side of `scripts/powercut`: at each start it looks at what the last power cut has left, and then goes
//! on until the next one.
//!
//! Disks: origin, store and ledger of a [world](super::world); origin and store of an ext4 filesystem.

#![forbid(unsafe_code)]

use std::fs;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use preserve::uapi::TakeSnapshot;
use preserve::uapi::SNAPSHOT_FREEZE;
use vmtest::cmd;
use vmtest::live::Kind;
use vmtest::live::Live;
use vmtest::node;
use vmtest::rig::Rig;
use vmtest::rig::Spec;

use super::ledger::Kept;
use super::ledger::Ledger;
use super::portrait::snapshots;
use super::world::World;

/// Sectors of the world's device.
const SECTORS: u64 = 2048 + 5;
/// Files of the filesystem that are written again and again.
const FILES: u64 = 20;
/// By when the power should have been cut.
const LIMIT: Duration = Duration::from_secs(120);

/// See the [module's documentation](self); `last` looks only.
pub fn run(seed: u64, last: bool) -> Result<()> {
    let spec = Spec {
        sectors: SECTORS,
        ..Spec::mb(1)
    };
    let rig = Rig::over(&spec.persistent(), "/dev/vda", "/dev/vdb")?;
    let ledger = Ledger::open("/dev/vdc")?;
    let kept = ledger.load()?;
    let is_new = kept.is_none();
    ensure!(!(is_new && last), "the ledger is empty");
    let mut world = World::on(rig, seed);
    match kept {
        None => world.rig.disk()?.stamp_all(SECTORS, 1)?,
        Some(kept) => look(&mut world, &ledger, kept).context("after a power cut")?,
    }
    world.ledger = Some(ledger);
    world.save()?;
    let files = Live::create(
        "vt-fs",
        Kind::Persistent,
        node::sectors("/dev/vdd")?,
        "/dev/vdd",
        "/dev/vde",
        8,
        &[],
    )?;
    match is_new {
        true => drop(cmd::run("mkfs.ext4", &["-q", "-F", files.dm.path()])?),
        false => look_at_files(&files).context("ext4 after a power cut")?,
    }
    println!(
        "power-cut: {} snapshots are right",
        snapshots(&world.rig)?.len() + snapshots(&files)?.len()
    );
    if last {
        return Ok(());
    }
    let mount = Mount::new(files.dm.path(), "rw")?;
    let files = thread::spawn(move || write_files(&files, mount));
    thread::spawn(move || {
        thread::sleep(LIMIT);
        eprintln!("power-cut: nobody has cut the power");
        std::process::exit(3);
    });
    println!("power-cut: ready");
    let result = world.run_for_ever();
    // Only an error ends it.
    result.and(files.join().map_err(|_| anyhow::anyhow!("a thread died"))?)
}

fn look(world: &mut World, ledger: &Ledger, kept: Kept) -> Result<()> {
    let [begun, acked] = ledger.stamps(SECTORS)?;
    world.resume(kept, begun, acked);
    world.check()
}

/// A mounted ext4; unmounted when dropped.
struct Mount;

impl Mount {
    const AT: &str = "/tmp/vt-mounted";

    fn new(path: &str, options: &str) -> Result<Self> {
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

fn content(number: u64) -> Vec<u8> {
    format!("file {number} ")
        .repeat(500 + number as usize % 7 * 300)
        .into_bytes()
}

/// Files that are whole before they get their name, and frozen snapshots now and then.
fn write_files(live: &Live, _mount: Mount) -> Result<()> {
    for number in 0.. {
        let path = format!("{}/f{}", Mount::AT, number % FILES);
        let mut file = File::create(format!("{path}.new"))?;
        file.write_all(&content(number))?;
        file.sync_all()?;
        fs::rename(format!("{path}.new"), &path)?;
        File::open(Mount::AT)?.sync_all()?;
        if number % 8 == 7 {
            let wish = TakeSnapshot {
                flags: SNAPSHOT_FREEZE,
                keep: 3,
                ..TakeSnapshot::default()
            };
            live.control.take(wish, 0)?;
        }
    }
    Ok(())
}

/// Every file is one that was written, as a whole.
fn check_files() -> Result<()> {
    for n in 0..FILES {
        let path = format!("{}/f{n}", Mount::AT);
        if !Path::new(&path).exists() {
            continue;
        }
        let found = fs::read(&path)?;
        let words = String::from_utf8_lossy(&found[..found.len().min(40)]).into_owned();
        let number = words.split(' ').nth(1).and_then(|word| word.parse().ok());
        let number: u64 = number.with_context(|| format!("f{n} begins with {words:?}"))?;
        ensure!(
            number % FILES == n && found == content(number),
            "f{n} is not whole: {words:?}"
        );
    }
    Ok(())
}

fn look_at_files(live: &Live) -> Result<()> {
    for id in snapshots(live)? {
        let view = live.view("vt-view", id, &[])?;
        let context = || format!("snapshot {id}");
        cmd::run("e2fsck", &["-fn", view.path()]).with_context(context)?;
        let mount = Mount::new(view.path(), "ro,noload").with_context(context)?;
        check_files().with_context(context)?;
        drop(mount);
    }
    let mount = Mount::new(live.dm.path(), "rw")?;
    check_files()?;
    drop(mount);
    cmd::run("e2fsck", &["-fn", live.dm.path()])?;
    ensure!(live.control.info()?.gone_chunks == 0, "gone chunks");
    Ok(())
}
