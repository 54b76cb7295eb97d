// SPDX-License-Identifier: GPL-2.0

//! The power goes while a store grows: before its first superblock, between the two, before the
//! first record that names a new segment, and behind it. A write waits for the room meanwhile. With
//! the larger store everything is as it was, and goes on.

#![forbid(unsafe_code)]

use std::thread;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use vmtest::cmd::wait_until;
use vmtest::rig::use_persistent_stores;
use vmtest::rig::Rig;

use super::errors::Area;
use super::portrait::Portrait;
use super::slices::Slices;
use super::slices::Write;
use super::slices::LIMIT;
use super::slices::WHILE;
use crate::tests::full_block::blocked;
use crate::tests::full_block::blocked::stamps;
use crate::tests::slow;
use crate::tests::Test;

pub const TESTS: &[Test] = &[
    slow("i1_i2_i3_persistent_power_cut_while_it_grows", 180, |_| {
        cuts(How::Message)
    }),
    slow(
        "i1_i2_i3_persistent_power_cut_while_it_grows_by_reload",
        180,
        |_| cuts(How::Reload),
    ),
];

/// The device's contents fit into this, as against the store that it begins with.
const LARGER: u64 = 10 * 2048;

#[derive(Clone, Copy, Debug)]
enum How {
    Message,
    Reload,
}

/// One of the superblocks is written first: with that held nothing is on the disk, with the other
/// one, half of it.
fn cuts(how: How) -> Result<()> {
    for held in [Area::First, Area::Second, Area::Ring, Area::Grown] {
        cut(how, held).with_context(|| format!("{how:?}, {held:?} was held"))?;
    }
    Ok(())
}

/// With this held, the superblocks are written.
fn is_written(held: Area) -> bool {
    matches!(held, Area::Ring | Area::Grown)
}

/// Begins to grow, with a part of the store held.
fn grow(slices: &mut Slices, how: How, held: Area) -> Result<()> {
    let dm = &slices.rig.dm;
    let name = dm.name().to_string();
    slices.resize(LARGER)?;
    let words = match how {
        How::Message => vec!["message", &name, "0", "grow"],
        How::Reload => {
            dm.load(&slices.rig.table(slices.rig.sectors(), &["on_full=block"]))?;
            dm.suspend_noflush()?;
            vec!["resume", "--noudevsync", &name]
        }
    };
    slices.hold(held)?;
    let ended = slices.start(&words)?;
    if is_written(held) {
        return slices.finish();
    }
    ensure!(!ended, "it has grown");
    Ok(())
}

fn cut(how: How, held: Area) -> Result<()> {
    use_persistent_stores();
    let mut slices = Slices::of(blocked::rig()?)?;
    let id = slices.rig.snapshot()?;
    slices.rig.settle()?;
    let writer = blocked::fill(&slices.rig, 0)?;
    let mut before = Portrait::of(&slices.rig)?;
    grow(&mut slices, how, held)?;
    ensure!(!writer.is_finished(), "there was no write that waited");
    if is_written(held) {
        // There was some room left that needs no record of a segment.
        wait_until("writes wait again", LIMIT, || {
            let at = writer.at();
            thread::sleep(WHILE);
            Ok(at == writer.at())
        })?;
        before = Portrait::of(&slices.rig)?;
    }
    let at = writer.at();
    // It has what waits looked at again.
    let other = Write::begin(&slices.rig, slices.rig.sectors() - 8, 3)?;
    other.waits("into a store that is not larger yet")?;
    slices.cut()?;
    slices.end()?;
    ensure!(at == writer.at(), "a write went on");
    ensure!(writer.end()?.is_err() && other.end()?.is_err(), "no error");
    slices.restart(LARGER)?;
    before.compare(&Portrait::of(&slices.rig)?)?;
    goes_on(&mut slices.rig, id, at)
}

/// All that is left fits by now, and is there for good.
fn goes_on(rig: &mut Rig, id: u64, at: u64) -> Result<()> {
    let (disk, sectors) = (rig.disk()?, rig.sectors());
    disk.check(0, &stamps(2, at))?;
    disk.check(at, &stamps(1, sectors - at))?;
    for start in (at..sectors).step_by(8) {
        disk.stamp(start, 8, 3)?;
    }
    drop(disk);
    ensure!(rig.control.info()?.invalidated == 0, "given up");
    let before = Portrait::of(rig)?;
    rig.cut(true)?;
    rig.close()?;
    rig.mend()?;
    let table = format!("0 {LARGER} linear {} 0", rig.store_disk());
    rig.store.swap(&table)?;
    rig.open()?;
    before.compare(&Portrait::of(rig)?)?;
    let view = rig.view("vt-view", id, &[])?;
    view.check(0, &stamps(1, sectors))
}
