// SPDX-License-Identifier: GPL-2.0

//! A suspended live device: what can be read of its snapshots, and what is said of the rest.

#![forbid(unsafe_code)]

use std::io;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

use anyhow::ensure;
use anyhow::Result;
use preserve::uapi::ATTR_PRESERVED;
use rustix::io::Errno;
use vmtest::cmd;
use vmtest::cmd::wait_until;
use vmtest::cmd::Background;
use vmtest::control::Piece;
use vmtest::disk::expect_errno;
use vmtest::disk::Buffer;
use vmtest::disk::Disk;
use vmtest::dm::Dm;
use vmtest::pattern;
use vmtest::rig::Rig;
use vmtest::rig::Spec;

use super::both;
use super::slow;
use super::test;
use super::Test;
use crate::Env;

pub const TESTS: &[Test] = &[
    both(test(
        "what_is_in_the_store_is_read_during_a_suspend",
        from_store,
    )),
    slow(
        "what_is_on_the_origin_waits_half_a_minute_for_a_resume",
        120,
        from_origin,
    ),
    both(test("commands_say_that_the_device_is_suspended", commands)),
];

/// How long what does not wait may take.
const SOON: Duration = Duration::from_secs(15);

/// A device whose first ten chunks are preserved for the snapshot, the others on the origin.
fn rig(spec: &Spec<'_>) -> Result<(Rig, u64, Dm)> {
    let rig = Rig::new(spec)?;
    let disk = rig.disk()?;
    disk.stamp_all(rig.sectors(), 1)?;
    let id = rig.snapshot()?;
    disk.stamp(0, 80, 2)?;
    let view = rig.view("vt-view", id, &[])?;
    Ok((rig, id, view))
}

/// A read in a thread of its own: it may wait.
fn read(view: &Dm, start: u64, sectors: u64) -> Result<JoinHandle<io::Result<Buffer>>> {
    let disk = Disk::open_ro(view.path())?;
    Ok(thread::spawn(move || disk.read(start, sectors)))
}

fn joined<T>(thread: JoinHandle<T>) -> Result<T> {
    thread
        .join()
        .map_err(|_| anyhow::anyhow!("the reader died"))
}

/// Suspends the live device for `f`, whatever comes of it.
fn while_suspended<R>(rig: &Rig, f: impl FnOnce() -> Result<R>) -> Result<R> {
    rig.dm.suspend()?;
    let result = f();
    rig.dm.resume()?;
    result
}

fn from_store(_: &Env) -> Result<()> {
    let (rig, id, view) = rig(&Spec::mb(1))?;
    let waiting = while_suspended(&rig, || {
        let waiting = read(&view, 800, 8)?;
        thread::sleep(Duration::from_millis(500));
        // What waits is in nobody's way: neither whole chunks, nor parts of them.
        for (start, sectors) in [(0, 80), (4, 3), (75, 2)] {
            let reader = read(&view, start, sectors)?;
            wait_until("the store is read", SOON, || Ok(reader.is_finished()))?;
            let stamps = vec![1; sectors as usize];
            pattern::check(&joined(reader)??, start, &stamps)?;
        }
        let mut buffer = Buffer::new(16);
        ensure!(
            matches!(rig.control.read(id, 72, &mut buffer)?, Piece::Data(8)),
            "a call ends where the origin begins"
        );
        pattern::check(&buffer[..8 * 512], 72, &[1; 8])?;
        let preserved = rig.control.chunks(0, id, ATTR_PRESERVED, ATTR_PRESERVED)?;
        ensure!(
            preserved.len() == 10,
            "{} chunks preserved",
            preserved.len()
        );
        ensure!(!waiting.is_finished(), "the origin was believed");
        Ok(waiting)
    })?;
    pattern::check(&joined(waiting)??, 800, &[1; 8])?;
    view.check(0, &[1; 2048])
}

/// How long `f` took, which must be about as long as reads wait.
fn half_a_minute<R>(what: &str, f: impl FnOnce() -> R) -> Result<R> {
    let begin = Instant::now();
    let result = f();
    let took = begin.elapsed();
    let expected = Duration::from_secs(25)..Duration::from_secs(50);
    ensure!(expected.contains(&took), "{what} took {took:?}");
    Ok(result)
}

fn from_origin(_: &Env) -> Result<()> {
    let (rig, id, view) = rig(&Spec::mb(1).persistent())?;
    let live = rig.dm.name().to_string();
    while_suspended(&rig, || {
        let disk = Disk::open_ro(view.path())?;
        let direct = thread::spawn(move || half_a_minute("direct", || disk.read(800, 8)));
        let part = Disk::open_ro(view.path())?;
        let part = thread::spawn(move || half_a_minute("mixed", || part.read(72, 16)));
        let path = format!("if={}", view.path());
        let buffered = thread::spawn(move || {
            let args = [&path, "of=/dev/null", "bs=4k", "skip=200", "count=1"];
            half_a_minute("buffered", || cmd::output("dd", &args, ""))
        });
        let backup = thread::spawn(move || {
            let args = ["--quiet", "backup", &live, "-o", "/tmp/stream-suspended"];
            half_a_minute("backup", || cmd::output("preserve", &args, ""))
        });
        // A call of the control device can be interrupted.
        let mut killed = Background::start(
            "preserve",
            &[
                "--quiet",
                "backup",
                rig.dm.name(),
                "-o",
                "/tmp/stream-killed",
            ],
        )?;
        thread::sleep(Duration::from_secs(2));
        ensure!(!killed.ended()?, "the backup did not wait");
        killed.kill()?;
        killed.kill()?;
        wait_until("the backup is killed", SOON, || killed.ended())?;
        let mut buffer = Buffer::new(8);
        let result = half_a_minute("ioctl", || rig.control.read(id, 800, &mut buffer))?;
        expect_errno("the ioctl", result, Errno::TIMEDOUT)?;
        expect_errno("a direct read", joined(direct)??, Errno::TIMEDOUT)?;
        expect_errno("a mixed read", joined(part)??, Errno::TIMEDOUT)?;
        let buffered = joined(buffered)???;
        ensure!(buffered.stderr.contains("rror"), "{}", buffered.stderr);
        says_suspended(&joined(backup)???)
    })?;
    view.check(0, &[1; 2048])
}

fn says_suspended(output: &cmd::Output) -> Result<()> {
    let words = "the device is suspended; resume it (`dmsetup resume vt-live`)";
    ensure!(!output.ok, "no failure");
    ensure!(output.stderr.contains(words), "{}", output.stderr);
    Ok(())
}

fn preserve(words: &str) -> Result<cmd::Output> {
    let command = format!("-k 5 30 preserve {words}");
    cmd::output("timeout", &command.split(' ').collect::<Vec<_>>(), "")
}

fn commands(_: &Env) -> Result<()> {
    let (rig, _, _view) = rig(&Spec::mb(1))?;
    while_suspended(&rig, || {
        for words in ["status vt-live", "status", "map vt-live"] {
            let output = preserve(words)?;
            ensure!(output.ok, "{words}: {}", output.stderr);
            ensure!(
                words.starts_with("map") || output.stdout.contains("vt-live: suspended"),
                "{words}: {}",
                output.stdout
            );
        }
        let mut refused = vec![
            "snapshot vt-live --freeze",
            "protect vt-live --file /tmp",
            "unprotect vt-live --file /tmp",
        ];
        if rig.is_persistent() {
            refused.extend([
                "snapshot vt-live",
                "drop vt-live 1",
                "protect vt-live --all",
                "unprotect vt-live 0+8",
            ]);
        }
        for words in refused {
            says_suspended(&preserve(words)?).map_err(|e| e.context(words.to_string()))?;
        }
        Ok(())
    })?;
    let output = preserve("snapshot vt-live")?;
    ensure!(output.ok, "{}", output.stderr);
    // A suspended device of another target is none of ours.
    let other = Dm::create("vt-error", "0 8 error")?;
    other.suspend()?;
    let output = preserve("snapshot vt-error")?;
    let words = "vt-error is not an active preserve device";
    ensure!(output.stderr.contains(words), "{}", output.stderr);
    other.resume()
}
