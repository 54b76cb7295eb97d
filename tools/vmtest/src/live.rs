// SPDX-License-Identifier: GPL-2.0

//! A live device and its views, with everything they show of themselves.

#![forbid(unsafe_code)]

use std::fs;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use preserve::uapi::STATE_BLOCKED;
use preserve::uapi::STATE_FAILED;

use crate::cmd;
use crate::control::Control;
use crate::disk::Disk;
use crate::dm::Dm;
use crate::node;

/// A device with the `preserve` target.
pub struct Live {
    /// The device.
    pub dm: Dm,
    /// The control device, for it.
    pub control: Control,
    kind: Kind,
    sectors: u64,
    chunk: u64,
}

/// A failed test may leave writes that wait for space, and with them a process that cannot end.
impl Drop for Live {
    fn drop(&mut self) {
        if let Ok(info) = self.control.info() {
            if info.state == STATE_BLOCKED {
                let _ = self.control.drop_snapshot(info.latest);
            }
        }
    }
}

/// The status line of a live device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// `active`, `suspended` or `blocked`.
    pub state: String,
    /// Sectors of the store in use.
    pub used: u64,
    /// Sectors that it can hold.
    pub total: u64,
    /// The numbers that follow: chunk sectors, latest, snapshots, changed, backup, protected,
    /// preserved, waited, gone, invalidated, damaged, unproven.
    pub numbers: [u64; 12],
}

/// Whether what a live device knows is to last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `transient`
    Transient,
    /// The default.
    Persistent,
}

/// A table line of the `preserve` target.
pub fn table(
    kind: Kind,
    sectors: u64,
    origin: &str,
    store: &str,
    chunk: u64,
    args: &[&str],
) -> String {
    let first: &[&str] = match kind {
        Kind::Transient => &["transient"],
        Kind::Persistent => &[],
    };
    let all = [first, args].concat();
    let mut line = format!("0 {sectors} preserve {origin} {store} {chunk}");
    if !all.is_empty() {
        line += &format!(" {} {}", all.len(), all.join(" "));
    }
    line
}

impl Live {
    /// Creates a live device.
    pub fn create(
        name: &str,
        kind: Kind,
        sectors: u64,
        origin: &str,
        store: &str,
        chunk: u64,
        args: &[&str],
    ) -> Result<Self> {
        node::check(origin)?;
        node::check(store)?;
        let dm = Dm::create(name, &table(kind, sectors, origin, store, chunk, args))?;
        let control = Control::open(dm.device()).context("cannot open the control device")?;
        Ok(Live {
            dm,
            control,
            kind,
            sectors,
            chunk,
        })
    }

    /// Vouches for what is unproven after a power cut, unless the store has failed since.
    pub fn vouch(&self) -> Result<()> {
        let info = self.control.info()?;
        match info.unproven > 0 && info.state != STATE_FAILED {
            true => self.dm.message("trust").map(drop),
            false => Ok(()),
        }
    }

    /// Whether its store is persistent.
    pub fn is_persistent(&self) -> bool {
        self.kind == Kind::Persistent
    }

    /// Has incremental scopes take effect that have not done so, and dropped contents' space come
    /// back: with a persistent store a checkpoint does both.
    pub fn settle(&self) -> Result<()> {
        match self.kind {
            Kind::Transient => Ok(()),
            Kind::Persistent => self.dm.message("checkpoint").map(drop),
        }
    }

    /// Its size.
    pub fn sectors(&self) -> u64 {
        self.sectors
    }

    /// Sectors per chunk.
    pub fn chunk(&self) -> u64 {
        self.chunk
    }

    /// Number of chunks.
    pub fn chunks(&self) -> u64 {
        self.sectors.div_ceil(self.chunk)
    }

    /// Opens it for direct I/O.
    pub fn disk(&self) -> Result<Disk> {
        Disk::open(self.dm.path())
    }

    /// Takes a full snapshot.
    pub fn snapshot(&self) -> Result<u64> {
        self.control.snapshot().context("taking a snapshot")
    }

    /// The path of one of its sysfs files.
    pub fn sysfs_path(&self, file: &str) -> String {
        let name = self.dm.path().trim_start_matches("/dev/");
        format!("/sys/block/{name}/preserve/{file}")
    }

    /// The content of one of its sysfs files.
    pub fn sysfs(&self, file: &str) -> Result<String> {
        let path = self.sysfs_path(file);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        ensure!(
            text.ends_with('\n'),
            "{path}: {text:?} has no newline at its end"
        );
        Ok(text.trim_end().to_string())
    }

    /// A number in sysfs.
    pub fn number(&self, file: &str) -> Result<u64> {
        let text = self.sysfs(file)?;
        text.parse()
            .with_context(|| format!("{file}: {text:?} is no number"))
    }

    /// Writes one of its sysfs files.
    pub fn write_sysfs(&self, file: &str, value: &str) -> std::io::Result<()> {
        fs::write(self.sysfs_path(file), value)
    }

    /// A map in sysfs, one element a chunk.
    pub fn map(&self, file: &str) -> Result<Vec<bool>> {
        let path = self.sysfs_path(file);
        let bytes = fs::read(&path).with_context(|| format!("cannot read {path}"))?;
        let chunks = self.chunks() as usize;
        let bits: Vec<bool> = (0..bytes.len() * 8)
            .map(|i| bytes[i / 8] >> (i % 8) & 1 != 0)
            .collect();
        ensure!(
            bytes.len() == chunks.div_ceil(8),
            "{file} has {} bytes for {chunks} chunks",
            bytes.len()
        );
        ensure!(
            !bits[chunks..].contains(&true),
            "{file} has bits set beyond the last chunk"
        );
        Ok(bits[..chunks].to_vec())
    }

    /// The chunks set in a map.
    pub fn set_in(&self, file: &str) -> Result<Vec<u64>> {
        let map = self.map(file)?;
        Ok((0..)
            .zip(map)
            .filter(|(_, set)| *set)
            .map(|(i, _)| i)
            .collect())
    }

    /// The status line, taken apart.
    pub fn status(&self) -> Result<Status> {
        let line = self.dm.status()?;
        parse_status(&line, self.sectors).with_context(|| format!("status line {line:?}"))
    }

    /// Creates a view of a snapshot.
    pub fn view(&self, name: &str, id: u64, args: &[&str]) -> Result<Dm> {
        Dm::create_readonly(name, &self.view_table(&id.to_string(), args))
    }

    /// The table line of a view.
    pub fn view_table(&self, id: &str, args: &[&str]) -> String {
        let (sectors, path) = (self.sectors, self.dm.path());
        match args {
            [] => format!("0 {sectors} preserve-view {path} {id}"),
            _ => format!(
                "0 {sectors} preserve-view {path} {id} {} {}",
                args.len(),
                args.join(" ")
            ),
        }
    }

    /// Whether the space in use is that of so many chunks; with a persistent store, at least that.
    pub fn uses(&self, chunks: u64) -> Result<bool> {
        let used = self.number("store_used_sectors")?;
        Ok(match self.kind {
            Kind::Transient => used == chunks * self.chunk,
            Kind::Persistent => used >= chunks * self.chunk,
        })
    }

    /// Waits until no content is in the store any more: a dropped one's space may come back a bit
    /// later.
    pub fn wait_store_empty(&self) -> Result<()> {
        self.settle()?;
        cmd::wait_until(
            "the store is empty",
            std::time::Duration::from_secs(10),
            || Ok(self.number("store_used_sectors")? == 0),
        )
    }
}

fn parse_status(line: &str, sectors: u64) -> Result<Status> {
    let words: Vec<&str> = line.split(' ').collect();
    ensure!(words.len() == 17, "{} words, not 17", words.len());
    ensure!(words[0] == "0" && words[1] == sectors.to_string(), "range");
    ensure!(words[2] == "preserve", "target");
    let (used, total) = words[4].split_once('/').context("no <used>/<total>")?;
    let mut numbers = [0; 12];
    for (number, word) in numbers.iter_mut().zip(&words[5..]) {
        *number = word.parse().with_context(|| format!("number {word:?}"))?;
    }
    Ok(Status {
        state: words[3].to_string(),
        used: used.parse()?,
        total: total.parse()?,
        numbers,
    })
}
