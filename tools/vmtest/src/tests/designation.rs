// SPDX-License-Identifier: GPL-2.0

//! Which chunks are protected, when that counts, and that the others cost nothing.

#![forbid(unsafe_code)]

use std::fmt::Write;
use std::fs;
use std::time::Duration;
use std::time::Instant;

use anyhow::ensure;
use anyhow::Result;
use preserve::uapi::Range;
use preserve::uapi::ATTR_CHANGED;
use preserve::uapi::ATTR_PROTECTED;
use preserve::uapi::MAX_RANGES;
use vmtest::cmd::Background;
use vmtest::control::Piece;
use vmtest::disk::Buffer;
use vmtest::disk::Disk;
use vmtest::rig::Rig;
use vmtest::rig::Spec;

use super::both;
use super::slow;
use super::test;
use super::Test;
use crate::health;
use crate::Env;

pub const TESTS: &[Test] = &[
    test("i6_unprotected_chunks_use_no_store", use_no_store),
    test("i6_unprotected_chunks_are_never_read", never_read),
    test("protect_rounds_outwards_and_unprotect_inwards", rounding),
    test("designation_is_captured_at_the_snapshot", captured),
    test("reset_protection_goes_back_to_the_default", reset),
    test("a_newly_protected_chunk_counts_as_changed", newly_protected),
    test("edits_come_by_message_sysfs_and_ioctl", three_ways),
    both(slow(
        "many_ranges_of_a_large_device_are_edited_at_once",
        120,
        many_ranges,
    )),
    slow("a_long_edit_ends_when_it_is_killed", 120, killed),
];

const BOTH: u32 = ATTR_CHANGED | ATTR_PROTECTED;

fn rig(args: &[&str]) -> Result<Rig> {
    Rig::new(&Spec {
        args,
        ..Spec::mb(1)
    })
}

fn use_no_store(_: &Env) -> Result<()> {
    // With room for protected chunks only.
    let rig = Rig::new(&Spec {
        store: 16 * 8,
        args: &["default=unprotected"],
        ..Spec::mb(1)
    })?;
    let disk = rig.disk()?;
    disk.stamp_all(rig.sectors(), 1)?;
    rig.control.edit(
        true,
        &[Range {
            start: 800,
            len: 128,
        }],
    )?;
    let id = rig.snapshot()?;
    disk.stamp_all(rig.sectors(), 2)?;
    disk.zero(0, rig.sectors())?;
    let info = rig.control.info()?;
    ensure!(
        info.preserved_chunks == 16 && info.store_used_sectors == 128,
        "{} chunks and {} sectors in the store",
        info.preserved_chunks,
        info.store_used_sectors
    );
    ensure!(
        info.invalidated == 0 && info.changed_chunks == 256,
        "{info:?}"
    );
    let view = rig.view("vt-view", id, &[])?;
    view.check(800, &[1; 128])
}

fn never_read(_: &Env) -> Result<()> {
    let rig = rig(&[])?;
    let disk = rig.disk()?;
    disk.stamp_all(rig.sectors(), 1)?;
    rig.control.edit(false, &[Range { start: 80, len: 80 }])?;
    let id = rig.snapshot()?;
    // Overwritten or not, and beside protected ones.
    disk.stamp(120, 80, 2)?;
    let zero = rig.view("vt-zero", id, &["unprotected=zero"])?;
    let zero = (Disk::open_ro(zero.path())?, zero);
    zero.0
        .check(0, &[&[1; 80][..], &[0; 80], &[1; 80]].concat())?;
    let error = rig.view("vt-error", id, &["unprotected=error"])?;
    let error = (Disk::open_ro(error.path())?, error);
    error.0.check(0, &[1; 80])?;
    error.0.check(160, &[1; 80])?;
    for chunk in 10..20 {
        ensure!(
            error.0.read(chunk * 8, 8).is_err(),
            "chunk {chunk} was read"
        );
    }
    ensure!(error.0.read(72, 16).is_err(), "a read across the border");
    let mut buffer = Buffer::new(100);
    let piece = rig.control.read(id, 81, &mut buffer)?;
    ensure!(piece == Piece::Hole(79), "{piece:?}");
    ensure!(buffer.iter().all(|b| *b == 0), "the buffer was touched");
    Ok(())
}

fn rounding(_: &Env) -> Result<()> {
    let rig = rig(&["default=unprotected"])?;
    let edit = |protect, start, len| rig.control.edit(protect, &[Range { start, len }]);
    edit(true, 15, 2)?;
    edit(true, 40, 8)?;
    edit(true, 2047, 1)?;
    let found = rig.set_in("protection_map")?;
    ensure!(found == [1, 2, 5, 255], "protected {found:?}");
    edit(false, 9, 15)?;
    edit(false, 41, 7)?;
    let found = rig.set_in("protection_map")?;
    ensure!(
        found == [1, 5, 255],
        "protected {found:?} after unprotecting parts"
    );
    // Less than a chunk unprotects nothing, and is no error.
    edit(false, 8, 7)?;
    edit(false, 2041, 7)?;
    ensure!(rig.set_in("protection_map")? == [1, 5, 255]);
    edit(false, 0, 2048)?;
    ensure!(rig.number("protected_chunks")? == 0);
    Ok(())
}

fn captured(_: &Env) -> Result<()> {
    let rig = rig(&[])?;
    let disk = rig.disk()?;
    disk.stamp_all(rig.sectors(), 1)?;
    let id = rig.snapshot()?;
    // Too late for this snapshot, both ways.
    rig.control.edit(false, &[Range { start: 0, len: 80 }])?;
    disk.stamp(0, 160, 2)?;
    ensure!(rig.number("preserved_chunks")? == 20);
    let view = rig.view("vt-view", id, &[])?;
    view.check(0, &[1; 160])?;
    drop(view);
    rig.snapshot()?;
    rig.control.edit(true, &[Range { start: 0, len: 80 }])?;
    disk.stamp(0, 160, 3)?;
    ensure!(
        rig.number("preserved_chunks")? == 10,
        "the designation at the instant decides"
    );
    // It is carried over.
    ensure!(rig.number("protected_chunks")? == 256);
    Ok(())
}

fn reset(_: &Env) -> Result<()> {
    for (default, all) in [("default=protected", 256), ("default=unprotected", 0)] {
        let rig = rig(&["reset_protection", default])?;
        let disk = rig.disk()?;
        disk.stamp_all(rig.sectors(), 1)?;
        let protect = all == 0;
        rig.control.edit(protect, &[Range { start: 0, len: 80 }])?;
        rig.snapshot()?;
        let now = rig.number("protected_chunks")?;
        ensure!(now == all, "{default}: {now} protected after the snapshot");
        disk.stamp(0, 160, 2)?;
        // Ten of the twenty were protected at the instant, in both cases.
        let preserved = rig.number("preserved_chunks")?;
        ensure!(preserved == 10, "{default}: {preserved} preserved");
    }
    Ok(())
}

fn newly_protected(_: &Env) -> Result<()> {
    let rig = rig(&["default=unprotected"])?;
    let disk = rig.disk()?;
    disk.stamp_all(rig.sectors(), 1)?;
    rig.control.edit(true, &[Range { start: 0, len: 80 }])?;
    let first = rig.snapshot()?;
    rig.control.edit(true, &[Range { start: 80, len: 80 }])?;
    disk.stamp(16, 8, 2)?;
    let second = rig.control.incremental(first)?;
    let found = rig.control.chunks(first, second, BOTH, BOTH)?;
    let wanted: Vec<u64> = [2].into_iter().chain(10..20).collect();
    ensure!(
        found == wanted,
        "{found:?} have to be backed up, not {wanted:?}"
    );
    // So they are in the scope too, and the others are not.
    disk.stamp(0, 240, 3)?;
    let preserved = rig.number("preserved_chunks")?;
    ensure!(preserved == 11, "{preserved} preserved");
    let mut buffer = Buffer::new(8);
    for chunk in wanted {
        let piece = rig.control.read(second, chunk * 8, &mut buffer)?;
        ensure!(piece == Piece::Data(8), "chunk {chunk}: {piece:?}");
    }
    Ok(())
}

fn three_ways(_: &Env) -> Result<()> {
    let rig = rig(&["default=unprotected"])?;
    rig.dm.message("protect 0 8")?;
    rig.write_sysfs("protect", "8+8\n")?;
    rig.control.edit(
        true,
        &[Range { start: 16, len: 8 }, Range { start: 32, len: 8 }],
    )?;
    ensure!(rig.set_in("protection_map")? == [0, 1, 2, 4]);
    rig.dm.message("unprotect 0 8")?;
    rig.write_sysfs("unprotect", "8+8")?;
    rig.control.edit(false, &[Range { start: 16, len: 8 }])?;
    ensure!(rig.set_in("protection_map")? == [4]);
    Ok(())
}

/// Sectors of a device of 16 TiB, which has 131072 stretches.
const LARGE: u64 = 16 << 31;

fn large() -> Result<Rig> {
    Rig::new(&Spec {
        sectors: LARGE,
        store: 16 * 2048,
        sparse: true,
        ..Spec::mb(1)
    })
}

fn many_ranges(_: &Env) -> Result<()> {
    let rig = large()?;
    let whole = Range {
        start: 0,
        len: LARGE,
    };
    let ranges = vec![whole; MAX_RANGES as usize];
    let begun = Instant::now();
    rig.control.edit(false, &ranges)?;
    let taken = begun.elapsed();
    println!("{} ranges were edited in {taken:?}", ranges.len());
    ensure!(taken < health::within(5), "it took {taken:?}");
    ensure!(rig.number("protected_chunks")? == 0);
    // In any order, and what is named twice.
    let ranges = [(80, 8), (0, 8), (84, 20), (8, 8), (80, 16)];
    let ranges = ranges.map(|(start, len)| Range { start, len });
    rig.control.edit(true, &ranges)?;
    let protected = rig.number("protected_chunks")?;
    ensure!(protected == 2 + 3, "{protected} are protected");
    Ok(())
}

fn killed(_: &Env) -> Result<()> {
    let rig = Rig::new(&Spec {
        sectors: LARGE,
        store: 16 * 2048,
        sparse: true,
        ..Spec::mb(1).persistent()
    })?;
    let count = u64::from(MAX_RANGES);
    let mut ranges = String::new();
    for i in 0..count {
        writeln!(ranges, "{}+8", i * 32)?;
    }
    fs::write("/tmp/many-ranges", ranges)?;
    let all = rig.number("protected_chunks")?;
    let mut edit = Background::start(
        "preserve",
        &[
            "unprotect",
            rig.dm.name(),
            "--from-file",
            "/tmp/many-ranges",
        ],
    )?;
    // Batches take effect one by one.
    while rig.number("protected_chunks")? == all {
        ensure!(!edit.ended()?, "it ended: {}", edit.output());
    }
    edit.kill()?;
    let ended = edit.wait(Duration::from_secs(10))?;
    ensure!(ended.is_some_and(|status| !status.success()), "{ended:?}");
    let edited = all - rig.number("protected_chunks")?;
    println!("{edited} of {count} ranges were edited when it was killed");
    ensure!(edited < count, "it went on");
    Ok(())
}
