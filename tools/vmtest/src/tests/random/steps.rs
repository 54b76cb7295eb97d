// SPDX-License-Identifier: GPL-2.0

//! The steps that change something, done to the device and to the model.

#![forbid(unsafe_code)]

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use preserve::uapi::Range;
use vmtest::pattern;

use super::Walk;

/// Bookmarks kept; the module forgets the oldest when there are many more.
const BOOKMARKS: usize = 40;

impl Walk {
    fn new_stamp(&mut self) -> u64 {
        self.stamp += 1;
        self.stamp
    }

    pub(super) fn write(&mut self, start: u64, len: u64) -> Result<()> {
        let stamp = self.new_stamp();
        self.disk()?
            .stamp(start, len, stamp)
            .with_context(|| format!("writing {start}+{len}"))?;
        self.model.write(start, len, stamp);
        Ok(())
    }

    pub(super) fn zero(&mut self, start: u64, len: u64) -> Result<()> {
        self.disk()?
            .zero(start, len)
            .with_context(|| format!("zeroing {start}+{len}"))?;
        self.model.write(start, len, 0);
        self.read_now(start, len)
    }

    /// A discard may be ignored, but not where it would destroy needed content: there it must be.
    pub(super) fn discard(&mut self, start: u64, len: u64) -> Result<()> {
        self.disk()?
            .discard(start, len)
            .with_context(|| format!("discarding {start}+{len}"))?;
        let found = self.disk()?.read(start, len)?;
        let marks = self.rig.map("snapshot_map")?;
        let mut changed = Vec::new();
        for (sector, bytes) in (start..).zip(found.chunks_exact(pattern::SECTOR)) {
            let old = self.model.now[sector as usize];
            if bytes == pattern::sector(old, sector) {
                continue;
            }
            let found = pattern::describe(bytes, sector);
            ensure!(
                bytes == pattern::sector(0, sector),
                "discard {start}+{len}: sector {sector}: {found} instead of stamp {old} or zeroes"
            );
            changed.push(sector);
        }
        for sector in &changed {
            let chunk = (sector / self.model.chunk) as usize;
            ensure!(
                !self.model.needs(chunk),
                "discard {start}+{len}: chunk {chunk} was needed, but sector {sector} is gone"
            );
            ensure!(
                marks[chunk],
                "discard {start}+{len}: sector {sector} is gone, but chunk {chunk} not marked"
            );
        }
        for chunk in self.model.outward(start, len) {
            if self.model.needs(chunk) {
                ensure!(
                    !marks[chunk],
                    "discard {start}+{len}: chunk {chunk} is needed, but marked"
                );
            } else if marks[chunk] {
                self.model.touch(chunk);
            }
        }
        for sector in changed {
            self.model.now[sector as usize] = 0;
        }
        Ok(())
    }

    pub(super) fn edit(&mut self, start: u64, len: u64) -> Result<()> {
        let protect = self.rng.chance(50);
        self.rig.control.edit(protect, &[Range { start, len }])?;
        self.model.edit(protect, start, len);
        Ok(())
    }

    /// Takes a snapshot and keeps 1 to 5, with it.
    pub(super) fn take(&mut self) -> Result<()> {
        let ids = self.model.ids();
        let base = match ids.len() {
            0 => None,
            n if self.rng.chance(50) => Some(ids[self.rng.below(n as u64) as usize]),
            _ => None,
        };
        let keep = 1 + self.rng.below(5);
        let latest = ids.last().copied().unwrap_or(0);
        let id = self
            .rig
            .control
            .snapshot_keeping(base, keep as u32)
            .with_context(|| format!("taking a snapshot, base {base:?}"))?;
        ensure!(id > latest, "the new id {id} is not above {latest}");
        if base.is_some() {
            self.rig.settle()?;
        }
        for dropped in self.model.take(id, base, keep as usize) {
            self.view_is_dropped(dropped)?;
        }
        let bookmarks = self.model.bookmarks();
        if bookmarks.len() > BOOKMARKS {
            self.forget_bookmark(bookmarks[0])?;
        }
        Ok(())
    }

    pub(super) fn release(&mut self, start: u64, len: u64) -> Result<()> {
        let Some(id) = self.any_snapshot() else {
            return Ok(());
        };
        self.rig.control.release(id, start, len)?;
        self.model.release(id, start, len);
        Ok(())
    }

    /// Drops any of the snapshots.
    pub(super) fn drop_snapshot(&mut self) -> Result<()> {
        let Some(id) = self.any_snapshot() else {
            return Ok(());
        };
        self.rig.control.drop_snapshot(id)?;
        self.model.drop_snapshot(id);
        self.view_is_dropped(id)
    }

    /// What a view shows of a dropped snapshot is nothing, rather than something else. It goes.
    fn view_is_dropped(&mut self, id: u64) -> Result<()> {
        // Goes as a whole: what is open before the device.
        let shown = self.views.remove(&id);
        let Some((disk, view)) = &shown else {
            return Ok(());
        };
        ensure!(
            disk.read(0, 1).is_err(),
            "a view of a dropped snapshot can be read"
        );
        let status = view.status()?;
        ensure!(status.ends_with(" dropped"), "status of its view: {status}");
        Ok(())
    }

    pub(super) fn forget(&mut self) -> Result<()> {
        // The last two decide what the backup map shows.
        let last_two = self.model.ids().into_iter().rev().nth(1).unwrap_or(0);
        let mut bookmarks = self.model.bookmarks();
        bookmarks.retain(|id| *id < last_two);
        match bookmarks.len() as u64 {
            0 => Ok(()),
            n => {
                let chosen = self.rng.below(n) as usize;
                self.forget_bookmark(bookmarks[chosen])
            }
        }
    }

    fn forget_bookmark(&mut self, id: u64) -> Result<()> {
        self.rig
            .control
            .forget(id)
            .with_context(|| format!("forgetting {id}"))?;
        self.model.forget(id);
        Ok(())
    }

    /// The device is removed and created again.
    pub(super) fn reopen(&mut self) -> Result<()> {
        let generation = self.rig.control.info()?.generation;
        self.views.clear();
        self.disk = None;
        self.rig.reopen().context("removing and creating again")?;
        self.disk = Some(self.rig.disk()?);
        ensure!(
            self.rig.control.info()?.generation == generation,
            "another generation after removal"
        );
        Ok(())
    }
}
