// SPDX-License-Identifier: GPL-2.0

//! Another origin than before, and a log that is damaged in its middle: both are noticed, and all
//! snapshots end.

#![forbid(unsafe_code)]

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use vmtest::disk::Disk;
use vmtest::kmsg::Kmsg;
use vmtest::nullblk::NullBlk;
use vmtest::rig::Rig;
use vmtest::rig::Spec;

use super::errors;
use super::errors::Area;
use super::portrait::Portrait;
use super::said_nothing;
use crate::tests::bad_table::said;
use crate::tests::test;
use crate::tests::Test;

pub const TESTS: &[Test] = &[
    test("i3_persistent_another_origin_of_the_same_size", |_| {
        another_origin()
    }),
    test("i1_i3_persistent_damage_in_the_middle_of_the_log", |_| {
        damaged_log()
    }),
];

/// It differs in one place that is looked at: its beginning, or one of the samples.
fn another_origin() -> Result<()> {
    for differs_at in [0, 960] {
        let (mut rig, disk) = errors::rig_of(&Spec::mb(1).persistent())?;
        let before = Portrait::of(&rig)?;
        let all = disk.read(0, rig.sectors())?;
        drop(disk);
        rig.close()?;
        let other = NullBlk::new("vt-other", 1)?;
        let size = rig.sectors();
        rig.origin
            .swap(&format!("0 {size} linear {} 0", other.path()))?;
        let disk = Disk::open(rig.origin.path())?;
        disk.write(0, &all)?;
        // The same content is the same origin.
        let mut kernel = Kmsg::now()?;
        rig.open()?;
        said_nothing(&mut kernel)?;
        before.compare(&Portrait::of(&rig)?)?;
        rig.close()?;
        disk.stamp(differs_at, 8, 99)?;
        drop(disk);
        rig.open()?;
        said(
            &mut kernel,
            "was written while its live device was not active",
        )?;
        errors::begins_anew(&mut rig, before.generation())?;
        rig.close()?;
        rig.mend()?;
    }
    Ok(())
}

/// A record of the ring.
struct Record {
    session: u64,
    sequence: u64,
    sector: u64,
}

/// Those of the latest session, in their order. See on-disk-format.rst.
fn records(rig: &Rig) -> Result<Vec<Record>> {
    let disk = Disk::open_ro(rig.store_disk())?;
    let mut found = Vec::new();
    for sector in Area::Ring.of(rig)?.step_by(8) {
        let block = disk.read(sector, 8)?;
        let number = |at: usize| -> Result<u64> {
            let bytes = block.get(at..at + 8).context("a short block")?;
            Ok(u64::from_le_bytes(bytes.try_into()?))
        };
        if block.starts_with(b"dmprsv1R") {
            let (session, sequence) = (number(40)?, number(32)?);
            found.push(Record {
                session,
                sequence,
                sector,
            });
        }
    }
    let latest = found.iter().map(|record| record.session).max();
    found.retain(|record| Some(record.session) == latest);
    found.sort_by_key(|record| record.sequence);
    Ok(found)
}

/// Edits that are one record each.
const EDITS: usize = 8;

/// A record of the last few is damaged after a power cut. Behind the last one nothing proves that
/// it was whole.
fn damaged_log() -> Result<()> {
    for behind in [0, 1, EDITS - 1] {
        let rig = Rig::with_store(&Spec::mb(1).persistent(), 16 << 11)?;
        let (mut rig, disk) = errors::prepared(rig)?;
        for n in 0..EDITS {
            rig.dm.message(&format!("unprotect {} 8", 800 + n * 16))?;
        }
        let before = Portrait::of(&rig)?;
        drop(disk);
        rig.cut(true)?;
        rig.close()?;
        rig.mend()?;
        let records = records(&rig)?;
        let bad = records.iter().rev().nth(behind).context("few records")?;
        let disk = Disk::open(rig.store_disk())?;
        let mut block = disk.read(bad.sector, 8)?;
        block[100] ^= 0x10;
        disk.write(bad.sector, &block)?;
        let mut kernel = Kmsg::now()?;
        rig.open()?;
        if behind > 0 {
            said(&mut kernel, "THE STORE IS DAMAGED in the middle of its log")?;
            errors::begins_anew(&mut rig, before.generation())?;
            continue;
        }
        said(&mut kernel, &format!("{} records replayed", EDITS - 1))?;
        let last = 100 + 2 * (EDITS - 1);
        let map = rig.map("protection_map")?;
        ensure!(
            map[last] && !map[last - 2],
            "the last edit alone is missing"
        );
    }
    Ok(())
}
