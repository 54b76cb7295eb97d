// SPDX-License-Identifier: GPL-2.0

//! A persistent store in slices, each of which can be held: what is written to it waits, as on a disk that is slow, until it is let
//! go, or the power is cut.

#![forbid(unsafe_code)]

use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::anyhow;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use vmtest::cmd::wait_until;
use vmtest::cmd::Background;
use vmtest::dm::Dm;
use vmtest::node;
use vmtest::rig::Rig;

use super::errors::Area;

/// For what must come to its end.
pub const LIMIT: Duration = Duration::from_secs(20);
/// For what must not.
pub const WHILE: Duration = Duration::from_millis(1000);

const ALL: [(Area, &str); 6] = [
    (Area::First, "vt-slice-1"),
    (Area::Second, "vt-slice-2"),
    (Area::Ring, "vt-slice-r"),
    (Area::Images, "vt-slice-i"),
    (Area::Contents, "vt-slice-c"),
    (Area::Grown, "vt-slice-g"),
];

struct Slice {
    area: Area,
    start: u64,
    dm: Dm,
}

/// The devices. The live device goes before the slices, and before that what waits for it.
pub struct Slices {
    programs: Vec<Background>,
    pub rig: Rig,
    slices: Vec<Slice>,
}

/// A failed test may leave writes that wait, and programs that cannot be killed.
impl Drop for Slices {
    fn drop(&mut self) {
        for slice in &self.slices {
            let _ = slice.dm.resume();
        }
        let _ = self.rig.origin.resume();
    }
}

impl Slices {
    /// Divides the store of a live device. The last slice is what it has not taken yet of its disk.
    pub fn of(rig: Rig) -> Result<Self> {
        let mut slices = Vec::new();
        for (area, name) in ALL {
            let sectors = area.of(&rig)?;
            let (start, len) = (sectors.start, sectors.end - sectors.start);
            let dm = Dm::linear(name, rig.store_disk(), start, len)?;
            slices.push(Slice { area, start, dm });
        }
        let slices = Slices {
            programs: Vec::new(),
            rig,
            slices,
        };
        slices.resize(slices.rig.store_sectors())?;
        Ok(slices)
    }

    /// Gives the store so many sectors. Nothing may be held.
    pub fn resize(&self, sectors: u64) -> Result<()> {
        let mut table = String::new();
        for slice in self.slices.iter().filter(|slice| slice.start < sectors) {
            let end = (slice.start + node::sectors(slice.dm.path())?).min(sectors);
            let (start, path) = (slice.start, slice.dm.path());
            table += &format!("{start} {} linear {path} 0\n", end - start);
        }
        self.rig.store.swap(&table)
    }

    fn slice(&self, area: Area) -> Result<&Dm> {
        let mut slices = self.slices.iter();
        let found = slices.find(|slice| slice.area == area);
        found.map(|slice| &slice.dm).context("no such slice")
    }

    /// From here on nothing reaches an area.
    pub fn hold(&self, area: Area) -> Result<()> {
        self.slice(area)?.suspend_noflush()
    }

    /// What waited goes on.
    pub fn let_go(&self, area: Area) -> Result<()> {
        self.slice(area)?.resume()
    }

    /// Starts dmsetup; whether it has ended soon.
    pub fn start(&mut self, args: &[&str]) -> Result<bool> {
        let mut program = Background::start("dmsetup", args)?;
        thread::sleep(WHILE);
        let ended = program.ended();
        self.programs.push(program);
        ended
    }

    /// Sends a message that must not come to its end now.
    pub fn message(&mut self, message: &str) -> Result<()> {
        let words: Vec<&str> = message.split(' ').collect();
        let name = self.rig.dm.name().to_string();
        let ended = self.start(&[&["message", &name, "0"], &words[..]].concat())?;
        ensure!(!ended, "{message:?} took effect");
        Ok(())
    }

    /// What was started comes to its end, and succeeds.
    pub fn finish(&mut self) -> Result<()> {
        let mut programs = self.programs.drain(..);
        programs.try_for_each(|program| program.finish(LIMIT).map(drop))
    }

    /// What was started comes to its end, one or another.
    pub fn end(&mut self) -> Result<()> {
        for program in &mut self.programs {
            let ended = program.wait(LIMIT)?;
            ensure!(ended.is_some(), "dmsetup does not end");
        }
        Ok(())
    }

    /// Cuts the power: nothing reaches the disks from here on, and what is held never does.
    pub fn cut(&self) -> Result<()> {
        self.rig.power_is_cut();
        let slices = self.slices.iter().map(|slice| &slice.dm);
        let all: Vec<&Dm> = slices.chain([&self.rig.origin]).collect();
        all.iter().try_for_each(|dm| dm.suspend_noflush())?;
        for dm in &all {
            dm.load(&format!("0 {} error", node::sectors(dm.path())?))?;
        }
        all.iter().try_for_each(|dm| dm.resume())
    }

    /// The power is there again, with a store of so many sectors. Nothing may have the live device open.
    pub fn restart(&mut self, sectors: u64) -> Result<()> {
        self.rig.close()?;
        self.rig.mend()?;
        let disk = self.rig.store_disk();
        let table = format!("0 {sectors} linear {disk} 0");
        self.rig.store.swap(&table)?;
        self.rig.open()
    }
}

/// A write that is under way.
pub struct Write(JoinHandle<std::io::Result<()>>);

impl Write {
    /// Begins one of a chunk of 8 sectors.
    pub fn begin(rig: &Rig, start: u64, stamp: u64) -> Result<Self> {
        let disk = rig.disk()?;
        Ok(Write(thread::spawn(move || disk.stamp(start, 8, stamp))))
    }

    /// Fails when it is done before its time.
    pub fn waits(&self, what: &str) -> Result<()> {
        thread::sleep(WHILE);
        ensure!(!self.0.is_finished(), "a write went on {what}");
        Ok(())
    }

    /// Its result, which must come soon.
    pub fn end(self) -> Result<std::io::Result<()>> {
        wait_until("the write ends", LIMIT, || Ok(self.0.is_finished()))?;
        self.0.join().map_err(|_| anyhow!("the writer died"))
    }
}
