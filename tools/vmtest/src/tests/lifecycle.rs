// SPDX-License-Identifier: GPL-2.0

//! Suspend, resume, remove and rmmod, with I/O under way.

#![forbid(unsafe_code)]

use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::ensure;
use anyhow::Result;
use vmtest::cmd;
use vmtest::cmd::Background;
use vmtest::control;
use vmtest::disk::Disk;
use vmtest::fio::Job;
use vmtest::rig::Rig;
use vmtest::rig::Spec;

use super::both;
use super::slow;
use super::test;
use super::Test;
use crate::runner;
use crate::Env;

pub const TESTS: &[Test] = &[
    both(slow("suspend_and_resume_during_io", 120, suspend_flush)),
    both(slow(
        "suspend_noflush_and_resume_during_io",
        120,
        suspend_noflush,
    )),
    both(slow("reload_of_the_same_table_during_io", 120, reload_same)),
    both(test("a_view_keeps_the_live_device", view_keeps)),
    test("rmmod_is_refused_while_in_use", rmmod_in_use),
    test("module_can_be_unloaded_and_loaded_again", rmmod),
    both(slow("devices_come_and_go_many_times", 240, come_and_go)),
];

/// How long fio may take, on the slowest machine and a kernel that checks itself. What hangs is
/// ended by the test's own limit.
pub const LIMIT: Duration = Duration::from_secs(600);

/// fio over the whole device, with a snapshot being preserved.
pub fn busy(rig: &Rig, loops: u32) -> Result<Background> {
    rig.snapshot()?;
    Job {
        path: rig.dm.path(),
        offset: 0,
        size: rig.sectors() * 512,
        loops,
        block: "4k",
        depth: 8,
        seed: 1,
        more: &[],
    }
    .start()
}

/// Does something again and again while fio writes and verifies.
fn during_io(env: &Env, mut what: impl FnMut(&Rig) -> Result<()>) -> Result<()> {
    let rig = Rig::new(&Spec::mb(8))?;
    let mut fio = busy(&rig, env.rounds(4, 2) as u32)?;
    let mut rounds = 0;
    while !fio.ended()? {
        what(&rig)?;
        rounds += 1;
        if rounds % 4 == 0 {
            rig.snapshot()?;
        }
        thread::sleep(Duration::from_millis(50));
    }
    fio.finish(LIMIT)?;
    ensure!(rounds >= 2, "fio was too quick: {rounds} rounds only");
    ensure!(rig.sysfs("state")? == "active");
    Ok(())
}

fn suspend_flush(env: &Env) -> Result<()> {
    during_io(env, |rig| {
        rig.dm.suspend()?;
        // Looking must not wait for I/O.
        rig.status()?;
        rig.map("snapshot_map")?;
        rig.dm.resume()
    })
}

fn suspend_noflush(env: &Env) -> Result<()> {
    during_io(env, |rig| {
        rig.dm.suspend_noflush()?;
        rig.control.info()?;
        rig.dm.resume()
    })
}

fn reload_same(env: &Env) -> Result<()> {
    during_io(env, |rig| {
        let marks = rig.number("changed_chunks")?;
        let latest = rig.number("snapshot")?;
        rig.dm.swap(&rig.table(rig.sectors(), &[]))?;
        // Everything is still known.
        ensure!(rig.number("changed_chunks")? >= marks, "marks were lost");
        ensure!(rig.number("snapshot")? == latest, "the snapshot was lost");
        Ok(())
    })
}

fn view_keeps(_: &Env) -> Result<()> {
    let rig = Rig::new(&Spec::mb(1))?;
    let live = rig.dm.name().to_string();
    let id = rig.snapshot()?;
    let view = rig.view("vt-view", id, &[])?;
    for _ in 0..2 {
        let result = cmd::output("dmsetup", &["remove", "--noudevsync", &live], "")?;
        ensure!(!result.ok, "the live device was removed under its view");
        let words = result.stderr.to_lowercase();
        ensure!(words.contains("busy"), "the refusal was: {words}");
    }
    view.check(0, &[0; 64])?;
    rig.dm.stamp(0, 64, 1)?;
    drop(view);
    // And without it, it goes.
    drop(rig);
    ensure!(
        !cmd::output("dmsetup", &["info", &live], "")?.ok,
        "it is still there"
    );
    Ok(())
}

fn rmmod_in_use(_: &Env) -> Result<()> {
    let refused = |what: &str| {
        let result = cmd::output("rmmod", &["dm_preserve"], "")?;
        ensure!(!result.ok, "rmmod succeeded with {what}");
        ensure!(Path::new("/sys/module/dm_preserve").exists(), "it is gone");
        Ok(())
    };
    let rig = Rig::new(&Spec::mb(4))?;
    refused("a live device")?;
    let fio = busy(&rig, 1)?;
    let id = rig.number("snapshot")?;
    let view = rig.view("vt-view", id, &[])?;
    refused("a live device and a view")?;
    rig.dm.suspend()?;
    refused("a suspended live device")?;
    rig.dm.resume()?;
    fio.finish(LIMIT)?;
    drop(view);
    drop(rig);
    let open = control::open()?;
    refused("the control device open")?;
    drop(open);
    Ok(())
}

fn rmmod(_: &Env) -> Result<()> {
    for _ in 0..3 {
        let rig = Rig::new(&Spec::mb(1))?;
        let id = rig.snapshot()?;
        rig.dm.stamp(0, 800, 1)?;
        let view = rig.view("vt-view", id, &[])?;
        view.check(0, &[0; 800])?;
        drop(view);
        drop(rig);
        let result = cmd::wait_until("the module can go", Duration::from_secs(10), || {
            Ok(cmd::output("rmmod", &["dm_preserve"], "")?.ok)
        });
        // The tests that follow need it in any case.
        runner::load_module()?;
        result?;
        ensure!(
            Path::new(preserve::uapi::CONTROL_PATH).exists(),
            "no control device"
        );
    }
    Ok(())
}

fn come_and_go(env: &Env) -> Result<()> {
    for round in 0..env.rounds(12, 4) {
        let rig = Rig::new(&Spec::mb(2))?;
        let disk = rig.disk()?;
        disk.stamp_all(rig.sectors(), 1)?;
        let id = rig.snapshot()?;
        let view = rig.view("vt-view", id, &[])?;
        let frozen = Disk::open_ro(view.path())?;
        disk.stamp(round * 8, 800, 2)?;
        frozen.check(0, &[1; 1000])?;
    }
    Ok(())
}
