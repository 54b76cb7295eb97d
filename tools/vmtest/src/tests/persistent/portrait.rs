// SPDX-License-Identifier: GPL-2.0

//! All that a live device shows of its snapshots, to be compared with what it shows later.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use anyhow::bail;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use preserve::uapi::SnapshotInfo;
use preserve::uapi::ATTR_CHANGED;
use preserve::uapi::ATTR_GONE;
use preserve::uapi::ATTR_PRESERVED;
use preserve::uapi::ATTR_PROTECTED;
use preserve::uapi::KIND_SNAPSHOT;
use rustix::io::Errno;
use vmtest::control::Piece;
use vmtest::disk::errno;
use vmtest::disk::Buffer;
use vmtest::live::Live;
use vmtest::pattern;
use vmtest::pattern::SECTOR;

/// What a frozen read of a chunk finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    /// The stamps of its sectors; 0 for zeroes.
    Data(Vec<u64>),
    /// Unprotected.
    Hole,
    /// Overwritten without a copy.
    Gone,
}

/// All snapshots and bookmarks, in the order of their ids.
pub fn points(live: &Live) -> Result<Vec<SnapshotInfo>> {
    let mut found: Vec<SnapshotInfo> = Vec::new();
    loop {
        let next = found.last().map_or(1, |last| last.id + 1);
        match live.control.at_least(next) {
            Ok(mut point) => {
                // The device's number is not the snapshot's.
                point.device = Default::default();
                found.push(point);
            }
            Err(e) if errno(&e) == Some(Errno::NOENT) => return Ok(found),
            Err(e) => bail!("listing snapshots from {next}: {e}"),
        }
    }
}

/// The ids of the live snapshots.
pub fn snapshots(live: &Live) -> Result<Vec<u64>> {
    let all = points(live)?;
    let live = all.iter().filter(|point| point.kind == KIND_SNAPSHOT);
    Ok(live.map(|point| point.id).collect())
}

/// Sectors read at once.
const STEP: u64 = 512;

/// Reads all of a snapshot by ioctl.
pub fn cells(live: &Live, id: u64) -> Result<Vec<Cell>> {
    let mut all = Vec::new();
    let mut at = 0;
    while at < live.sectors() {
        let chunk = live.chunk().min(live.sectors() - at);
        let mut buffer = Buffer::new(STEP.max(chunk).min(live.sectors() - at));
        let piece = live.control.read(id, at, &mut buffer);
        let (sectors, is_data) = match piece {
            Ok(Piece::Data(sectors)) => (sectors, true),
            Ok(Piece::Hole(sectors)) => (sectors, false),
            Err(e) if errno(&e) == Some(Errno::NODATA) => {
                all.push(Cell::Gone);
                at += chunk;
                continue;
            }
            Err(e) => bail!("snapshot {id} at {at}: {e}"),
        };
        let end = at + sectors;
        ensure!(sectors > 0 && end <= live.sectors(), "{sectors} at {at}");
        let mut rest = buffer[..].chunks_exact(SECTOR);
        while at < end {
            let chunk = live.chunk().min(live.sectors() - at);
            ensure!(at + chunk <= end, "a part of a chunk at {at}");
            let here = (at..at + chunk).zip(rest.by_ref());
            let stamps = here.map(|(n, bytes)| {
                pattern::stamp_of(bytes, n)
                    .with_context(|| format!("sector {n}: {}", pattern::describe(bytes, n)))
            });
            all.push(match is_data {
                true => Cell::Data(stamps.collect::<Result<_>>()?),
                false => Cell::Hole,
            });
            at += chunk;
        }
    }
    Ok(all)
}

/// See the [module's documentation](self).
#[derive(Debug, PartialEq, Eq)]
pub struct Portrait {
    generation: [u8; 16],
    latest: u64,
    points: Vec<SnapshotInfo>,
    maps: Vec<Vec<bool>>,
    /// By the two ends and the attribute: the chunks.
    extents: BTreeMap<(u64, u64, u32), Vec<u64>>,
    cells: BTreeMap<u64, Vec<Cell>>,
}

impl Portrait {
    /// What is shown now.
    pub fn of(live: &Live) -> Result<Self> {
        let info = live.control.info()?;
        let points = points(live)?;
        let maps = ["snapshot_map", "backup_map", "protection_map"];
        let mut extents = BTreeMap::new();
        let ids = || points.iter().map(|point| point.id);
        for from in ids().chain([0]) {
            for to in ids().filter(|to| *to >= from).chain([0]) {
                for attribute in [ATTR_CHANGED, ATTR_PROTECTED, ATTR_PRESERVED, ATTR_GONE] {
                    let found = live.control.chunks(from, to, attribute, attribute)?;
                    extents.insert((from, to, attribute), found);
                }
            }
        }
        let mut cells = BTreeMap::new();
        for id in snapshots(live)? {
            cells.insert(id, self::cells(live, id)?);
        }
        Ok(Portrait {
            generation: info.generation,
            latest: info.latest,
            maps: maps
                .iter()
                .map(|map| live.map(map))
                .collect::<Result<_>>()?,
            points,
            extents,
            cells,
        })
    }

    /// The generation.
    pub fn generation(&self) -> [u8; 16] {
        self.generation
    }

    /// Fails unless a later one shows all the same content, and misses no change between the same
    /// snapshots.
    pub fn is_kept_in(&self, later: &Self) -> Result<()> {
        ensure!(self.generation == later.generation, "another generation");
        for (id, was) in &self.cells {
            ensure!(later.cells.get(id) == Some(was), "snapshot {id} differs");
        }
        for (key, was) in &self.extents {
            let (_, to, attribute) = *key;
            if to > 0 && attribute == ATTR_CHANGED {
                let is = later.extents.get(key).context("a point is missing")?;
                let missed = was.iter().find(|chunk| !is.contains(chunk));
                ensure!(
                    missed.is_none(),
                    "a change of {missed:?} is missed, {key:?}"
                );
            }
        }
        Ok(())
    }

    /// Fails unless another one is the same, and says where they differ.
    pub fn compare(&self, now: &Self) -> Result<()> {
        ensure!(self.generation == now.generation, "another generation");
        ensure!(
            self.latest == now.latest,
            "latest {} instead of {}",
            now.latest,
            self.latest
        );
        ensure!(
            self.points == now.points,
            "snapshots {:?} instead of {:?}",
            now.points,
            self.points
        );
        for (name, (was, is)) in ["snapshot", "backup", "protection"]
            .iter()
            .zip(self.maps.iter().zip(&now.maps))
        {
            let differ: Vec<usize> = (0..was.len()).filter(|i| was[*i] != is[*i]).collect();
            ensure!(differ.is_empty(), "the {name} map differs at {differ:?}");
        }
        for (key, was) in &self.extents {
            let is = now.extents.get(key);
            ensure!(
                is == Some(was),
                "extents {key:?}: {is:?} instead of {was:?}"
            );
        }
        for (id, was) in &self.cells {
            let is = now.cells.get(id).context("a snapshot is missing")?;
            for (chunk, (was, is)) in was.iter().zip(is).enumerate() {
                ensure!(
                    was == is,
                    "snapshot {id}, chunk {chunk}: {is:?} instead of {was:?}"
                );
            }
        }
        ensure!(self == now, "something differs");
        Ok(())
    }
}
