// SPDX-License-Identifier: GPL-2.0

//! A snapshot is one instant. A writer writes the numbers 1, 2, 3, ... to its slots in turn, each
//! when the one before is done. Whatever instant is frozen, the slots must hold a prefix of that
//! sequence: a snapshot that has a later write but not an earlier one is none.

#![forbid(unsafe_code)]

use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use vmtest::disk::Disk;
use vmtest::pattern;
use vmtest::rig::Rig;
use vmtest::rig::Spec;

use super::slow;
use super::Test;
use crate::Env;

pub const TESTS: &[Test] = &[
    slow("i1_a_snapshot_is_one_instant", 120, one_instant),
    slow(
        "i3_every_change_since_a_snapshot_is_marked",
        120,
        every_change,
    ),
];

const WRITERS: u64 = 3;
const SLOTS: u64 = 40;
const CHUNK: u64 = 8;
const SECTORS: u64 = WRITERS * SLOTS * CHUNK;

/// Where a writer puts a number: a chunk for each of its slots, with those of the other writers
/// between them, and not always at the same place within the chunk.
fn sector(writer: u64, number: u64) -> u64 {
    ((number % SLOTS) * WRITERS + writer) * CHUNK + number % 3
}

/// Writers that go on until told to stop; `done` counts what each has completed.
fn with_writers(rig: &Rig, work: impl FnOnce(&[AtomicU64]) -> Result<()>) -> Result<()> {
    let stop = AtomicBool::new(false);
    let done: Vec<AtomicU64> = (0..WRITERS).map(|_| AtomicU64::new(0)).collect();
    thread::scope(|scope| -> Result<()> {
        let mut writers = Vec::new();
        for writer in 0..WRITERS {
            let disk = rig.disk()?;
            let (stop, done) = (&stop, &done[writer as usize]);
            writers.push(scope.spawn(move || -> Result<()> {
                let mut number = 1;
                while !stop.load(Ordering::Relaxed) {
                    disk.stamp(sector(writer, number), 5, number)
                        .with_context(|| format!("writer {writer}, number {number}"))?;
                    done.store(number, Ordering::Release);
                    number += 1;
                }
                Ok(())
            }));
        }
        let result = work(&done);
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            writer
                .join()
                .map_err(|_| anyhow::anyhow!("a writer died"))??;
        }
        result
    })
}

/// What the slots of a writer hold must be what they hold after some number of its writes, which is
/// at least `least` and at most `most`.
fn check_prefix(bytes: &[u8], writer: u64, least: u64, most: u64) -> Result<()> {
    let slot = |number: u64| {
        let at = sector(writer, number);
        let range = at as usize * 512..(at as usize + 1) * 512;
        pattern::stamp_of(&bytes[range], at).unwrap_or(0)
    };
    let last = (least..=most).rev().find(|n| *n > 0 && slot(*n) == *n);
    let last = last.unwrap_or(least);
    for number in last.saturating_sub(SLOTS - 1).max(1)..=last {
        ensure!(
            slot(number) == number,
            "writer {writer}: number {last} is there, but {number} is not"
        );
    }
    ensure!(
        least <= last && last <= most,
        "writer {writer}: {last} of {least} to {most}"
    );
    Ok(())
}

fn one_instant(env: &Env) -> Result<()> {
    let rig = Rig::new(&Spec {
        sectors: SECTORS,
        ..Spec::mb(1)
    })?;
    with_writers(&rig, |done| {
        let now = || -> Vec<u64> { done.iter().map(|d| d.load(Ordering::Acquire)).collect() };
        for round in 0..env.rounds(25, 8) {
            thread::sleep(Duration::from_millis(40));
            // Every write done before must be in it, and none that was begun after.
            let before = now();
            let id = rig.snapshot()?;
            let after = now();
            let view = rig.view("vt-view", id, &[])?;
            let bytes = Disk::open_ro(view.path())?.read(0, SECTORS)?;
            for writer in 0..WRITERS as usize {
                // One that was under way at the instant may or may not be in.
                let (least, most) = (before[writer], after[writer] + 1);
                check_prefix(&bytes, writer as u64, least, most)
                    .with_context(|| format!("round {round}, snapshot {id}"))?;
            }
        }
        ensure!(
            now().iter().all(|done| *done > 50),
            "hardly any writes: {:?}",
            now()
        );
        Ok(())
    })
}

/// Compares whole contents at two snapshots: a chunk that differs must be marked between them.
fn every_change(env: &Env) -> Result<()> {
    let rig = Rig::new(&Spec {
        sectors: SECTORS,
        ..Spec::mb(1)
    })?;
    let content = |id: u64| -> Result<_> {
        let view = rig.view("vt-view", id, &[])?;
        let bytes = Disk::open_ro(view.path())?.read(0, SECTORS)?;
        Ok(bytes)
    };
    with_writers(&rig, |_| {
        let mut last = rig.snapshot()?;
        let mut old = content(last)?;
        for round in 0..env.rounds(20, 6) {
            thread::sleep(Duration::from_millis(3 * round));
            let id = rig.control.snapshot()?;
            let new = content(id)?;
            let changed = rig.control.chunks(last, id, 1, 1)?;
            let backup = rig.set_in("backup_map")?;
            ensure!(changed == backup, "the backup map and the extents differ");
            let size = CHUNK as usize * 512;
            let chunks = old.chunks(size).zip(new.chunks(size));
            for (chunk, (old, new)) in (0..).zip(chunks) {
                ensure!(
                    old == new || changed.contains(&chunk),
                    "round {round}: chunk {chunk} has changed, and is not marked"
                );
            }
            (last, old) = (id, new);
        }
        Ok(())
    })
}
