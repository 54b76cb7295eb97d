// SPDX-License-Identifier: GPL-2.0

//! Writers, readers of frozen content and snapshots, all at once. What a view has shown once it
//! must show for ever; what fio has written it must read back.

#![forbid(unsafe_code)]

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use preserve::uapi::TakeSnapshot;
use preserve::uapi::SNAPSHOT_FREEZE;
use rustix::io::Errno;
use vmtest::control::Control;
use vmtest::disk::expect_errno;
use vmtest::disk::Buffer;
use vmtest::disk::Disk;
use vmtest::dm::Dm;
use vmtest::fio::Job;
use vmtest::rig::Rig;
use vmtest::rig::Spec;
use vmtest::rng::Rng;

use super::both;
use super::lifecycle::LIMIT;
use super::slow;
use super::test;
use super::Test;
use crate::Env;

pub const TESTS: &[Test] = &[
    both(slow(
        "i1_a_view_never_changes_while_fio_writes",
        180,
        |env| never_changes(env, &[], "4k"),
    )),
    both(slow(
        "i1_nor_does_it_with_small_writes_and_large_chunks",
        180,
        |env| never_changes(env, &["CHUNK=32"], "2k"),
    )),
    both(slow(
        "snapshots_in_quick_succession_during_io",
        120,
        quick_snapshots,
    )),
    test("snapshot_waits_for_idleness_or_gives_up", idle),
];

const SECTORS: u64 = 16384;

/// Reads random places again and again, and compares them with the first full read.
fn read_again(
    view: &Disk,
    control: &Control,
    id: u64,
    first: &Buffer,
    seed: u64,
    stop: &AtomicBool,
) -> Result<u64> {
    let mut rng = Rng::new(seed);
    let mut reads = 0;
    while !stop.load(Ordering::Relaxed) {
        let (start, len) = rng.range(SECTORS, 64);
        let bytes = start as usize * 512..(start + len) as usize * 512;
        let found = match reads % 4 {
            0 => {
                let mut buffer = Buffer::new(len);
                let piece = control.read(id, start, &mut buffer)?;
                ensure!(
                    piece == vmtest::control::Piece::Data(len),
                    "{piece:?} at {start}+{len}"
                );
                buffer
            }
            _ => view.read(start, len)?,
        };
        ensure!(
            found[..] == first[bytes],
            "the view has changed at {start}+{len}"
        );
        reads += 1;
    }
    Ok(reads)
}

fn never_changes(env: &Env, options: &[&str], block: &str) -> Result<()> {
    let chunk = if options.is_empty() { 8 } else { 32 };
    let rig = Rig::new(&Spec {
        chunk,
        ..Spec::mb(SECTORS / 2048)
    })?;
    rig.disk()?.stamp_all(SECTORS, 1)?;
    let mut reads = 0;
    for round in 0..env.rounds(5, 2) {
        let fio = Job {
            path: rig.dm.path(),
            offset: 0,
            size: SECTORS * 512,
            loops: 1,
            block,
            depth: 16,
            seed: round + env.seed.unwrap_or(1),
            more: &["--numjobs=1"],
        }
        .start()?;
        // In the middle of it.
        thread::sleep(std::time::Duration::from_millis(100 * (round + 1)));
        let id = rig.snapshot()?;
        let view = rig.view("vt-view", id, &[])?;
        reads += watch(&rig, &view, id, fio)?;
        ensure!(rig.control.info()?.invalidated == 0, "given up");
    }
    ensure!(reads > 100, "{reads} reads only");
    Ok(())
}

/// Two readers, until fio is done; the result is how much they read.
fn watch(rig: &Rig, view: &Dm, id: u64, mut fio: vmtest::cmd::Background) -> Result<u64> {
    let frozen = Disk::open_ro(view.path())?;
    let first = frozen.read(0, SECTORS)?;
    let stop = AtomicBool::new(false);
    let reads = thread::scope(|scope| -> Result<u64> {
        let reader = |seed| {
            let (frozen, first, stop, control) = (&frozen, &first, &stop, &rig.control);
            scope.spawn(move || read_again(frozen, control, id, first, seed, stop))
        };
        let readers = [reader(1), reader(2)];
        let status = fio.wait(LIMIT);
        stop.store(true, Ordering::Relaxed);
        let mut reads = 0;
        for reader in readers {
            reads += reader
                .join()
                .map_err(|_| anyhow::anyhow!("a reader died"))??;
        }
        let status = status?.context("fio does not end")?;
        ensure!(status.success(), "fio: {}", fio.output());
        Ok(reads)
    })?;
    // And once more as a whole.
    ensure!(
        frozen.read(0, SECTORS)?[..] == first[..],
        "the view has changed"
    );
    Ok(reads)
}

fn quick_snapshots(env: &Env) -> Result<()> {
    let rig = Rig::new(&Spec::mb(8))?;
    let mut fio = super::lifecycle::busy(&rig, env.rounds(3, 1) as u32)?;
    let mut taken = 0;
    let mut last = 0;
    while !fio.ended()? {
        let id = match taken % 3 {
            0 => rig.control.incremental(0)?,
            _ => rig.control.snapshot()?,
        };
        ensure!(id > last, "{id} after {last}");
        last = id;
        taken += 1;
        if taken % 16 == 0 {
            rig.control.drop_snapshot(id)?;
        }
        if taken % 8 == 0 {
            thread::sleep(std::time::Duration::from_millis(5));
        }
    }
    fio.finish(LIMIT)?;
    ensure!(taken > 20, "{taken} snapshots only");
    Ok(())
}

fn idle(_: &Env) -> Result<()> {
    let rig = Rig::new(&Spec::mb(1))?;
    let disk = rig.disk()?;
    let take = |idle_ms, timeout_ms, flags| {
        let wish = TakeSnapshot {
            idle_ms,
            timeout_ms,
            flags,
            ..TakeSnapshot::default()
        };
        rig.control.take(wish, 0)
    };
    let before = take(50, 5000, 0).context("an idle device")?;
    let stop = AtomicBool::new(false);
    thread::scope(|scope| -> Result<()> {
        let writer = scope.spawn(|| -> std::io::Result<()> {
            while !stop.load(Ordering::Relaxed) {
                disk.stamp(0, 8, 2)?;
            }
            Ok(())
        });
        let start = std::time::Instant::now();
        let result = take(1000, 2500, 0);
        let took = start.elapsed();
        stop.store(true, Ordering::Relaxed);
        writer
            .join()
            .map_err(|_| anyhow::anyhow!("the writer died"))??;
        expect_errno("a busy device", result, Errno::TIMEDOUT)?;
        ensure!(took.as_millis() >= 2400, "it gave up after {took:?}");
        Ok(())
    })?;
    ensure!(
        rig.number("snapshot")? == before,
        "a snapshot was taken all the same"
    );
    take(100, 10_000, SNAPSHOT_FREEZE).context("afterwards, and without a filesystem")?;
    Ok(())
}
