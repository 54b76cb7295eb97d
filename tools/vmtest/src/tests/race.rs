// SPDX-License-Identifier: GPL-2.0

//! A frozen read that is held up on its way to the origin while the chunk is overwritten.
//!
//! The origin is a dm-delay device that holds up reads, and nothing else. At time 0 a chunk is
//! overwritten: the copy's read arrives after D, and the write follows at once. At D/2 the chunk,
//! which is not marked yet, is read through the view (or by ioctl): that read gets to the disk
//! after 3D/2, and finds the new content. Only the second look tells.

#![forbid(unsafe_code)]

use std::thread;
use std::time::Duration;
use std::time::Instant;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use rustix::io::Errno;
use vmtest::control::Control;
use vmtest::control::Piece;
use vmtest::disk::expect_errno;
use vmtest::disk::Buffer;
use vmtest::disk::Disk;
use vmtest::dm::Dm;
use vmtest::pattern;
use vmtest::rig::Rig;
use vmtest::rig::Spec;

use super::both;
use super::test;
use super::Test;
use crate::Env;

pub const TESTS: &[Test] = &[
    both(test("i1_view_read_races_with_overwrite", view_read)),
    both(test("i1_ioctl_read_races_with_overwrite", ioctl_read)),
    both(test(
        "i1_view_read_races_with_overwrite_and_new_snapshot",
        new_snapshot,
    )),
];

const DELAY: Duration = Duration::from_millis(2000);
const CHUNK: u64 = 8;
const LEN: u64 = 4 * CHUNK;

struct Race {
    view: Dm,
    id: u64,
    rig: Rig,
}

fn race() -> Result<Race> {
    let rig = Rig::new(&Spec::mb(1))?;
    rig.disk()?.stamp_all(rig.sectors(), 1)?;
    let id = rig.snapshot()?;
    let view = rig.view("vt-view", id, &[])?;
    let disk = rig.origin_disk();
    let ms = DELAY.as_millis();
    rig.origin
        .swap(&format!("0 2048 delay {disk} 0 {ms} {disk} 0 0"))?;
    Ok(Race { view, id, rig })
}

impl Race {
    /// Overwrites the second and third of four chunks; `at_half` happens in the middle of the
    /// copy's read.
    fn run<T: Send + 'static>(
        &self,
        at_half: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let disk = self.rig.disk()?;
        let start = Instant::now();
        let writer = thread::spawn(move || disk.stamp(CHUNK, 2 * CHUNK, 2));
        thread::sleep(DELAY / 2);
        let reader = thread::spawn(move || (at_half(), Instant::now()));
        let lost = |_| anyhow::anyhow!("a thread died");
        writer.join().map_err(lost)??;
        let written = start.elapsed();
        let (result, done) = reader.join().map_err(lost)?;
        // Otherwise nothing was held up, and the test shows nothing.
        ensure!(written >= DELAY, "the write took {written:?} only");
        ensure!(
            done - start >= DELAY * 3 / 2,
            "the read was done after {:?}",
            done - start
        );
        self.overwritten()?;
        result
    }

    /// The disk does hold the new content.
    fn overwritten(&self) -> Result<()> {
        let disk = self.rig.origin_disk();
        self.rig.origin.swap(&format!("0 2048 linear {disk} 0"))?;
        let stamps = [&[1; 8][..], &[2; 16], &[1; 8]].concat();
        self.rig.dm.check(0, &stamps).context("the live device")
    }
}

fn view_read(_: &Env) -> Result<()> {
    let race = race()?;
    let disk = Disk::open_ro(race.view.path())?;
    let found = race.run(move || Ok(disk.read(0, LEN)?))?;
    pattern::check(&found, 0, &[1; LEN as usize])
}

fn ioctl_read(_: &Env) -> Result<()> {
    let race = race()?;
    let control = Control::open(race.rig.dm.device())?;
    let id = race.id;
    let found = race.run(move || {
        let mut buffer = Buffer::new(LEN);
        let piece = control.read(id, 0, &mut buffer)?;
        let Piece::Data(sectors) = piece else {
            anyhow::bail!("{piece:?}");
        };
        Ok((buffer, sectors))
    })?;
    let (buffer, sectors) = found;
    ensure!(sectors >= CHUNK, "{sectors} sectors only");
    let bytes = &buffer[..sectors as usize * 512];
    pattern::check(bytes, 0, &vec![1; sectors as usize])
}

/// The snapshot that the read is about is dropped before the data arrives: no content is right any
/// more.
fn new_snapshot(_: &Env) -> Result<()> {
    let race = race()?;
    let disk = Disk::open_ro(race.view.path())?;
    let control = Control::open(race.rig.dm.device())?;
    let taker = thread::spawn(move || {
        // When the write is done, and the read is not.
        thread::sleep(DELAY * 5 / 4);
        control.snapshot()
    });
    let result = race.run(move || Ok(disk.read(0, LEN)))?;
    taker
        .join()
        .map_err(|_| anyhow::anyhow!("a thread died"))??;
    expect_errno("a read of a dropped snapshot", result, Errno::IO)
}
