// SPDX-License-Identifier: GPL-2.0

//! Live devices over live devices, and over themselves.

#![forbid(unsafe_code)]

use std::fs;
use std::fs::File;
use std::time::Duration;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use vmtest::cmd;
use vmtest::dm::Dm;
use vmtest::fio::Job;
use vmtest::kmsg::Kmsg;
use vmtest::live;
use vmtest::live::Kind;
use vmtest::live::Live;
use vmtest::loopdev::Loop;
use vmtest::nullblk::NullBlk;
use vmtest::rig::Rig;
use vmtest::rig::Spec;

use super::bad_table::said;
use super::lifecycle::LIMIT;
use super::persistent::files::Mount;
use super::slow;
use super::test;
use super::Test;
use crate::Env;

pub const TESTS: &[Test] = &[
    test("each_live_device_has_workers_of_its_own", own_workers),
    slow(
        "i1_live_devices_are_origin_and_store_of_another",
        240,
        stacked,
    ),
    test("i8_a_store_on_its_own_live_device_is_refused", on_itself),
    test(
        "i8_a_store_in_a_file_of_its_live_device_is_refused",
        in_own_file,
    ),
];

/// Work queues that have a thread in reserve, by name.
fn rescuers() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        // One that has just ended has no name.
        let comm = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        if let Some(name) = comm.trim_end().strip_prefix("kworker/R-dm-preserve") {
            names.push(name.to_string());
        }
    }
    Ok(names)
}

fn own_workers(_: &Env) -> Result<()> {
    let rig = Rig::new(&Spec::mb(1))?;
    let (device, names) = (rig.dm.device(), rescuers()?);
    for kind in ["", "-log"] {
        let own = format!("{kind}/{}:{}", device.major, device.minor);
        let count = names.iter().filter(|name| **name == own).count();
        ensure!(count == 1, "{count} threads {own:?} among {names:?}");
    }
    drop(rig);
    let gone = || Ok(rescuers()?.is_empty());
    cmd::wait_until("the threads are gone", Duration::from_secs(10), gone)
}

/// Chunks of 4 KiB over the whole of these devices.
fn live(name: &str, kind: Kind, sectors: u64, origin: &str, store: &str) -> Result<Live> {
    Live::create(name, kind, sectors, origin, store, 8, &[])
}

const MIB: u64 = 2048;

/// Another has two live devices below, and all three have a snapshot, when each write is the first
/// one on each of them.
fn stacked(env: &Env) -> Result<()> {
    let names = ["vt-a", "vt-b", "vt-c", "vt-d"];
    let disks: Vec<NullBlk> = names
        .iter()
        .map(|name| NullBlk::new(name, 120))
        .collect::<Result<_>>()?;
    let path = |n: usize| disks[n].path();
    let origin = live("vt-origin", Kind::Persistent, 8 * MIB, path(0), path(1))?;
    let store = live("vt-store", Kind::Persistent, 80 * MIB, path(2), path(3))?;
    let top = live(
        "vt-live",
        Kind::Persistent,
        8 * MIB,
        origin.dm.path(),
        store.dm.path(),
    )?;
    let all = [&top, &origin, &store];
    top.disk()?.stamp_all(top.sectors(), 1)?;
    for round in 0..env.rounds(3, 1) {
        let ids: Vec<u64> = all
            .iter()
            .map(|live| live.snapshot())
            .collect::<Result<_>>()?;
        let fio = Job {
            path: top.dm.path(),
            offset: 0,
            size: top.sectors() * 256,
            loops: 1,
            block: "4k",
            depth: 32,
            seed: round + 1,
            more: &[],
        };
        fio.start()?.finish(LIMIT)?;
        for live in all {
            live.dm.message("checkpoint")?;
            live.dm.suspend()?;
            live.dm.resume()?;
        }
        if round == 0 {
            for (live, id) in [(&top, ids[0]), (&origin, ids[1])] {
                let view = live.view("vt-view", id, &[])?;
                view.check(0, &vec![1; top.sectors() as usize])
                    .with_context(|| format!("the view of {}", live.dm.name()))?;
            }
        }
        for (live, id) in all.iter().zip(ids) {
            live.control.drop_snapshot(id)?;
        }
    }
    Ok(())
}

/// Loads a table for a live device that must be refused.
fn refused(dm: &Dm, table: &str, words: &str) -> Result<()> {
    let mut kernel = Kmsg::now()?;
    let loaded = dm.load(table);
    if loaded.is_ok() {
        dm.clear()?;
    }
    ensure!(loaded.is_err(), "table {table:?} was accepted");
    said(&mut kernel, words).with_context(|| format!("table {table:?}"))
}

const ITSELF: &str = "lies on the live device itself";

fn on_itself(_: &Env) -> Result<()> {
    let disk = NullBlk::new("vt-a", 80)?;
    let other = NullBlk::new("vt-b", 80)?;
    let dm = Dm::linear("vt-live", disk.path(), 0, 80 * MIB)?;
    let over = Dm::linear("vt-over", dm.path(), 0, 70 * MIB)?;
    let second = Dm::linear("vt-second", over.path(), 0, 70 * MIB)?;
    for kind in [Kind::Transient, Kind::Persistent] {
        for upper in [&over, &second] {
            for (origin, store) in [(other.path(), upper.path()), (upper.path(), other.path())] {
                let table = live::table(kind, 8 * MIB, origin, store, 8, &[]);
                refused(&dm, &table, ITSELF)?;
            }
        }
    }
    // It still works, and so does a store on the disk below.
    dm.stamp(0, 64, 1)?;
    drop(second);
    drop(over);
    let below = Dm::linear("vt-below", disk.path(), 0, 70 * MIB)?;
    let table = live::table(Kind::Transient, 8 * MIB, other.path(), below.path(), 8, &[]);
    dm.load(&table).context("a store that lies elsewhere")?;
    dm.clear()
}

fn in_own_file(_: &Env) -> Result<()> {
    let disk = NullBlk::new("vt-a", 160)?;
    let other = NullBlk::new("vt-b", 80)?;
    let dm = Dm::linear("vt-live", disk.path(), 0, 160 * MIB)?;
    cmd::run("mkfs.ext4", &["-q", "-F", dm.path()])?;
    let mount = Mount::new(dm.path(), "rw")?;
    let file = format!("{}/store", Mount::AT);
    File::create(&file)?.set_len(70 << 20)?;
    let inside = Loop::over(file)?;
    let over = Dm::linear("vt-over", inside.path(), 0, 70 * MIB)?;
    let outside = Loop::new("vt-outside", 70)?;
    let table = |store: &str| live::table(Kind::Transient, 8 * MIB, other.path(), store, 8, &[]);
    refused(&dm, &table(over.path()), ITSELF)?;
    drop(over);
    refused(&dm, &table(inside.path()), ITSELF)?;
    dm.load(&table(outside.path()))
        .context("a store in a file that lies elsewhere")?;
    dm.clear()?;
    // Before the filesystem that it is in.
    drop(inside);
    drop(mount);
    Ok(())
}
