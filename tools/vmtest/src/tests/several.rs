// SPDX-License-Identifier: GPL-2.0

//! Several snapshots at once: each shows its own instant, whatever becomes of the others.

#![forbid(unsafe_code)]

use std::fs;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use preserve::uapi::KIND_BOOKMARK;
use preserve::uapi::KIND_SNAPSHOT;
use rustix::io::Errno;
use vmtest::cmd;
use vmtest::control::Piece;
use vmtest::disk::expect_errno;
use vmtest::disk::Buffer;
use vmtest::disk::Disk;
use vmtest::pattern;
use vmtest::rig::Rig;
use vmtest::rig::Spec;
use vmtest::rng::Rng;

use super::both;
use super::slow;
use super::test;
use super::Test;
use crate::Env;

pub const TESTS: &[Test] = &[
    both(slow(
        "i1_several_64_snapshots_show_their_instants",
        180,
        many,
    )),
    both(test("several_keep_3_of_10", keep_three)),
    both(test("several_space_goes_back_with_the_oldest", space)),
    test("several_full_store_gives_up_one_after_another", full),
    both(test("several_releases_and_scopes_are_per_snapshot", scopes)),
    both(slow(
        "i7_several_increments_between_any_two",
        120,
        increments,
    )),
];

/// A snapshot and the stamps of all sectors at its instant.
struct Taken {
    id: u64,
    frozen: Vec<u64>,
}

/// Writes some random ranges with one stamp, and notes that in `now`.
fn scribble(disk: &Disk, rng: &mut Rng, now: &mut [u64], stamp: u64) -> Result<()> {
    for _ in 0..6 {
        let (start, len) = rng.range(now.len() as u64, 60);
        disk.stamp(start, len, stamp)?;
        now[start as usize..(start + len) as usize].fill(stamp);
    }
    Ok(())
}

/// All of a snapshot, by ioctl.
fn check(rig: &Rig, taken: &Taken) -> Result<()> {
    let mut at = 0;
    while at < rig.sectors() {
        let mut buffer = Buffer::new(rig.sectors() - at);
        let piece = rig.control.read(taken.id, at, &mut buffer);
        let Piece::Data(len) = piece.with_context(|| format!("snapshot {} at {at}", taken.id))?
        else {
            anyhow::bail!("snapshot {}: a hole at {at}", taken.id);
        };
        ensure!(len > 0, "snapshot {} ends at {at}", taken.id);
        let stamps = &taken.frozen[at as usize..(at + len) as usize];
        pattern::check(&buffer[..len as usize * pattern::SECTOR], at, stamps)
            .with_context(|| format!("snapshot {} at {at}", taken.id))?;
        at += len;
    }
    Ok(())
}

fn check_view(rig: &Rig, taken: &Taken) -> Result<()> {
    let view = rig.view("vt-view", taken.id, &[])?;
    let shown = view.check(0, &taken.frozen);
    shown.with_context(|| format!("the view of {}", taken.id))
}

/// The ids of one kind that the module lists.
fn listed(rig: &Rig, kind: u32) -> Result<Vec<u64>> {
    let mut found = Vec::new();
    let mut id = 1;
    while let Ok(entry) = rig.control.at_least(id) {
        if entry.kind == kind {
            found.push(entry.id);
        }
        id = entry.id + 1;
    }
    Ok(found)
}

fn live(rig: &Rig, wanted: &[Taken]) -> Result<()> {
    let wanted: Vec<u64> = wanted.iter().map(|taken| taken.id).collect();
    let found = listed(rig, KIND_SNAPSHOT)?;
    ensure!(found == wanted, "live: {found:?} instead of {wanted:?}");
    Ok(())
}

fn many(env: &Env) -> Result<()> {
    let rig = Rig::new(&Spec {
        store: 32 * 2048,
        ..Spec::mb(1)
    })?;
    let disk = rig.disk()?;
    let mut rng = Rng::new(env.seed.unwrap_or(64));
    let mut now = vec![1; rig.sectors() as usize];
    disk.stamp_all(rig.sectors(), 1)?;
    let mut taken = Vec::new();
    for n in 0..64 {
        let id = rig.control.snapshot_keeping(None, 64)?;
        let frozen = now.clone();
        taken.push(Taken { id, frozen });
        scribble(&disk, &mut rng, &mut now, 2 + n)?;
    }
    live(&rig, &taken)?;
    let status = cmd::run("preserve", &["status", rig.dm.name()])?;
    for Taken { id, .. } in &taken {
        ensure!(status.contains(&format!("  snapshot {id}:")), "{status}");
    }
    for one in &taken {
        check(&rig, one)?;
        check_view(&rig, one)?;
    }
    // From the middle: some one after another, some with both neighbours staying.
    for n in (0..64).rev() {
        if (20..30).contains(&n) || (n > 30 && n < 60 && n % 3 == 0) {
            rig.control.drop_snapshot(taken.remove(n).id)?;
        }
    }
    live(&rig, &taken)?;
    scribble(&disk, &mut rng, &mut now, 100)?;
    for one in &taken {
        check(&rig, one)?;
    }
    // What no write has touched so far is on the origin, for all of them.
    disk.stamp_all(rig.sectors(), 101)?;
    for one in &taken {
        check(&rig, one)?;
    }
    check_view(&rig, &taken[0])?;
    // The oldest ones, one after another, take their epochs' space along.
    while taken.len() > 1 {
        let before = rig.number("preserved_chunks")?;
        rig.control.drop_snapshot(taken.remove(0).id)?;
        let after = rig.number("preserved_chunks")?;
        ensure!(after < before, "{after} of {before} chunks are left");
        check(&rig, &taken[0])?;
    }
    rig.control.drop_snapshot(taken.remove(0).id)?;
    rig.wait_store_empty()
}

fn keep_three(_: &Env) -> Result<()> {
    let rig = Rig::new(&Spec {
        store: 4 * 2048,
        ..Spec::mb(1)
    })?;
    let disk = rig.disk()?;
    disk.stamp_all(rig.sectors(), 1)?;
    let mut taken: Vec<Taken> = Vec::new();
    for n in 1..=10 {
        let id = match n % 3 {
            0 => rig.control.snapshot_keeping(None, 3)?,
            1 => rig.dm.message("snapshot keep=3")?.parse()?,
            _ => {
                let args = ["snapshot", rig.dm.name(), "--keep", "3"];
                cmd::run("preserve", &args)?.trim().parse()?
            }
        };
        let frozen = vec![n; rig.sectors() as usize];
        taken.push(Taken { id, frozen });
        if taken.len() > 3 {
            let dropped = taken.remove(0);
            let read = rig.control.read(dropped.id, 0, &mut Buffer::new(8));
            expect_errno("a dropped snapshot", read, Errno::NOENT)?;
        }
        live(&rig, &taken)?;
        disk.stamp_all(rig.sectors(), n + 1)?;
        for one in &taken {
            check(&rig, one)?;
        }
        let wanted = 256 * taken.len() as u64;
        let found = rig.number("preserved_chunks")?;
        ensure!(found == wanted, "{found} preserved instead of {wanted}");
    }
    ensure!(listed(&rig, KIND_BOOKMARK)?.len() == 7, "bookmarks");
    ensure!(
        rig.status()?.numbers[2] == 3,
        "snapshots in the status line"
    );
    // Fewer from now on; sysfs keeps one.
    taken.remove(0);
    taken.remove(0);
    let id = rig.control.snapshot_keeping(None, 2)?;
    let frozen = vec![11; rig.sectors() as usize];
    taken.push(Taken { id, frozen });
    live(&rig, &taken)?;
    rig.write_sysfs("snapshot", "full")?;
    ensure!(listed(&rig, KIND_SNAPSHOT)? == [id + 1], "after sysfs");
    rig.wait_store_empty()
}

fn space(_: &Env) -> Result<()> {
    let rig = Rig::new(&Spec::mb(1))?;
    let disk = rig.disk()?;
    disk.stamp_all(rig.sectors(), 1)?;
    // Ten chunks that each epoch writes, and ten of its own.
    let mut taken = Vec::new();
    let mut now = vec![1; rig.sectors() as usize];
    for n in 0..4 {
        let id = rig.control.snapshot_keeping(None, 4)?;
        let frozen = now.clone();
        taken.push(Taken { id, frozen });
        for start in [0, 80 * (n + 1)] {
            disk.stamp(start, 80, 2 + n)?;
            now[start as usize..start as usize + 80].fill(2 + n);
        }
    }
    let preserved = |wanted: u64| {
        let found = rig.number("preserved_chunks")?;
        ensure!(found == wanted, "{found} preserved instead of {wanted}");
        cmd::wait_until("space comes back", super::lifecycle::LIMIT, || {
            rig.uses(wanted)
        })
    };
    preserved(80)?;
    // Rule 1: the epochs of the two in the middle serve the first as well.
    rig.control.drop_snapshot(taken.remove(1).id)?;
    rig.control.drop_snapshot(taken.remove(1).id)?;
    preserved(80)?;
    for one in &taken {
        check(&rig, one)?;
    }
    // With the first, three epochs serve nobody.
    rig.control.drop_snapshot(taken.remove(0).id)?;
    preserved(20)?;
    check(&rig, &taken[0])?;
    rig.control.drop_snapshot(taken.remove(0).id)?;
    preserved(0)
}

/// The store holds three epochs' copies.
fn full(_: &Env) -> Result<()> {
    let rig = Rig::new(&Spec {
        store: 24 * 8,
        ..Spec::mb(1)
    })?;
    let disk = rig.disk()?;
    disk.stamp_all(rig.sectors(), 1)?;
    let mut taken = Vec::new();
    let mut now = vec![1; rig.sectors() as usize];
    for n in 0..4 {
        let id = rig.control.snapshot_keeping(None, 4)?;
        let frozen = now.clone();
        taken.push(Taken { id, frozen });
        if n < 3 {
            disk.stamp(0, 64, 2 + n)?;
            now[..64].fill(2 + n);
        }
    }
    let given_up = |wanted: u64| {
        let info = rig.control.info()?;
        let found = (info.invalidated, u64::from(info.snapshots));
        ensure!(found == (wanted, 4 - wanted), "{info:?}");
        Ok(())
    };
    given_up(0)?;
    ensure!(rig.number("preserved_chunks")? == 24, "the store is full");
    // Eight at a time, each of which needs the place of one more.
    for n in 1..=3 {
        for chunk in 0..8 {
            disk.stamp((8 * n + chunk) * 8, 8, 9)?;
            given_up(n)?;
            for one in &taken[n as usize..] {
                check(&rig, one)?;
            }
        }
        let read = rig
            .control
            .read(taken[n as usize - 1].id, 0, &mut Buffer::new(8));
        expect_errno("a snapshot that was given up", read, Errno::NOENT)?;
    }
    // The last one has the store to itself, and it is full.
    disk.stamp(800, 8, 9)?;
    given_up(4)?;
    ensure!(listed(&rig, KIND_BOOKMARK)?.len() == 4, "bookmarks");
    rig.wait_store_empty()
}

fn scopes(_: &Env) -> Result<()> {
    let rig = Rig::new(&Spec {
        store: 4 * 2048,
        ..Spec::mb(1)
    })?;
    let disk = rig.disk()?;
    disk.stamp_all(rig.sectors(), 1)?;
    let keep = |base| rig.control.snapshot_keeping(base, 8);
    let base = keep(None)?;
    disk.stamp(0, 80, 2)?;
    let full = keep(None)?;
    disk.stamp(80, 80, 3)?;
    // Chunks 0 to 19 have changed since the first, 10 to 19 since the second.
    let since_base = keep(Some(base))?;
    let since_full = keep(Some(full))?;
    rig.settle()?;
    rig.control.drop_snapshot(base)?;
    // The second wants everything but what is released for it; the first of the others wants
    // chunk 5.
    rig.control.release(full, 0, 400)?;
    rig.control.release(since_full, 80, 40)?;
    disk.stamp_all(rig.sectors(), 4)?;
    let preserved = |to: u64| rig.control.chunks(0, to, 4, 4);
    let kept: Vec<u64> = (0..20).chain(50..256).collect();
    ensure!(preserved(since_base)? == kept, "for {since_base}");
    ensure!(preserved(since_full)? == kept, "for {since_full}");
    // At the second, chunks 10 to 19 had what was copied when they were overwritten after it.
    ensure!(preserved(full)? == kept, "for {full}");
    // Without the others, only the latest one's scope counts, less what is released for it.
    let last = keep(Some(full))?;
    for id in [full, since_base, since_full] {
        rig.control.drop_snapshot(id)?;
    }
    rig.settle()?;
    rig.control.release(last, 0, 1024)?;
    disk.stamp_all(rig.sectors(), 5)?;
    let kept: Vec<u64> = (128..256).collect();
    ensure!(preserved(last)? == kept, "for {last}");
    // Changes are known between any two, live or not.
    let changed = |from, to| rig.control.chunks(from, to, 1, 1);
    ensure!(changed(base, full)? == (0..10).collect::<Vec<_>>(), "1");
    ensure!(
        changed(full, since_base)? == (10..20).collect::<Vec<_>>(),
        "2"
    );
    ensure!(
        changed(base, since_full)? == (0..20).collect::<Vec<_>>(),
        "3"
    );
    ensure!(changed(since_base, since_full)?.is_empty(), "4");
    Ok(())
}

const COPY: &str = "/tmp/several.img";
const STREAM: &str = "/tmp/several.stream";

fn remove_files() {
    for file in [COPY, STREAM, &format!("{COPY}.preserve.json")] {
        let _ = fs::remove_file(file);
    }
}

/// Files of a test; gone when dropped.
struct Files;

impl Drop for Files {
    fn drop(&mut self) {
        remove_files();
    }
}

/// Backs up a snapshot, from a base unless that is 0, and applies that to the copy.
fn move_copy(rig: &Rig, from: u64, to: &Taken) -> Result<()> {
    let (from, id) = (from.to_string(), to.id.to_string());
    let mut args = vec!["--quiet", "backup", rig.dm.name(), "--snapshot", &id];
    if from != "0" {
        args.extend(["--from", &from]);
    }
    args.extend(["-o", STREAM]);
    cmd::run("preserve", &args)?;
    cmd::run("preserve", &["--quiet", "apply", STREAM, COPY])?;
    pattern::check(&fs::read(COPY)?, 0, &to.frozen)
        .with_context(|| format!("the copy, from {from} to {id}"))
}

fn increments(env: &Env) -> Result<()> {
    let _files = Files;
    let rig = Rig::new(&Spec {
        store: 8 * 2048,
        ..Spec::mb(1)
    })?;
    let disk = rig.disk()?;
    disk.stamp_all(rig.sectors(), 1)?;
    let mut rng = Rng::new(env.seed.unwrap_or(5));
    let mut now = vec![1; rig.sectors() as usize];
    let mut taken = Vec::new();
    for n in 0..4 {
        let id = rig.control.snapshot_keeping(None, 4)?;
        let frozen = now.clone();
        taken.push(Taken { id, frozen });
        scribble(&disk, &mut rng, &mut now, 2 + n)?;
    }
    for from in 0..taken.len() {
        for to in from + 1..taken.len() {
            remove_files();
            move_copy(&rig, 0, &taken[from])?;
            move_copy(&rig, taken[from].id, &taken[to])?;
        }
    }
    // And from one that is a bookmark by then.
    remove_files();
    move_copy(&rig, 0, &taken[1])?;
    rig.control.drop_snapshot(taken[1].id)?;
    move_copy(&rig, taken[1].id, &taken[3])
}
