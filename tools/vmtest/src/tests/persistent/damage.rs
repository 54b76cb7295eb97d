// SPDX-License-Identifier: GPL-2.0

//! Contents that have changed in the store: an error for just these, which is counted, and nothing
//! else is touched.

#![forbid(unsafe_code)]

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use preserve::uapi::EVENT_DAMAGED;
use rustix::io::Errno;
use vmtest::control::Piece;
use vmtest::disk::expect_errno;
use vmtest::disk::Buffer;
use vmtest::disk::Disk;
use vmtest::kmsg::Kmsg;
use vmtest::pattern;
use vmtest::pattern::SECTOR;
use vmtest::rig::Rig;
use vmtest::rig::Spec;

use crate::tests::bad_table::said;
use crate::tests::test;
use crate::tests::Test;
use crate::Env;

pub const TESTS: &[Test] = &[
    test("i1_persistent_a_damaged_content_is_an_error", content),
    test("i1_persistent_a_damaged_header_is_an_error", header),
    test("i1_persistent_parts_of_chunks_are_right", parts),
];

/// Chunks that are overwritten, the last one short.
const COPIED: std::ops::Range<u64> = 10..20;

/// A device with chunks of `chunk` sectors, its first 256 KiB with one stamp, and a snapshot of
/// that; chunks 10 to 19 and the last one have been overwritten.
fn rig(chunk: u64) -> Result<(Rig, u64)> {
    let rig = Rig::new(
        &Spec {
            chunk,
            sectors: 64 * chunk + 4,
            ..Spec::mb(1)
        }
        .persistent(),
    )?;
    let disk = rig.disk()?;
    disk.stamp_all(rig.sectors(), 1)?;
    let id = rig.control.snapshot_keeping(None, 4)?;
    let len = (COPIED.end - COPIED.start) * chunk;
    disk.stamp(COPIED.start * chunk, len, 2)?;
    disk.stamp(64 * chunk, 4, 2)?;
    Ok((rig, id))
}

/// The sector of the store that holds what the device had at `sector` under stamp 1.
fn find(rig: &Rig, sector: u64) -> Result<u64> {
    let disk = Disk::open_ro(rig.store_disk())?;
    let wanted = pattern::sector(1, sector);
    for at in (0..disk.sectors()).step_by(1024) {
        let len = 1024.min(disk.sectors() - at);
        let found = disk.read(at, len)?;
        let mut sectors = (at..).zip(found.chunks_exact(SECTOR));
        if let Some((at, _)) = sectors.find(|(_, bytes)| **bytes == wanted) {
            return Ok(at);
        }
    }
    anyhow::bail!("the store has no copy of sector {sector}")
}

/// Changes one bit of a sector of the store.
fn damage(rig: &Rig, sector: u64) -> Result<()> {
    let disk = Disk::open(rig.store_disk())?;
    let page = sector - sector % 8;
    let mut found = disk.read(page, 8)?;
    found[(sector % 8) as usize * SECTOR + 100] ^= 1;
    Ok(disk.write(page, &found)?)
}

fn content(_: &Env) -> Result<()> {
    for chunk in [8, 32, 256] {
        let (rig, id) = rig(chunk)?;
        let (bad, sectors) = (13 * chunk, rig.sectors());
        // Its last sector: the checksum is one of the whole chunk.
        damage(&rig, find(&rig, bad + chunk - 1)?)?;
        let seen = rig.control.info()?.event;
        let mut kernel = Kmsg::now()?;
        let view = rig.view("vt-view", id, &[])?;
        let disk = Disk::open_ro(view.path())?;
        for (at, len) in [(bad, chunk), (bad + 2, 2), (bad - chunk, 3 * chunk)] {
            let what = format!("sectors {at}, {len}");
            expect_errno(&what, disk.read(at, len), Errno::IO)?;
        }
        said(&mut kernel, "the store is damaged")?;
        let info = rig.control.info()?;
        ensure!(info.damaged_reads >= 3, "{info:?}");
        ensure!(rig.status()?.numbers[10] == info.damaged_reads, "status");
        let (_, kinds) = rig.control.wait(seen, 1000)?;
        ensure!(kinds & EVENT_DAMAGED != 0, "kinds {kinds}");
        // Everything else is right, in the view and in the ioctl.
        let all = |from: u64, to: u64| vec![1; (to - from) as usize];
        disk.check(0, &all(0, bad))?;
        disk.check(bad + chunk, &all(bad + chunk, sectors))?;
        drop(disk);
        let mut buffer = Buffer::new(3 * chunk);
        let read = rig.control.read(id, bad - chunk, &mut buffer);
        ensure!(read.context("before it")? == Piece::Data(chunk), "up to it");
        let read = rig.control.read(id, bad, &mut buffer);
        expect_errno("the ioctl", read.map(drop), Errno::UCLEAN)?;
        let read = rig.control.read(id, bad + chunk, &mut buffer)?;
        ensure!(read == Piece::Data(3 * chunk), "{read:?}");
        pattern::check(&buffer, bad + chunk, &all(0, 3 * chunk))?;
        // Nothing has happened to the live device and the other snapshot.
        rig.disk()?.check(bad, &vec![2; chunk as usize])?;
    }
    Ok(())
}

fn header(_: &Env) -> Result<()> {
    let (rig, id) = rig(8)?;
    // The ten chunks went into one record: its header is right before the first.
    damage(&rig, find(&rig, COPIED.start * 8)? - 8)?;
    let view = rig.view("vt-view", id, &[])?;
    let disk = Disk::open_ro(view.path())?;
    for chunk in COPIED {
        expect_errno("a chunk of it", disk.read(chunk * 8, 8), Errno::IO)?;
    }
    disk.check(0, &[1; 80])?;
    // The last chunk's record is another.
    disk.check(160, &vec![1; (rig.sectors() - 160) as usize])
}

fn parts(_: &Env) -> Result<()> {
    for chunk in [16, 256] {
        let (mut rig, id) = rig(chunk)?;
        for _ in 0..2 {
            let view = rig.view("vt-view", id, &[])?;
            let disk = Disk::open_ro(view.path())?;
            let end = rig.sectors();
            for (from, to) in [
                (10 * chunk, 10 * chunk + 1),
                (11 * chunk - 1, 11 * chunk + 1),
                (10 * chunk + 3, 20 * chunk - 3),
                (9 * chunk + 1, 21 * chunk + 1),
                (end - 4, end),
                (end - 1, end),
            ] {
                disk.check(from, &vec![1; (to - from) as usize])?;
                let mut buffer = Buffer::new(to - from);
                let mut at = from;
                while at < to {
                    let Piece::Data(len) = rig.control.read(id, at, &mut buffer)? else {
                        anyhow::bail!("a hole at {at}");
                    };
                    let len = len.min(to - at);
                    let bytes = len as usize * SECTOR;
                    pattern::check(&buffer[..bytes], at, &vec![1; len as usize])?;
                    at += len;
                }
            }
            ensure!(rig.control.info()?.damaged_reads == 0, "damage");
            drop(disk);
            drop(view);
            // And what a checkpoint has brought back.
            rig.reopen()?;
        }
    }
    Ok(())
}
