// SPDX-License-Identifier: GPL-2.0

//! A store that comes back open: one that failed while writes went on is not believed, and what
//! cannot be known is unproven until somebody vouches for it.

#![forbid(unsafe_code)]

use std::fs;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use preserve::uapi::EVENT_FAILED;
use rustix::io::Errno;
use vmtest::cmd;
use vmtest::disk::expect_errno;
use vmtest::disk::Buffer;
use vmtest::dm::Dm;
use vmtest::kmsg::Kmsg;
use vmtest::reboot;
use vmtest::rig::Rig;
use vmtest::rig::Spec;

use super::errors;
use super::on_error;
use super::portrait::Portrait;
use super::said_nothing;
use crate::runner;
use crate::tests::bad_table::refused;
use crate::tests::bad_table::said;
use crate::tests::lifecycle::LIMIT;
use crate::tests::slow;
use crate::tests::test;
use crate::tests::Test;

pub const TESTS: &[Test] = &[
    test("i1_i3_persistent_failed_store_begins_anew", |_| {
        failed_begins_anew(|_| Ok(()))
    }),
    test(
        "i1_i3_persistent_failed_store_begins_anew_with_a_module_loaded_again",
        |_| failed_begins_anew(load_again),
    ),
    test(
        "i1_i3_persistent_store_that_fails_at_a_resume_begins_anew",
        |_| failed_at_resume(),
    ),
    test(
        "i1_i3_persistent_store_begins_anew_behind_a_foreign_table",
        |_| replaced(|_| Ok(())),
    ),
    test(
        "i1_i3_persistent_store_says_itself_that_a_foreign_table_was_there",
        |_| replaced(load_again),
    ),
    test(
        "i1_i3_persistent_failed_store_is_unproven_in_another_boot",
        |_| failed_in_another_boot(),
    ),
    test("i1_i3_persistent_unproven_until_somebody_vouches", |_| {
        unproven()
    }),
    test("i1_i3_persistent_policy_is_that_of_the_last_table", |_| {
        policy()
    }),
    slow("i1_i3_persistent_command_vouches_by_its_note", 120, |_| {
        command()
    }),
    test(
        "i1_persistent_on_error_block_is_proven_in_another_boot",
        |_| block(),
    ),
];

/// Gives a device with the default options two snapshots, has its store fail under writes, and
/// removes it; then the store is back as it was.
fn failed() -> Result<(Rig, [u8; 16])> {
    let (mut rig, disk) = errors::rig_of(&Spec::mb(1).persistent())?;
    let before = rig.control.info()?;
    rig.store
        .swap(&format!("0 {} error", rig.store_sectors()))?;
    errors::has_failed(&rig, &disk, before.event)?;
    let (_, kinds) = rig.control.wait(before.event, 1000)?;
    ensure!(kinds & EVENT_FAILED != 0, "kinds {kinds}");
    drop(disk);
    rig.close()?;
    rig.mend()?;
    Ok((rig, before.generation))
}

fn failed_begins_anew(meanwhile: impl Fn(&mut Rig) -> Result<()>) -> Result<()> {
    let (mut rig, generation) = failed()?;
    meanwhile(&mut rig)?;
    let mut kernel = Kmsg::now()?;
    rig.open()?;
    said(&mut kernel, "failed in an earlier session")?;
    errors::begins_anew(&mut rig, generation)
}

/// Nobody remembers anything but the store.
fn load_again(rig: &mut Rig) -> Result<()> {
    rig.forget_control()?;
    let gone = cmd::wait_until("the module can go", LIMIT, || {
        Ok(cmd::output("rmmod", &["dm_preserve"], "")?.ok)
    });
    runner::load_module()?;
    gone
}

/// A foreign table has the device's place for a moment. It writes nothing that the origin's
/// fingerprint could show.
fn replaced(meanwhile: impl Fn(&mut Rig) -> Result<()>) -> Result<()> {
    let (mut rig, disk) = errors::rig_of(&Spec::mb(1).persistent())?;
    let before = rig.control.info()?;
    ensure!(before.snapshots > 0, "{before:?}");
    drop(disk);
    let mut kernel = Kmsg::now()?;
    rig.dm.swap(&format!(
        "0 {} linear {} 0",
        rig.sectors(),
        rig.origin.path()
    ))?;
    said(&mut kernel, "another table has the place of this one")?;
    rig.close()?;
    meanwhile(&mut rig)?;
    let mut kernel = Kmsg::now()?;
    rig.open()?;
    said(&mut kernel, "failed in an earlier session")?;
    errors::begins_anew(&mut rig, before.generation)
}

/// The store says that it is closed, and cannot be told otherwise. What is written is not where the
/// origin is looked at.
fn failed_at_resume() -> Result<()> {
    let (mut rig, disk) = errors::rig_of(&Spec::mb(1).persistent())?;
    let before = rig.control.info()?;
    rig.dm.suspend()?;
    rig.store
        .swap(&format!("0 {} error", rig.store_sectors()))?;
    rig.dm.resume()?;
    disk.stamp(400, 8, 3)?;
    drop(disk);
    rig.close()?;
    rig.mend()?;
    let mut kernel = Kmsg::now()?;
    rig.open()?;
    said(&mut kernel, "failed in an earlier session")?;
    errors::begins_anew(&mut rig, before.generation)
}

/// What the store has of the snapshots is wrong, and nobody can tell.
fn failed_in_another_boot() -> Result<()> {
    let (mut rig, generation) = failed()?;
    reboot::pass(rig.store_disk())?;
    rig.open()?;
    let info = rig.control.info()?;
    ensure!(info.generation == generation, "it began anew");
    ensure!(
        info.snapshots == 2 && info.unproven == info.latest,
        "{info:?}"
    );
    is_refused(&rig, info.latest)
}

/// Everything that shows a snapshot, or changes since it, is refused.
fn is_refused(rig: &Rig, id: u64) -> Result<()> {
    let unproven = Errno::UCLEAN;
    let read = rig.control.read(id, 0, &mut Buffer::new(8));
    expect_errno("a read", read, unproven)?;
    expect_errno("changes since", rig.control.chunks(id, 0, 0, 0), unproven)?;
    expect_errno("changes until", rig.control.chunks(0, id, 0, 0), unproven)?;
    expect_errno("an increment", rig.control.incremental(id), unproven)?;
    let view = rig.view_table(&id.to_string(), &[]);
    refused(&view, "the snapshot is unproven", true)?;
    let message = format!("snapshot incremental from={id}");
    ensure!(!rig.dm.try_message(&message)?.ok, "{message}");
    let backup = cmd::output(
        "preserve",
        &["backup", "vt-live", "--snapshot", &id.to_string()],
        "",
    )?;
    ensure!(!backup.ok, "a backup");
    ensure!(
        backup.stderr.contains("preserve trust"),
        "{}",
        backup.stderr
    );
    Ok(())
}

/// Cuts the power, and has another boot find the store; nobody vouches.
fn pass_boot(rig: &mut Rig) -> Result<()> {
    rig.cut(true)?;
    rig.close()?;
    rig.mend()?;
    rig.open_doubtfully()
}

fn unproven() -> Result<()> {
    let (mut rig, disk) = errors::rig_of(&Spec::mb(1).persistent())?;
    disk.stamp(300, 80, 3)?;
    rig.dm.message("checkpoint")?;
    let before = Portrait::of(&rig)?;
    drop(disk);
    let mut kernel = Kmsg::now()?;
    pass_boot(&mut rig)?;
    said(&mut kernel, "are unproven")?;
    let old = rig.control.info()?;
    ensure!(old.unproven == old.latest, "{old:?}");
    is_refused(&rig, old.latest)?;
    is_refused(&rig, old.latest - 1)?;
    map_is_refused(&rig, "snapshot_map", true)?;
    // It goes on, and what is new is good.
    rig.disk()?.stamp(800, 80, 4)?;
    let new = rig.control.snapshot_keeping(None, 8)?;
    rig.control.read(new, 0, &mut Buffer::new(8))?;
    rig.control.chunks(new, 0, 0, 0)?;
    map_is_refused(&rig, "snapshot_map", false)?;
    map_is_refused(&rig, "backup_map", true)?;
    // A clean shutdown proves nothing of what was before.
    rig.close()?;
    rig.open_doubtfully()?;
    ensure!(
        rig.control.info()?.unproven == old.latest,
        "after a removal"
    );
    is_refused(&rig, old.latest)?;
    rig.control.read(new, 0, &mut Buffer::new(8))?;
    // Nor does another crash, behind which more is unproven.
    pass_boot(&mut rig)?;
    ensure!(rig.control.info()?.unproven == new, "after another crash");
    is_refused(&rig, new)?;
    let status = cmd::run("preserve", &["status", "vt-live"])?;
    ensure!(status.matches(", unproven").count() == 3, "{status}");
    cmd::run("preserve", &["trust", "vt-live"])?;
    let check = |rig: &Rig| {
        let info = rig.control.info()?;
        ensure!(info.unproven == 0, "{info:?}");
        map_is_refused(rig, "backup_map", false)?;
        before.is_kept_in(&Portrait::of(rig)?)
    };
    check(&rig)?;
    rig.reopen()?;
    check(&rig)
}

fn map_is_refused(rig: &Rig, file: &str, refused: bool) -> Result<()> {
    let read = fs::read(rig.sysfs_path(file));
    match refused {
        true => expect_errno(file, read, Errno::UCLEAN),
        false => Ok(read.map(drop)?),
    }
}

/// A reload changes it durably.
fn policy() -> Result<()> {
    for blocks in [true, false] {
        let (mut rig, disk) = errors::rig_of(&Spec::mb(1).persistent())?;
        drop(disk);
        let args: [&[&str]; 2] = [&[], &["on_error=block"]];
        for n in [!blocks, blocks] {
            rig.dm
                .swap(&rig.table(rig.sectors(), args[usize::from(n)]))?;
        }
        pass_boot(&mut rig)?;
        let info = rig.control.info()?;
        let wanted = if blocks { 0 } else { info.latest };
        ensure!(info.unproven == wanted, "{blocks}: {info:?}");
    }
    Ok(())
}

fn block() -> Result<()> {
    let (mut rig, disk) = on_error::rig_of(Spec::mb(1))?;
    disk.stamp(1600, 8, 3)?;
    rig.settle()?;
    let before = Portrait::of(&rig)?;
    drop(disk);
    let mut kernel = Kmsg::now()?;
    pass_boot(&mut rig)?;
    said_nothing(&mut kernel)?;
    ensure!(rig.control.info()?.unproven == 0, "unproven");
    before.compare(&Portrait::of(&rig)?)
}

/// Where the command has its notes in this test.
const NOTES: &str = "/tmp/vt-notes";

/// Runs the command with notes of its own; the result is what it said.
fn with_notes(args: &[&str]) -> Result<String> {
    let variable = format!("PRESERVE_NOTES={NOTES}");
    let words = [&[&variable, "preserve"], args].concat();
    let output = cmd::output("env", &words, "")?;
    ensure!(output.ok, "{args:?}: {}", output.stderr);
    Ok(output.stderr)
}

/// Creates the live device by the command: the device, what was said, and what there is.
fn created(rig: &Rig) -> Result<(Dm, String, String)> {
    let (origin, store) = (rig.origin.path(), rig.store.path());
    let said = with_notes(&["create", "vt-live", "--origin", origin, "--store", store])?;
    let live = Dm::adopt("vt-live")?;
    let status = cmd::run("preserve", &["status", "vt-live"])?;
    Ok((live, said, status))
}

/// The only note there is.
fn note() -> Result<String> {
    let found = fs::read_dir(NOTES)?.next().context("no note")??.path();
    Ok(found.to_str().context("a name")?.to_string())
}

/// The boot that a store was used in last has written the note.
fn note_is_of(boot: [u8; 16]) -> Result<()> {
    let path = note()?;
    let text = fs::read_to_string(&path)?;
    let now = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    ensure!(text.contains(now.trim()), "{text}");
    let digits: String = boot.iter().map(|byte| format!("{byte:02x}")).collect();
    fs::write(&path, text.replace(now.trim(), &digits))?;
    Ok(())
}

fn command() -> Result<()> {
    let (mut rig, disk) = errors::rig_of(&Spec::mb(1).persistent())?;
    drop(disk);
    rig.close()?;
    let _ = fs::remove_dir_all(NOTES);
    let (live, _, status) = created(&rig)?;
    ensure!(!status.contains("unproven"), "{status}");
    // The note is of another boot than the store's last use.
    let pass = |live: Dm| {
        rig.cut(true)?;
        drop(live);
        rig.mend()?;
        reboot::pass(rig.store_disk())
    };
    pass(live)?;
    let (live, said, status) = created(&rig)?;
    ensure!(said.contains("it is not noted"), "{said}");
    ensure!(status.contains("unproven"), "{status}");
    cmd::run("preserve", &["trust", "vt-live"])?;
    note_is_of(pass(live)?)?;
    let (live, said, status) = created(&rig)?;
    ensure!(
        said.contains("it is noted that it had not failed"),
        "{said}"
    );
    ensure!(
        status.contains("snapshot 2") && !status.contains("unproven"),
        "{status}"
    );
    // It fails, which is noted, and is found by another boot.
    rig.store
        .swap(&format!("0 {} error", rig.store_sectors()))?;
    live.stamp(400, 8, 7)?;
    with_notes(&["note-failed", "vt-live"])?;
    let boot = pass(live)?;
    note_is_of(boot)?;
    let (_live, said, status) = created(&rig)?;
    ensure!(said.contains("it begins anew"), "{said}");
    ensure!(!status.contains("snapshot 2"), "{status}");
    fs::remove_dir_all(NOTES)?;
    Ok(())
}
