// SPDX-License-Identifier: GPL-2.0

//! What the command does with a store while there is no live device: rollback, check, repair. In
//! use it is refused.

#![forbid(unsafe_code)]

use std::thread;
use std::time::Duration;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use preserve::uapi::ATTR_GONE;
use preserve::uapi::ATTR_PROTECTED;
use vmtest::cmd;
use vmtest::cmd::Background;
use vmtest::disk::Disk;
use vmtest::kmsg::Kmsg;
use vmtest::rig::Rig;
use vmtest::rig::Spec;

use super::portrait::points;
use super::portrait::snapshots;
use super::portrait::Portrait;
use crate::tests::bad_table::refused;
use crate::tests::slow;
use crate::tests::test;
use crate::tests::Test;
use crate::Env;

pub const TESTS: &[Test] = &[
    slow("i1_rollback_brings_the_origin_back", 120, rollback),
    test("i7_rollback_is_refused_half_way_and_finished", half_way),
    slow("i7_rollback_that_is_killed_is_finished", 180, killed),
    test("persistent_store_in_use_is_left_alone", in_use),
    test("persistent_repair_then_activation", repair),
];

const MB: u64 = 2;
/// Sectors of the device.
const ALL: u64 = MB * 2048;

/// Two snapshots: everything is 1 at the first; 2 was written at 160..800 before the second, 3 at
/// 400..1200 since. Nobody protects 3000..3080, which is 4 now.
fn rig() -> Result<(Rig, [u64; 2])> {
    let rig = Rig::new(&Spec::mb(MB).persistent())?;
    let disk = rig.disk()?;
    disk.stamp_all(ALL, 1)?;
    rig.dm.message("unprotect 3000 80")?;
    let first = rig.control.snapshot_keeping(None, 4)?;
    disk.stamp(160, 640, 2)?;
    let second = rig.control.snapshot_keeping(None, 4)?;
    disk.stamp(400, 800, 3)?;
    disk.stamp(3000, 80, 4)?;
    Ok((rig, [first, second]))
}

/// What the sectors have after a rollback to the first or second snapshot.
fn stamps(second: bool) -> Vec<u64> {
    let mut stamps = vec![1; ALL as usize];
    if second {
        stamps[160..800].fill(2);
    }
    stamps[3000..3080].fill(4);
    stamps
}

fn command(rig: &Rig, id: u64, args: &[&str]) -> Vec<String> {
    let id = id.to_string();
    let (origin, store) = (rig.origin.path(), rig.store.path());
    let first = ["rollback", &id, "--origin", origin, "--store", store];
    let all = first.iter().chain(args);
    all.map(|word| word.to_string()).collect()
}

fn roll(rig: &Rig, id: u64, args: &[&str]) -> Result<cmd::Output> {
    let words = command(rig, id, args);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    cmd::output("preserve", &words, "")
}

/// It ends in failure, with these words.
fn fails(output: &cmd::Output, words: &str) -> Result<()> {
    ensure!(!output.ok, "it succeeded: {}", output.stdout);
    ensure!(output.stderr.contains(words), "it said {:?}", output.stderr);
    Ok(())
}

fn done(rig: &Rig, id: u64) -> Result<()> {
    let output = roll(rig, id, &["--yes"])?;
    ensure!(output.ok, "the rollback failed: {}", output.stderr);
    Ok(())
}

/// The live device is there again, at the snapshot, and goes on from it.
fn goes_on(rig: &mut Rig, id: u64, left: &[u64], stamps: &[u64]) -> Result<()> {
    let mut kernel = Kmsg::now()?;
    rig.open()?;
    let lines = kernel.lines()?;
    let lost = lines.iter().find(|line| line.contains("lost"));
    ensure!(lost.is_none(), "the kernel said {lost:?}");
    ensure!(snapshots(rig)? == left, "{:?}", points(rig)?);
    rig.dm.check(0, stamps)?;
    rig.disk()?.stamp(160, 80, 7)?;
    for id in left {
        rig.view("vt-view", *id, &[])?.check(0, &[1; 160])?;
    }
    let view = rig.view("vt-view", id, &[])?;
    view.check(160, &stamps[160..3000])?;
    drop(view);
    let next = rig.control.snapshot_keeping(None, 4)?;
    rig.disk()?.stamp_all(ALL, 8)?;
    let view = rig.view("vt-view", next, &[])?;
    view.check(160, &[7; 80])?;
    view.check(240, &stamps[240..3000])
}

fn rollback(_: &Env) -> Result<()> {
    for second in [false, true] {
        let (mut rig, [first, latest]) = rig()?;
        rig.close()?;
        let id = if second { latest } else { first };
        fails(&roll(&rig, id, &[])?, "must be confirmed")?;
        let output = roll(&rig, id, &["--dry-run"])?;
        ensure!(output.ok, "{}", output.stderr);
        let chunks = if second { "100 chunks" } else { "130 chunks" };
        ensure!(output.stdout.contains(chunks), "{}", output.stdout);
        rig.origin.check(400, &[3; 800])?;
        done(&rig, id)?;
        rig.origin.check(0, &stamps(second))?;
        // The same again changes nothing.
        done(&rig, id)?;
        let left: &[u64] = if second { &[first, latest] } else { &[first] };
        goes_on(&mut rig, id, left, &stamps(second))?;
    }
    Ok(())
}

/// The origin fails at some of the writes.
fn half_way(_: &Env) -> Result<()> {
    let (mut rig, [first, latest]) = rig()?;
    rig.close()?;
    let disk = rig.origin_disk().to_string();
    let rest = ALL - 600;
    rig.origin.swap(&format!(
        "0 600 linear {disk} 0\n600 {rest} flakey {disk} 600 0 3600 1 error_writes"
    ))?;
    fails(&roll(&rig, first, &["--yes"])?, "the origin: cannot")?;
    rig.mend()?;
    let table = rig.table(ALL, &[]);
    let words = "a rollback of the origin is under way: finish it with preserve rollback";
    refused(&table, words, false)?;
    let check = cmd::run("preserve", &["check", rig.store.path()])?;
    let note = format!("a rollback to snapshot {first} is under way");
    ensure!(check.contains(&note), "{check}");
    let (origin, store) = (rig.origin.path(), rig.store.path());
    let create = [
        "create", "vt-bad", "--origin", origin, "--store", store, "--format",
    ];
    fails(&cmd::output("preserve", &create, "")?, "is under way")?;
    fails(&roll(&rig, latest, &["--yes"])?, "is under way")?;
    refused(&table, words, false)?;
    done(&rig, first)?;
    rig.origin.check(0, &stamps(false))?;
    goes_on(&mut rig, first, &[first], &stamps(false))
}

fn killed(_: &Env) -> Result<()> {
    for round in 0..4 {
        let (mut rig, [first, _]) = rig()?;
        rig.close()?;
        let words = command(&rig, first, &["--yes"]);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let running = Background::start("preserve", &words)?;
        thread::sleep(Duration::from_millis(round * 60));
        // Killed, if it has not ended.
        drop(running);
        done(&rig, first)?;
        rig.origin.check(0, &stamps(false))?;
        let context = || format!("round {round}");
        goes_on(&mut rig, first, &[first], &stamps(false)).with_context(context)?;
    }
    Ok(())
}

/// Also `--force-in-use`, which reads while the module writes.
fn in_use(_: &Env) -> Result<()> {
    let (rig, [first, _]) = rig()?;
    let before = Portrait::of(&rig)?;
    fails(&roll(&rig, first, &["--yes"])?, "in use by vt-live")?;
    let store = rig.store.path().to_string();
    for command in ["check", "dump"] {
        let output = cmd::output("preserve", &[command, &store], "")?;
        fails(&output, "in use by vt-live")?;
        ensure!(output.stderr.contains("--force-in-use"), "{output:?}");
    }
    let repair = ["check", "--repair", &store];
    fails(&cmd::output("preserve", &repair, "")?, "in use by vt-live")?;
    // What is there is whole, as nobody writes.
    rig.settle()?;
    let check = cmd::run("preserve", &["check", "--force-in-use", &store])?;
    ensure!(check.contains("clean"), "{check}");
    ensure!(check.contains(&format!("snapshot {first}: ")), "{check}");
    cmd::run("preserve", &["dump", "--force-in-use", &store])?;
    before.compare(&Portrait::of(&rig)?)?;
    // And beside writes it says something, whatever it is.
    let disk = rig.disk()?;
    let mut check = Background::start("preserve", &["check", "--force-in-use", &store])?;
    for stamp in 10..20 {
        disk.stamp_all(ALL, stamp)?;
        rig.control.snapshot_keeping(None, 4)?;
    }
    let status = check.wait(Duration::from_secs(30))?;
    let code = status.context("it does not end")?.code();
    ensure!(
        matches!(code, Some(0 | 1 | 5)),
        "{code:?}: {}",
        check.output()
    );
    Ok(())
}

/// A damaged superblock and a rotten content, repaired; the module takes what comes out.
fn repair(_: &Env) -> Result<()> {
    let (mut rig, [first, second]) = rig()?;
    rig.close()?;
    let disk = Disk::open(rig.store.path())?;
    let mut block = disk.read(8, 8)?;
    block[100] ^= 1;
    disk.write(8, &block)?;
    // The first content, behind its header, in the first segment (see `errors::Area`).
    let field: [u8; 8] = disk.read(0, 8)?[136..144].try_into()?;
    let at = (u64::from_le_bytes(field) + 1) * 8;
    let mut block = disk.read(at, 8)?;
    block[100] ^= 1;
    disk.write(at, &block)?;
    drop(disk);
    let store = rig.store.path().to_string();
    let check = cmd::output("preserve", &["check", &store], "")?;
    fails(&check, "2 damages found")?;
    let repair = cmd::run("preserve", &["check", "--repair", &store])?;
    ensure!(repair.contains("repaired: superblock 1"), "{repair}");
    ensure!(repair.contains("is gone now"), "{repair}");
    cmd::run("preserve", &["check", &store])?;
    rig.open()?;
    ensure!(snapshots(&rig)? == [first, second], "{:?}", points(&rig)?);
    let gone = ATTR_GONE | ATTR_PROTECTED;
    let lost = [first, second].map(|id| rig.control.chunks(0, id, gone, gone));
    let lost: Vec<u64> = lost
        .into_iter()
        .collect::<std::io::Result<Vec<_>>>()?
        .concat();
    ensure!(lost == [20], "gone: {lost:?}");
    Ok(())
}
