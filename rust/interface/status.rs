// SPDX-License-Identifier: GPL-2.0

//! The figures that a live device shows: status line, sysfs and the info ioctl all take them from
//! here.

#![forbid(unsafe_code)]

use crate::engine::Engine;
use crate::engine::Epoch;
use crate::engine::Phase;
use crate::history::Scope;
use crate::history::Snapshot;
use crate::maps::Bitmap;
use crate::uapi;
use core::fmt;
use kernel::sync::Arc;

/// The figures of a moment, in the form of the ioctl. Printed, they are the status line.
pub(super) struct Figures(pub(super) uapi::Info);

impl Figures {
    /// Returns the figures of an engine as they are now.
    pub(super) fn now(engine: &Engine) -> Self {
        let timeline = engine.state().timeline();
        let geometry = engine.device().geometry();
        let (store_sectors, store_used_sectors) = engine.store_sectors();
        let designation = engine.state().designation();
        let next_id = engine.state().next_id();
        let chunks = geometry.chunks();
        let copies = timeline
            .epochs(0, u64::MAX)
            .filter_map(|epoch| epoch.copies.as_ref());
        // CAST: Bounded by memory.
        Self(uapi::Info {
            size: core::mem::size_of::<uapi::Info>() as u32,
            generation: engine.device().generation(),
            state: state_code(engine),
            chunk_sectors: geometry.chunk_sectors() as u32,
            origin_sectors: geometry.sectors(),
            store_sectors,
            store_used_sectors,
            latest: next_id - 1,
            epoch: timeline.present().map_or(0, |epoch| epoch.id),
            snapshots: timeline.snapshots().len() as u32,
            bookmarks: timeline.bookmarks().len() as u32,
            changed_chunks: marked(timeline.since_latest(), chunks),
            backup_chunks: marked(timeline.closed_by_latest(), chunks),
            protected_chunks: designation.count(chunks),
            preserved_chunks: copies.map(|copies| copies.len()).sum(),
            waited_writes: engine.device().counters().waited.get(),
            gone_chunks: engine.device().counters().gone.get(),
            invalidated: engine.device().counters().invalidated.get(),
            event: engine.events().number(),
            damaged_reads: engine.device().counters().damaged.get(),
            unproven: engine.state().unproven(),
            store: engine.device().store_uuid(),
            ..Default::default()
        })
    }
}

/// Returns the memory of an engine for marks, indexes and released chunks, in bytes.
pub(super) fn memory(engine: &Engine) -> u64 {
    let timeline = engine.state().timeline();
    let epochs = || timeline.epochs(0, u64::MAX);
    let of_epoch = |epoch: &Epoch| {
        epoch.marks.memory() + epoch.copies.as_ref().map_or(0, |copies| copies.memory())
    };
    // The marks of a scope outlive their epochs.
    let is_left = |marks: &&Arc<Bitmap>| !epochs().any(|epoch| Arc::ptr_eq(&epoch.marks, marks));
    let of_scope = |scope: &Scope| match scope {
        Scope::Full => 0,
        Scope::Incremental { marks, .. } => {
            let left = marks.iter().filter(is_left);
            left.map(|marks| marks.memory()).sum()
        }
    };
    let snapshots = timeline.snapshots().iter().chain(timeline.bookmarks());
    let of_snapshot =
        |snapshot: &Arc<Snapshot>| snapshot.released.memory() + of_scope(&snapshot.scope);
    epochs().map(of_epoch).sum::<u64>() + snapshots.map(of_snapshot).sum::<u64>()
}

/// Returns the state, as `STATE_*`.
fn state_code(engine: &Engine) -> u32 {
    match engine.phases().now() {
        Phase::Active if engine.is_failing() => uapi::STATE_BLOCKED,
        Phase::Active if engine.has_failed() => uapi::STATE_FAILED,
        Phase::Active if engine.writes().is_blocked() => uapi::STATE_BLOCKED,
        Phase::Active => uapi::STATE_ACTIVE,
        Phase::Setup | Phase::Suspended | Phase::Bypassed | Phase::Dead => uapi::STATE_SUSPENDED,
    }
}
/// Returns the number of chunks that are marked in any of some epochs. Nearly always that is one
/// epoch, which keeps a count.
fn marked<'a>(epochs: impl Iterator<Item = &'a Epoch> + Clone, chunks: u64) -> u64 {
    let mut some = epochs.clone();
    match (some.next(), some.next()) {
        (None, _) => 0,
        (Some(one), None) => one.marks.count(),
        (Some(_), Some(_)) => (0..chunks)
            .step_by(64)
            .map(|bit| {
                epochs
                    .clone()
                    .fold(0, |all, epoch| all | epoch.marks.word(bit))
            })
            .map(|word| u64::from(word.count_ones()))
            .sum(),
    }
}

impl Figures {
    /// Returns the state as a word.
    pub(super) fn state(&self) -> &'static str {
        match self.0.state {
            uapi::STATE_ACTIVE => "active",
            uapi::STATE_BLOCKED => "blocked",
            uapi::STATE_FAILED => "failed",
            _ => "suspended",
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let i = &self.0;
        write!(
            f,
            "{} {}/{}",
            self.state(),
            i.store_used_sectors,
            i.store_sectors
        )?;
        write!(f, " {} {} {}", i.chunk_sectors, i.latest, i.snapshots)?;
        write!(
            f,
            " {} {} {}",
            i.changed_chunks, i.backup_chunks, i.protected_chunks
        )?;
        write!(
            f,
            " {} {} {}",
            i.preserved_chunks, i.waited_writes, i.gone_chunks
        )?;
        write!(f, " {} {} {}", i.invalidated, i.damaged_reads, i.unproven)
    }
}
