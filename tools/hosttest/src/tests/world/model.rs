// SPDX-License-Identifier: GPL-2.0

//! What a device must remember, kept the simple way: full contents for each snapshot.
//!
//! Only *hot* chunks are ever written; lists here are parallel to that of the hot chunks.

#![forbid(unsafe_code)]

use super::copies::SimCopies;
use dm_preserve_core::history::MAX_BOOKMARKS;
use dm_preserve_core::maps::Chunks;
use dm_preserve_core::store::Checkpoint;
use sim::Data;
use sim::SimDisk;
use std::sync::Arc as StdArc;

/// A chunk's content, by blocks.
pub(crate) type Content = Vec<Data>;

/// What a disk has for a chunk.
pub(crate) fn content(disk: &SimDisk, chunk: u64, chunk_blocks: u64) -> Content {
    let blocks = chunk * chunk_blocks..(chunk + 1) * chunk_blocks;
    blocks.map(|at| disk.get(at).unwrap().clone()).collect()
}

/// An instant.
pub(crate) struct Instant {
    pub(crate) content: Vec<Content>,
    pub(crate) protected: Vec<bool>,
    pub(crate) chunks: u64,
}

/// A snapshot or bookmark.
#[derive(Clone)]
pub(crate) struct Snap {
    pub(crate) id: u64,
    pub(crate) epoch: u64,
    pub(crate) live: bool,
    pub(crate) keep_unprotected: bool,
    pub(crate) at: StdArc<Instant>,
    pub(crate) base: Option<StdArc<Instant>>,
    pub(crate) released: Vec<bool>,
    pub(crate) narrowed: bool,
}

impl Snap {
    /// Whether the chunk's content must be there, unless it could not be read.
    pub(crate) fn wants(&self, hot: usize, chunk: u64) -> bool {
        let changed = self.base.as_ref().is_none_or(|base| {
            !self.narrowed
                || chunk >= base.chunks
                || !base.protected[hot]
                || base.content[hot] != self.at.content[hot]
        });
        self.live
            && chunk < self.at.chunks
            && (self.keep_unprotected || self.at.protected[hot])
            && !self.released[hot]
            && changed
    }
}

/// See the [module's documentation](self).
#[derive(Clone)]
pub(crate) struct Model {
    pub(crate) hot: StdArc<Vec<u64>>,
    pub(crate) protected: Vec<bool>,
    /// By id.
    pub(crate) snaps: Vec<Snap>,
    pub(crate) next_id: u64,
    pub(crate) epoch: u64,
    pub(crate) chunks: u64,
}

impl Model {
    pub(crate) fn snap(&self, id: u64) -> Option<&Snap> {
        self.snaps.iter().find(|snap| snap.id == id)
    }

    fn snap_mut(&mut self, id: u64) -> &mut Snap {
        self.snaps.iter_mut().find(|snap| snap.id == id).unwrap()
    }

    pub(crate) fn ids(&self, live: bool) -> Vec<u64> {
        let some = self.snaps.iter().filter(|snap| snap.live == live);
        some.map(|snap| snap.id).collect()
    }

    /// The hot chunks of a run.
    pub(crate) fn within(&self, run: Chunks) -> Vec<usize> {
        let all = self.hot.iter().enumerate();
        all.filter(|(_, chunk)| run.contains(**chunk))
            .map(|(hot, _)| hot)
            .collect()
    }

    pub(crate) fn snapshot(
        &mut self,
        content: Vec<Content>,
        base: Option<u64>,
        keep_unprotected: bool,
        drop_up_to: u64,
        reset: Option<bool>,
    ) {
        self.epoch += 1;
        let at = StdArc::new(Instant {
            content,
            protected: self.protected.clone(),
            chunks: self.chunks,
        });
        let base = base
            .and_then(|id| self.snap(id))
            .map(|base| base.at.clone());
        for snap in self.snaps.iter_mut().filter(|snap| snap.id <= drop_up_to) {
            snap.live = false;
        }
        self.snaps.push(Snap {
            id: self.next_id,
            epoch: self.epoch,
            live: true,
            keep_unprotected,
            at,
            base,
            released: vec![false; self.hot.len()],
            narrowed: false,
        });
        self.next_id += 1;
        if let Some(default) = reset {
            self.protected.fill(default);
        }
        self.limit();
    }

    /// The oldest bookmarks are forgotten.
    fn limit(&mut self) {
        while self.ids(false).len() > MAX_BOOKMARKS {
            let oldest = self.ids(false)[0];
            self.forget(oldest);
        }
    }

    pub(crate) fn drop(&mut self, id: u64) {
        self.snap_mut(id).live = false;
        self.limit();
    }

    pub(crate) fn forget(&mut self, id: u64) {
        self.snaps.retain(|snap| snap.id != id);
    }

    pub(crate) fn release(&mut self, id: u64, run: Chunks) {
        for hot in self.within(run) {
            self.snap_mut(id).released[hot] = true;
        }
    }

    pub(crate) fn protect(&mut self, run: Chunks, protected: bool) {
        for hot in self.within(run) {
            self.protected[hot] = protected;
        }
    }

    pub(crate) fn narrow(&mut self, id: u64) {
        self.snap_mut(id).narrowed = true;
    }

    /// Whether a recovered device knows what this one does: snapshots, bookmarks, designations.
    pub(crate) fn same_as(
        &self,
        state: &Checkpoint<SimCopies>,
        chunk_sectors: u64,
    ) -> Result<(), String> {
        let same = |what: &str, here: &dyn std::fmt::Debug, there: &dyn std::fmt::Debug| {
            let (here, there) = (format!("{here:?}"), format!("{there:?}"));
            match here == there {
                true => Ok(()),
                false => Err(format!("{what}: {there}, should be {here}")),
            }
        };
        let ids = |list: &[kernel::sync::Arc<dm_preserve_core::history::Snapshot>]| -> Vec<u64> {
            list.iter().map(|snapshot| snapshot.id).collect()
        };
        let timeline = &state.timeline;
        same("snapshots", &self.ids(true), &ids(timeline.snapshots()))?;
        same("bookmarks", &self.ids(false), &ids(timeline.bookmarks()))?;
        same("next id", &self.next_id, &state.next_id)?;
        same(
            "epoch",
            &Some(self.epoch),
            &timeline.present().map(|epoch| epoch.id),
        )?;
        same("sectors", &(self.chunks * chunk_sectors), &state.sectors)?;
        let hot = || self.hot.iter().filter(|chunk| **chunk < self.chunks);
        let bits = |get: &dyn Fn(u64) -> bool| hot().map(|chunk| get(*chunk)).collect::<Vec<_>>();
        let here = |list: &[bool]| list[..hot().count()].to_vec();
        let designation = bits(&|chunk| state.designation.get(chunk));
        same("designation", &here(&self.protected), &designation)?;
        for snap in &self.snaps {
            let other = timeline.entry(snap.id).ok_or("no such snapshot")?;
            same("its epoch", &snap.epoch, &other.epoch)?;
            same("its time", &(snap.id * 1000), &other.time_ns)?;
            same(
                "narrowed",
                &(snap.base.is_none() || snap.narrowed),
                &other.is_narrowed(),
            )?;
            same(
                "its length",
                &(snap.at.chunks * chunk_sectors),
                &other.sectors,
            )?;
            same(
                "keep_unprotected",
                &snap.keep_unprotected,
                &other.keep_unprotected,
            )?;
            let designation = bits(&|chunk| other.designation.get(chunk));
            same("its designation", &here(&snap.at.protected), &designation)?;
            let released = bits(&|chunk| other.released.get(chunk));
            same("released", &here(&snap.released), &released)?;
        }
        Ok(())
    }
}
