// SPDX-License-Identifier: GPL-2.0

//! A persistent store that cannot be written: live writes never fail, everybody is told, and what was lost is not taken
//! for good by the next activation.

#![forbid(unsafe_code)]

use std::ops::Range;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use preserve::uapi::EVENT_INVALID;
use rustix::io::Errno;
use vmtest::disk::expect_errno;
use vmtest::disk::Buffer;
use vmtest::disk::Disk;
use vmtest::kmsg::Kmsg;
use vmtest::node;
use vmtest::rig::Rig;
use vmtest::rig::Spec;

use super::faults;
use super::portrait::points;
use super::portrait::Portrait;
use super::said_nothing;
use crate::tests::bad_table::said;
use crate::tests::test;
use crate::tests::Test;
use crate::Env;

pub const TESTS: &[Test] = &[
    test("i4_persistent_content_record_cannot_be_written", |_| {
        fails(Area::Contents, |rig| write(rig, 800, 8))
    }),
    test("i4_persistent_region_record_cannot_be_written", |_| {
        fails(Area::Ring, |rig| write(rig, 0, 8))
    }),
    test("i4_persistent_snapshot_cannot_be_written", |_| {
        fails(Area::Ring, |rig| {
            expect_errno("a snapshot", rig.control.snapshot(), Errno::IO)
        })
    }),
    test("i4_persistent_drop_cannot_be_written", |_| {
        fails(Area::Ring, |rig| {
            let id = rig.control.info()?.latest;
            expect_errno("a drop", rig.control.drop_snapshot(id), Errno::IO)
        })
    }),
    test("i4_persistent_edit_cannot_be_written", |_| {
        fails(Area::Ring, |rig| {
            ensure!(!rig.dm.try_message("unprotect 0 800")?.ok, "an edit");
            Ok(())
        })
    }),
    test("i4_persistent_checkpoint_cannot_be_written", |_| {
        fails(Area::Images, checkpoint)
    }),
    test("i4_persistent_second_superblock_cannot_be_written", |_| {
        fails(Area::Second, checkpoint)
    }),
    test("i4_persistent_no_superblock_can_be_written", |_| {
        fails(Area::Superblocks, checkpoint)
    }),
    test("i4_persistent_growth_cannot_be_written", |_| {
        fails(Area::Superblocks, grow)
    }),
    test("i4_persistent_store_is_gone_and_comes_back", gone_and_back),
    test("i4_persistent_store_is_gone_at_removal", gone_at_removal),
    test("i4_persistent_images_fail_at_activation", |_| {
        images_at_activation()
    }),
    test("i4_persistent_superblocks_fail_at_activation", |_| {
        superblocks_at_activation()
    }),
];

/// A part of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Area {
    Superblocks,
    First,
    Second,
    Ring,
    Images,
    /// The image that counts.
    Active,
    /// The other one.
    Idle,
    Contents,
    /// The first segment of contents.
    Segment,
    /// What it has not taken yet of its disk.
    Grown,
}

/// A number in the first superblock, `at` bytes from its start.
pub fn field(rig: &Rig, at: usize) -> Result<u64> {
    let superblock = Disk::open_ro(rig.store_disk())?.read(0, 8)?;
    let bytes = superblock.get(at..at + 8).context("a short superblock")?;
    Ok(u64::from_le_bytes(bytes.try_into()?))
}

impl Area {
    /// Its sectors.
    pub fn of(self, rig: &Rig) -> Result<Range<u64>> {
        // See on-disk-format.rst.
        let block = |at: usize| field(rig, at).map(|block| block * 8);
        let (ring, images, contents) = (block(104)?, block(120)?, block(136)?);
        ensure!(ring < images && images < contents, "the superblock");
        let (len, active) = (block(128)?, field(rig, 168)? & 1);
        let image = |n: u64| images + n * len..images + (n + 1) * len;
        Ok(match self {
            Area::Superblocks => 0..16,
            Area::First => 0..8,
            Area::Second => 8..16,
            Area::Ring => ring..images,
            Area::Images => images..contents,
            Area::Active => image(active),
            Area::Idle => image(1 - active),
            Area::Contents => contents..rig.store_sectors(),
            Area::Segment => contents..contents + block(144)?,
            Area::Grown => rig.store_sectors()..node::sectors(rig.store_disk())?,
        })
    }

    /// Has all writes to it fail.
    pub fn break_it(self, rig: &Rig) -> Result<()> {
        self.break_in(rig, rig.store_sectors(), faults::WRITES)
    }

    /// Has all reads of it fail.
    pub fn hide_it(self, rig: &Rig) -> Result<()> {
        self.break_in(rig, rig.store_sectors(), faults::READS)
    }

    /// Has one kind of I/O fail, in a store of so many sectors.
    fn break_in(self, rig: &Rig, size: u64, kind: &str) -> Result<()> {
        let (disk, bad) = (rig.store_disk(), self.of(rig)?);
        let target = faults::failing(disk, bad.start, kind);
        rig.store.swap(&faults::with_part(disk, size, &bad, target))
    }
}

fn rig() -> Result<(Rig, Disk)> {
    rig_of(&Spec::mb(1).persistent())
}

/// The same of another kind.
pub fn rig_of(spec: &Spec<'_>) -> Result<(Rig, Disk)> {
    prepared(Rig::new(spec)?)
}

/// Gives a new device two snapshots; no checkpoint is under way.
pub fn prepared(rig: Rig) -> Result<(Rig, Disk)> {
    let disk = rig.disk()?;
    disk.stamp_all(rig.sectors(), 1)?;
    // The first eighty sectors are nobody's.
    rig.dm.message("unprotect 0 80")?;
    rig.control.snapshot_keeping(None, 4)?;
    disk.stamp(160, 80, 2)?;
    rig.control.snapshot_keeping(None, 4)?;
    // No checkpoint is under way.
    rig.settle()?;
    Ok((rig, disk))
}

fn write(rig: &Rig, start: u64, len: u64) -> Result<()> {
    Ok(rig.disk()?.stamp(start, len, 3)?)
}

fn checkpoint(rig: &Rig) -> Result<()> {
    ensure!(
        !rig.dm.try_message("checkpoint")?.ok,
        "a checkpoint on a broken store"
    );
    Ok(())
}

/// Nothing of it may hang on what else the failure ends.
fn grow(rig: &Rig) -> Result<()> {
    Area::Superblocks.break_in(rig, rig.store_sectors() + 8192, faults::WRITES)?;
    ensure!(!rig.dm.try_message("grow")?.ok, "a broken store grows");
    Ok(())
}

/// The store has failed, and everything shows it.
pub fn has_failed(rig: &Rig, disk: &Disk, event: u64) -> Result<()> {
    // Whatever is written, wherever.
    for start in (0..rig.sectors()).step_by(64) {
        disk.stamp(start, 64, 4)
            .with_context(|| format!("a write at {start}"))?;
    }
    disk.check(0, &vec![4; rig.sectors() as usize])?;
    ensure!(
        rig.sysfs("state")? == "failed",
        "state {}",
        rig.sysfs("state")?
    );
    let info = rig.control.info()?;
    ensure!(info.snapshots == 0, "{info:?}");
    let (_, kinds) = rig.control.wait(event, 1000)?;
    ensure!(kinds & EVENT_INVALID != 0, "kinds {kinds}");
    expect_errno("a snapshot", rig.control.snapshot(), Errno::IO)?;
    let read = rig.control.read(info.latest, 0, &mut Buffer::new(8));
    expect_errno("a lost snapshot", read, Errno::NOENT)
}

/// Writes to a part of the store fail, something is done that needs one, and the store comes back only after a removal.
fn fails(area: Area, what: impl Fn(&Rig) -> Result<()>) -> Result<()> {
    fails_behind(|_| Ok(()), area, what)
}

/// The same, and before writes fail something else is done.
pub fn fails_behind(
    prepare: impl Fn(&Rig) -> Result<()>,
    area: Area,
    what: impl Fn(&Rig) -> Result<()>,
) -> Result<()> {
    let (mut rig, disk) = rig()?;
    prepare(&rig)?;
    let before = rig.control.info()?;
    let mut kernel = Kmsg::now()?;
    area.break_it(&rig)?;
    what(&rig)?;
    has_failed(&rig, &disk, before.event)?;
    let lines = kernel.lines()?;
    let heard = |words: &str| lines.iter().any(|line| line.contains(words));
    ensure!(heard("THE STORE FAILED"), "the kernel said {lines:?}");
    let written = !heard("do not use its content again");
    ensure!(
        written == (area != Area::Superblocks),
        "the kernel said {lines:?}"
    );
    drop(disk);
    rig.close()?;
    rig.mend()?;
    rig.open()?;
    // Nothing of it is used again, whether it could say so itself or not, and that is said.
    said(&mut kernel, "failed in an earlier session")?;
    begins_anew(&mut rig, before.generation)?;
    let disk = rig.disk()?;
    disk.check(0, &vec![4; rig.sectors() as usize])?;
    disk.stamp_all(rig.sectors(), 5)?;
    disk.check(0, &vec![5; rig.sectors() as usize])
}

/// No snapshot, no bookmark, another generation; and it works.
pub fn begins_anew(rig: &mut Rig, generation: [u8; 16]) -> Result<()> {
    let info = rig.control.info()?;
    ensure!(info.generation != generation, "the generation is the same");
    ensure!(points(rig)?.is_empty(), "{:?}", points(rig)?);
    let live = rig.disk()?.read(0, rig.sectors())?;
    let id = rig.snapshot()?;
    rig.disk()?.stamp_all(rig.sectors(), 6)?;
    let shown = |rig: &Rig| -> Result<Buffer> {
        let view = rig.view("vt-view", id, &[])?;
        let disk = Disk::open_ro(view.path())?;
        Ok(disk.read(0, rig.sectors())?)
    };
    ensure!(shown(rig)?[..] == live[..], "the first snapshot");
    rig.reopen()?;
    ensure!(shown(rig)?[..] == live[..], "after another removal");
    rig.disk()?.write(0, &live)?;
    Ok(())
}

/// As long as nobody needed it meanwhile nothing is lost.
fn gone_and_back(_: &Env) -> Result<()> {
    let (mut rig, disk) = rig()?;
    let before = Portrait::of(&rig)?;
    let size = rig.store_sectors();
    let path = rig.store_disk().to_string();
    rig.store.swap(&format!("0 {size} error"))?;
    let latest = rig.control.info()?.latest;
    disk.check(0, &[1; 80])?;
    let read = rig.control.read(latest - 1, 160, &mut Buffer::new(8));
    expect_errno("a content in a store that is gone", read, Errno::IO)?;
    rig.store.swap(&format!("0 {size} linear {path} 0"))?;
    before.compare(&Portrait::of(&rig)?)?;
    disk.stamp(160, 80, 7)?;
    let before = Portrait::of(&rig)?;
    drop(disk);
    rig.reopen()?;
    before.compare(&Portrait::of(&rig)?)
}

/// The last checkpoint cannot be written: as after a power cut, the log has everything.
fn gone_at_removal(_: &Env) -> Result<()> {
    let (mut rig, disk) = rig()?;
    disk.stamp(300, 80, 7)?;
    let before = rig.control.info()?;
    drop(disk);
    let size = rig.store_sectors();
    rig.store.swap(&format!("0 {size} error"))?;
    rig.close()?;
    rig.mend()?;
    rig.open()?;
    let after = rig.control.info()?;
    ensure!(
        (after.generation, after.latest, after.snapshots)
            == (before.generation, before.latest, before.snapshots),
        "{after:?} instead of {before:?}"
    );
    ensure!(after.changed_chunks >= before.changed_chunks, "{after:?}");
    let view = rig.view("vt-view", before.latest, &[])?;
    view.check(80, &[&[1; 80][..], &[2; 80], &[1; 1808]].concat())
}

/// The image is exact, only its session is new: nothing is missing before a checkpoint is made, and the log has what comes until then.
fn images_at_activation() -> Result<()> {
    let (mut rig, disk) = rig()?;
    let before = Portrait::of(&rig)?;
    drop(disk);
    rig.close()?;
    Area::Images.break_it(&rig)?;
    let mut kernel = Kmsg::now()?;
    rig.open()?;
    said_nothing(&mut kernel)?;
    ensure!(rig.sysfs("state")? == "active", "the state");
    before.compare(&Portrait::of(&rig)?)?;
    rig.disk()?.stamp(640, 80, 8)?;
    let before = Portrait::of(&rig)?;
    log_has_it(rig, &mut kernel, &before)
}

/// The last checkpoint cannot be written: as after a power cut, the log has everything.
pub fn log_has_it(mut rig: Rig, kernel: &mut Kmsg, before: &Portrait) -> Result<()> {
    rig.close()?;
    said(kernel, "the next activation replays the log")?;
    rig.mend()?;
    rig.open()?;
    said(kernel, "records replayed")?;
    before.compare(&Portrait::of(&rig)?)
}

/// The store knows nothing of what is written; that the origin has changed is noticed.
fn superblocks_at_activation() -> Result<()> {
    let (mut rig, disk) = rig()?;
    let before = rig.control.info()?;
    drop(disk);
    rig.close()?;
    Area::Superblocks.break_it(&rig)?;
    let mut kernel = Kmsg::now()?;
    rig.open()?;
    said(&mut kernel, "do not use its content again")?;
    let disk = rig.disk()?;
    has_failed(&rig, &disk, 0)?;
    drop(disk);
    rig.close()?;
    rig.mend()?;
    rig.open()?;
    said(
        &mut kernel,
        "was written while its live device was not active",
    )?;
    begins_anew(&mut rig, before.generation)
}
