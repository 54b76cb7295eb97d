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
        self.disk
            .stamp(start, len, stamp)
            .with_context(|| format!("writing {start}+{len}"))?;
        self.model.write(start, len, stamp);
        Ok(())
    }

    pub(super) fn zero(&mut self, start: u64, len: u64) -> Result<()> {
        self.disk
            .zero(start, len)
            .with_context(|| format!("zeroing {start}+{len}"))?;
        self.model.write(start, len, 0);
        self.read_now(start, len)
    }

    /// A discard may be ignored, but not where it would destroy needed content: there it must be.
    pub(super) fn discard(&mut self, start: u64, len: u64) -> Result<()> {
        self.disk
            .discard(start, len)
            .with_context(|| format!("discarding {start}+{len}"))?;
        let found = self.disk.read(start, len)?;
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

    pub(super) fn take(&mut self) -> Result<()> {
        let ids = self.model.ids();
        let base = match ids.len() {
            0 => None,
            n if self.rng.chance(50) => Some(ids[self.rng.below(n as u64) as usize]),
            _ => None,
        };
        let latest = ids.last().copied().unwrap_or(0);
        let id = match base {
            Some(base) => self.rig.control.incremental(base),
            None => self.rig.control.snapshot(),
        }
        .with_context(|| format!("taking a snapshot, base {base:?}"))?;
        ensure!(id > latest, "the new id {id} is not above {latest}");
        self.view = None;
        self.model.take(id, base);
        if ids.len() > BOOKMARKS {
            self.forget_bookmark(ids[0])?;
        }
        Ok(())
    }

    pub(super) fn release(&mut self, start: u64, len: u64) -> Result<()> {
        let Some(snapshot) = &self.model.snapshot else {
            return Ok(());
        };
        self.rig.control.release(snapshot.id, start, len)?;
        self.model.release(start, len);
        Ok(())
    }

    pub(super) fn drop_snapshot(&mut self) -> Result<()> {
        let Some(snapshot) = self.model.snapshot.take() else {
            return Ok(());
        };
        self.rig.control.drop_snapshot(snapshot.id)?;
        // Goes as a whole: what is open before the device.
        let shown = self.view.take();
        let Some((disk, view)) = &shown else {
            return Ok(());
        };
        // What it shows from now on is nothing, rather than something else.
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
        let ids = self.model.ids();
        match ids.len() {
            0..=2 => Ok(()),
            n => {
                let chosen = self.rng.below(n as u64 - 2) as usize;
                self.forget_bookmark(ids[chosen])
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
}
