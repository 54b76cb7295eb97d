// SPDX-License-Identifier: GPL-2.0

//! The steps that look at something, and the comparison of everything.

#![forbid(unsafe_code)]

use std::time::Duration;

use anyhow::bail;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use preserve::uapi::ATTR_CHANGED;
use preserve::uapi::ATTR_GONE;
use preserve::uapi::ATTR_PRESERVED;
use preserve::uapi::ATTR_PROTECTED;
use rustix::io::Errno;
use vmtest::cmd::wait_until;
use vmtest::control::Piece;
use vmtest::disk::errno;
use vmtest::disk::Buffer;
use vmtest::disk::Disk;
use vmtest::pattern;

use super::Walk;
use crate::model::Frozen;
use crate::model::Snapshot;

/// How long space may take to come back.
const LIMIT: Duration = Duration::from_secs(10);

impl Walk {
    pub(super) fn read_now(&mut self, start: u64, len: u64) -> Result<()> {
        let wanted = &self.model.now[start as usize..(start + len) as usize];
        self.disk()?.check(start, wanted).context("the live device")
    }

    fn snapshot(&self, id: u64) -> Result<&Snapshot> {
        let mut live = self.model.snapshots.iter();
        live.find(|s| s.id == id).context("no such snapshot")
    }

    /// Reads a range of a snapshot by ioctl, piece by piece.
    pub(super) fn read_frozen(&mut self, id: u64, start: u64, len: u64) -> Result<()> {
        let snapshot = self.snapshot(id)?;
        let (mut at, end) = (start, start + len);
        while at < end {
            at += self
                .read_piece(snapshot, at, end - at)
                .with_context(|| format!("frozen read of {id}, {start}+{len} at {at}"))?;
        }
        Ok(())
    }

    fn read_piece(&self, snapshot: &Snapshot, at: u64, len: u64) -> Result<u64> {
        let chunk_at = |sector: u64| (sector / self.model.chunk) as usize;
        let wanted = self.model.frozen(snapshot, chunk_at(at));
        let mut buffer = Buffer::new(len);
        let (kind, sectors) = match self.rig.control.read(snapshot.id, at, &mut buffer) {
            Ok(Piece::Data(sectors)) => (Frozen::Data, sectors),
            Ok(Piece::Hole(sectors)) => (Frozen::Hole, sectors),
            Err(e) if errno(&e) == Some(Errno::NODATA) => {
                let next = (at / self.model.chunk + 1) * self.model.chunk;
                (Frozen::Gone, len.min(next - at))
            }
            Err(e) => bail!("{e} instead of {wanted:?}"),
        };
        ensure!(1 <= sectors && sectors <= len, "{sectors} sectors");
        for sector in at..at + sectors {
            let chunk = chunk_at(sector);
            let wanted = self.model.frozen(snapshot, chunk);
            ensure!(
                wanted == kind,
                "chunk {chunk}: {kind:?} instead of {wanted:?}"
            );
        }
        if kind == Frozen::Data {
            let bytes = &buffer[..sectors as usize * pattern::SECTOR];
            let stamps = &snapshot.frozen[at as usize..(at + sectors) as usize];
            pattern::check(bytes, at, stamps)?;
        } else {
            ensure!(buffer.iter().all(|b| *b == 0), "the buffer was touched");
        }
        Ok(sectors)
    }

    /// Reads a range through a view, in one go.
    pub(super) fn read_view(&mut self, id: u64, start: u64, len: u64) -> Result<()> {
        // Made when it is first needed: that takes longer than most steps.
        if !self.views.contains_key(&id) {
            let view = self.rig.view(&format!("vt-view-{id}"), id, &[])?;
            self.views.insert(id, (Disk::open_ro(view.path())?, view));
        }
        let snapshot = self.snapshot(id)?;
        let (disk, _) = self.views.get(&id).context("no view")?;
        let mut stamps = snapshot.frozen[start as usize..(start + len) as usize].to_vec();
        let mut gone = false;
        for chunk in self.model.outward(start, len) {
            match self.model.frozen(snapshot, chunk) {
                Frozen::Data => {}
                Frozen::Gone => gone = true,
                Frozen::Hole => {
                    let sectors = self.model.sectors_of(chunk);
                    let from = sectors.start.max(start as usize) - start as usize;
                    let to = sectors.end.min((start + len) as usize) - start as usize;
                    stamps[from..to].fill(0);
                }
            }
        }
        match disk.read(start, len) {
            Ok(_) if gone => bail!("view {id}, read {start}+{len}: no error for a gone chunk"),
            Ok(found) => pattern::check(&found, start, &stamps)
                .with_context(|| format!("view {id}, read {start}+{len}")),
            Err(e) if gone && errno(&e) == Some(Errno::IO) => Ok(()),
            Err(e) => bail!("view {id}, read {start}+{len}: {e} (a gone chunk in it: {gone})"),
        }
    }

    /// Compares everything.
    pub(super) fn look(&mut self) -> Result<()> {
        let sectors = self.model.sectors;
        self.read_now(0, sectors)?;
        let live: Vec<u64> = self.model.snapshots.iter().map(|s| s.id).collect();
        for id in live {
            self.read_frozen(id, 0, sectors)?;
            for chunk in 0..self.model.chunks() {
                let sectors = self.model.sectors_of(chunk);
                self.read_view(id, sectors.start as u64, sectors.len() as u64)?;
            }
        }
        let maps = [
            ("snapshot_map", self.model.marks.clone()),
            ("backup_map", self.model.backup()),
            ("protection_map", self.model.designation.clone()),
        ];
        for (name, wanted) in maps {
            let found = self.rig.map(name)?;
            let differ = (0..wanted.len()).find(|i| found[*i] != wanted[*i]);
            ensure!(differ.is_none(), "{name} is wrong at chunk {differ:?}");
        }
        self.look_at_counts()?;
        self.look_at_extents()
    }

    fn look_at_counts(&self) -> Result<()> {
        let count = |map: &[bool]| map.iter().filter(|bit| **bit).count() as u64;
        let stored = self.model.stored();
        // Whoever reads a copy keeps its space for a moment longer.
        wait_until("space comes back", LIMIT, || self.rig.uses(stored))?;
        let info = self.rig.control.info()?;
        let ids = self.model.ids();
        let wanted = [
            ("changed", info.changed_chunks, count(&self.model.marks)),
            ("backup", info.backup_chunks, count(&self.model.backup())),
            (
                "protected",
                info.protected_chunks,
                count(&self.model.designation),
            ),
            ("preserved", info.preserved_chunks, stored),
            (
                "snapshots",
                u64::from(info.snapshots),
                self.model.snapshots.len() as u64,
            ),
            (
                "bookmarks",
                u64::from(info.bookmarks),
                self.model.bookmarks().len() as u64,
            ),
            ("latest", info.latest, ids.last().copied().unwrap_or(0)),
            ("gone", info.gone_chunks, 0),
            ("invalidated", info.invalidated, 0),
        ];
        for (what, found, wanted) in wanted {
            ensure!(found == wanted, "{what}: {found} instead of {wanted}");
        }
        Ok(())
    }

    /// What a backup would ask: every attribute of every chunk, for every pair.
    fn look_at_extents(&self) -> Result<()> {
        if self.model.options.keep_unprotected {
            return Ok(());
        }
        for snapshot in &self.model.snapshots {
            self.look_at_extents_of(snapshot)
                .with_context(|| format!("extents of {}", snapshot.id))?;
        }
        Ok(())
    }

    fn look_at_extents_of(&self, snapshot: &Snapshot) -> Result<()> {
        let model = &self.model;
        let protected = |c: &usize| model.frozen(snapshot, *c) != Frozen::Hole;
        let list = |from: u64, mask: u32| self.rig.control.chunks(from, snapshot.id, mask, mask);
        let compare = |what: &str, found: Vec<u64>, wanted: &dyn Fn(&usize) -> bool| {
            let all = 0..model.chunks();
            let wanted: Vec<u64> = all.filter(|c| wanted(c)).map(|c| c as u64).collect();
            ensure!(found == wanted, "{what}: {found:?} instead of {wanted:?}");
            Ok(())
        };
        compare("protected", list(0, ATTR_PROTECTED)?, &protected)?;
        compare("preserved", list(0, ATTR_PRESERVED)?, &|c| {
            model.preserved(snapshot, *c)
        })?;
        compare("gone", list(0, ATTR_GONE | ATTR_PROTECTED)?, &|c| {
            model.gone(snapshot, *c)
        })?;
        let ids = model.ids().into_iter().filter(|id| *id <= snapshot.id);
        for from in ids.chain([0]) {
            let what = format!("changed since {from}");
            compare(&what, list(from, ATTR_CHANGED)?, &|c| {
                model.changed(*c, from, snapshot.id)
            })?;
            // What has changed up to the present, snapshot or not.
            let found = self
                .rig
                .control
                .chunks(from, 0, ATTR_CHANGED, ATTR_CHANGED)?;
            compare(&format!("{what} until now"), found, &|c| {
                model.changed(*c, from, 0)
            })?;
        }
        Ok(())
    }
}
