// SPDX-License-Identifier: GPL-2.0

//! The guest's side of `scripts/powercut`: at each start it looks at what the last power cut has left, and then goes
//! on until the next one.
//!
//! Disks: origin, store and ledger of a [world](super::world); origin and store of an ext4 filesystem.

#![forbid(unsafe_code)]

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use anyhow::bail;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use rustix::io::Errno;
use vmtest::disk::expect_errno;
use vmtest::disk::Buffer;
use vmtest::live::Kind;
use vmtest::live::Live;
use vmtest::node;
use vmtest::rig::Rig;
use vmtest::rig::Spec;

use super::files;
use super::files::Promise;
use super::ledger::Ledger;
use super::portrait::snapshots;
use super::world::World;

/// Sectors of the world's device.
const SECTORS: u64 = 2048 + 5;
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
        Some(kept) => {
            vouch(&world.rig)?;
            world.look(&ledger, kept).context("after a power cut")?;
        }
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
        true => files::make(&files)?,
        false => vouch(&files)
            .and_then(|()| files::check(&files, &Promise::default()))
            .context("ext4 after a power cut")?,
    }
    println!(
        "power-cut: {} snapshots are right",
        snapshots(&world.rig)?.len() + snapshots(&files)?.len()
    );
    if last {
        return Ok(());
    }
    println!("power-cut: ready");
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let files = scope.spawn(|| files::write(&files, Promise::default(), &stop, |_| Ok(())));
        let result = world.run(LIMIT, 0);
        stop.store(true, Ordering::SeqCst);
        result.and(files.join().map_err(|_| anyhow::anyhow!("a thread died"))?)
    })?;
    bail!("nobody has cut the power");
}

/// Another boot has left the store open: everything in it is unproven until somebody vouches for
/// it, who knows that the power was cut.
fn vouch(live: &Live) -> Result<()> {
    let info = live.control.info()?;
    ensure!(info.unproven == info.latest, "not unproven: {info:?}");
    if let Some(id) = snapshots(live)?.last() {
        let read = live.control.read(*id, 0, &mut Buffer::new(8));
        expect_errno("an unproven snapshot", read, Errno::UCLEAN)?;
    }
    live.vouch()
}
