// SPDX-License-Identifier: GPL-2.0

//! Space in a persistent store: segments come back and are used again, the log's ring as well, and
//! a full store is what `on_full=` says.

#![forbid(unsafe_code)]

use std::thread;
use std::time::Duration;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use preserve::uapi::Range;
use preserve::uapi::STATE_BLOCKED;
use vmtest::cmd::wait_until;
use vmtest::control::Control;
use vmtest::rig::Rig;
use vmtest::rig::Spec;
use vmtest::rng::Rng;

use super::portrait::points;
use super::portrait::snapshots;
use super::portrait::Portrait;
use crate::tests::lifecycle::LIMIT;
use crate::tests::slow;
use crate::tests::test;
use crate::tests::Test;
use crate::Env;

pub const TESTS: &[Test] = &[
    slow("persistent_segments_are_used_again", 180, again),
    slow("persistent_the_ring_is_used_again", 180, ring),
    slow("persistent_many_regions_do_not_hang", 180, regions),
    test("i4_persistent_full_store_gives_up_for_good", full),
    test("i4_persistent_full_store_blocks_until_a_drop", blocks),
    test("i4_persistent_full_store_blocks_until_it_grows", grows),
];

/// Sectors of a store that takes a little more than one copy of a device of 1 MiB.
const SMALL: u64 = 5 * 2048;

fn small(args: &[&str]) -> Result<Rig> {
    let spec = Spec {
        args,
        ..Spec::mb(1)
    };
    let rig = Rig::with_store(&spec.persistent(), SMALL)?;
    rig.disk()?.stamp_all(rig.sectors(), 1)?;
    Ok(rig)
}

/// Forty times what the store holds goes through it.
fn again(env: &Env) -> Result<()> {
    let mut rig = small(&[])?;
    let all = vec![0; rig.sectors() as usize];
    let rounds = env.rounds(60, 20);
    for round in 1..=rounds {
        let id = rig.snapshot()?;
        if round % 3 == 0 {
            // In many records.
            let disk = rig.disk()?;
            for start in (0..rig.sectors()).step_by(8) {
                disk.stamp(start, 8, round + 1)?;
            }
        } else {
            rig.disk()?.stamp_all(rig.sectors(), round + 1)?;
        }
        let info = rig.control.info()?;
        ensure!(
            (info.invalidated, info.preserved_chunks) == (0, 256),
            "round {round}: {info:?}"
        );
        if round % 5 == 0 {
            rig.reopen()?;
        }
        if round % 7 == 0 {
            rig.cut(round % 2 == 0)?;
            rig.close()?;
            rig.mend()?;
            rig.open()?;
        }
        if round % 4 == 0 {
            let view = rig.view("vt-view", id, &[])?;
            let wanted: Vec<u64> = all.iter().map(|_| round).collect();
            view.check(0, &wanted)
                .with_context(|| format!("round {round}"))?;
        }
    }
    Ok(())
}

/// Thousands of edits, drops and releases, which all take room in the ring.
fn ring(env: &Env) -> Result<()> {
    let mut rig = small(&[])?;
    let mut rng = Rng::new(env.seed.unwrap_or(5));
    let mut designation = vec![true; 256];
    let id = rig.snapshot()?;
    for round in 0..env.rounds(4, 1) {
        for _ in 0..500 {
            let (protect, chunk) = (rng.chance(50), rng.below(256));
            let range = Range {
                start: chunk * 8,
                len: 8,
            };
            rig.control.edit(protect, &[range])?;
            designation[chunk as usize] = protect;
        }
        // And very many at once.
        let many: Vec<Range> = (0..5000)
            .map(|n| Range {
                start: n % 128 * 16,
                len: 8,
            })
            .collect();
        rig.control.edit(round % 2 == 0, &many)?;
        for chunk in (0..256).step_by(2) {
            designation[chunk] = round % 2 == 0;
        }
        rig.control.release(id, round * 80, 80)?;
        ensure!(rig.map("protection_map")? == designation, "before");
        if round % 2 == 0 {
            // A checkpoint that fails gives the store up, which the module remembers in all that
            // this machine plays as boots.
            rig.settle()?;
            rig.cut(true)?;
            rig.close()?;
            rig.mend()?;
            rig.open()?;
        } else {
            rig.reopen()?;
        }
        ensure!(
            rig.map("protection_map")? == designation,
            "after round {round}"
        );
    }
    Ok(())
}

/// A device of many regions, written one after another, while snapshots begin new epochs with none
/// announced.
fn regions(env: &Env) -> Result<()> {
    let spec = Spec {
        sectors: 2 << 21,
        sparse: true,
        args: &["default=unprotected"],
        ..Spec::mb(1)
    };
    let mut rig = Rig::new(&spec.persistent())?;
    let chunks = rig.chunks();
    for round in 0..env.rounds(4, 2) {
        rig.snapshot()?;
        let mut writers = Vec::new();
        for n in 0..4 {
            let disk = rig.disk()?;
            writers.push(thread::spawn(move || -> std::io::Result<()> {
                for chunk in (n * 1024..chunks).step_by(4096) {
                    disk.stamp(chunk * 8, 8, round + 1)?;
                }
                Ok(())
            }));
        }
        for writer in writers {
            writer
                .join()
                .map_err(|_| anyhow::anyhow!("a writer died"))??;
        }
        let wanted = chunks.div_ceil(1024);
        let found = rig.number("changed_chunks")?;
        ensure!(found == wanted, "{found} of {wanted} chunks changed");
        if round % 2 == 0 {
            rig.cut(false)?;
            rig.close()?;
            rig.mend()?;
            rig.open()?;
            // Whole regions may count as changed, but nothing less.
            let map = rig.map("snapshot_map")?;
            let missed = (0..chunks).step_by(1024).find(|c| !map[*c as usize]);
            ensure!(missed.is_none(), "chunk {missed:?} was missed");
        }
    }
    Ok(())
}

fn full(_: &Env) -> Result<()> {
    let mut rig = small(&[])?;
    let mut stamp = 1;
    let mut ids = Vec::new();
    // Four snapshots with a copy of everything each do not fit.
    for _ in 0..6 {
        ids.push(rig.control.snapshot_keeping(None, 8)?);
        stamp += 1;
        rig.disk()?.stamp_all(rig.sectors(), stamp)?;
        rig.dm.check(0, &vec![stamp; rig.sectors() as usize])?;
    }
    let info = rig.control.info()?;
    ensure!(info.invalidated >= 1, "{info:?}");
    let alive = snapshots(&rig)?;
    ensure!(alive.len() < 6, "alive {alive:?}");
    ensure!(points(&rig)?.len() == 6, "bookmarks stay");
    let before = Portrait::of(&rig)?;
    // Who was given up stays so, whether it is a shutdown or a crash.
    rig.cut(true)?;
    rig.close()?;
    rig.mend()?;
    rig.open()?;
    before.compare(&Portrait::of(&rig)?)?;
    rig.reopen()?;
    before.compare(&Portrait::of(&rig)?)?;
    for id in alive {
        let n = ids.iter().position(|other| *other == id);
        let wanted = 1 + n.context("an unknown snapshot")? as u64;
        let view = rig.view("vt-view", id, &[])?;
        view.check(0, &vec![wanted; rig.sectors() as usize])?;
    }
    Ok(())
}

fn blocks(_: &Env) -> Result<()> {
    let mut rig = small(&["on_full=block"])?;
    let control = Control::open(rig.dm.device())?;
    let disk = rig.disk()?;
    let first = rig.control.snapshot_keeping(None, 8)?;
    let last = thread::scope(|scope| -> Result<u64> {
        let disk = &disk;
        let writer = scope.spawn(move || -> Result<u64> {
            let mut last = 0;
            for round in 0..6 {
                last = control.snapshot_keeping(None, 8)?;
                disk.stamp_all(2048, 2 + round)?;
            }
            Ok(last)
        });
        while !writer.is_finished() {
            let wait = wait_until("writes wait, or are done", LIMIT, || {
                Ok(writer.is_finished() || rig.control.info()?.state == STATE_BLOCKED)
            });
            // Whatever happened, the writer must come to its end.
            let oldest = snapshots(&rig)?.first().copied();
            if !writer.is_finished() {
                thread::sleep(Duration::from_millis(50));
                if let Some(id) = oldest {
                    rig.control.drop_snapshot(id)?;
                }
            }
            wait?;
        }
        writer
            .join()
            .map_err(|_| anyhow::anyhow!("the writer died"))?
    })?;
    ensure!(rig.control.info()?.invalidated == 0, "given up");
    ensure!(!snapshots(&rig)?.contains(&first), "nothing was dropped");
    drop(disk);
    rig.reopen()?;
    let view = rig.view("vt-view", last, &[])?;
    view.check(0, &vec![6; rig.sectors() as usize])
}

/// With a message, and without any suspend of the live device; what went to the new part is there
/// after a power cut and a removal.
fn grows(_: &Env) -> Result<()> {
    let mut rig = small(&["on_full=block"])?;
    let mut ids = Vec::new();
    let mut size = SMALL;
    for round in 0..4 {
        ids.push(rig.control.snapshot_keeping(None, 8)?);
        let disk = rig.disk()?;
        thread::scope(|scope| -> Result<()> {
            let writer = scope.spawn(|| disk.stamp_all(2048, 2 + round));
            let wait = wait_until("the write waits, or is done", LIMIT, || {
                Ok(writer.is_finished() || rig.control.info()?.state == STATE_BLOCKED)
            });
            // Whatever happened, the writer must come to its end.
            size += 2 * 2048;
            let path = rig.store_disk();
            let grown = rig
                .store
                .swap(&format!("0 {size} linear {path} 0"))
                .and_then(|()| rig.dm.message("grow"));
            wait?;
            grown?;
            let done = wait_until("the write goes on", LIMIT, || Ok(writer.is_finished()));
            if done.is_err() {
                ids.iter()
                    .try_for_each(|id| rig.control.drop_snapshot(*id))?;
            }
            done?;
            let written = writer.join();
            Ok(written.map_err(|_| anyhow::anyhow!("the writer died"))??)
        })?;
    }
    ensure!(rig.control.info()?.invalidated == 0, "given up");
    let before = Portrait::of(&rig)?;
    rig.cut(true)?;
    rig.close()?;
    let path = rig.store_disk().to_string();
    let table = format!("0 {size} linear {path} 0");
    rig.mend()?;
    rig.store.swap(&table)?;
    rig.open()?;
    before.compare(&Portrait::of(&rig)?)?;
    rig.reopen()?;
    before.compare(&Portrait::of(&rig)?)?;
    for (id, stamp) in ids.iter().zip(1..) {
        let view = rig.view("vt-view", *id, &[])?;
        view.check(0, &vec![stamp; rig.sectors() as usize])?;
    }
    Ok(())
}
