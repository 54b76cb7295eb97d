// SPDX-License-Identifier: GPL-2.0

//! A rollback, from one [state of the store](super) to the next.

#![forbid(unsafe_code)]

use kernel::error::code::EIO;
use kernel::sync::Arc;
use zerocopy::little_endian::U32;
use zerocopy::little_endian::U64;

use super::origin::Origin;
use super::plan::Plan;
use super::preconditions;
use super::report::Lost;
use super::report::RollbackReport;
use crate::check;
use crate::store::commit;
use crate::store::recovered;
use crate::store::supers;
use crate::store::supers::Pair;
use crate::store::truncate;
use crate::store::Error;
use crate::store::Known;
use crate::store::Medium;
use crate::store::Progress;
use crate::store::Result;
use crate::store::Store;
use dm_preserve_core::format::Layout;
use dm_preserve_core::format::Superblock;
use dm_preserve_core::format::STATE_CLOSED;
use dm_preserve_core::format::STATE_ROLLBACK;
use dm_preserve_core::history::Snapshot;
use dm_preserve_core::maps::Chunks;
use dm_preserve_core::maps::Geometry;

/// Runs of lost chunks that are listed; more are only counted.
const LISTED: usize = 1000;

/// The snapshot that a rollback is under way to. What is no store that can be read has none.
pub fn rollback_under_way(medium: impl Medium, progress: &dyn Progress) -> Result<Option<u64>> {
    let mut store = Store::new(medium, progress)?;
    let pair = supers::read(&mut store)?;
    let best = supers::choose(&pair).unwrap_or(None);
    let superblock = best.and_then(|i| pair[i].valid());
    Ok(superblock
        .map(|superblock| superblock.rollback.get())
        .filter(|id| *id != 0))
}

/// A rollback that can be done.
pub struct Rollback<'a> {
    store: Store<'a>,
    origin: Origin<'a>,
    pair: Pair,
    best: usize,
    superblock: Superblock,
    layout: Layout,
    known: Known,
    snapshot: Arc<Snapshot>,
    shape: Geometry,
    report: RollbackReport,
}

impl<'a> Rollback<'a> {
    /// Finds out what a rollback to a snapshot, the latest without `id`, has to do, and reads every
    /// content that it needs. Nothing is written.
    pub fn prepare(
        store: impl Medium + 'a,
        origin: impl Medium + 'a,
        id: Option<u64>,
        progress: &'a dyn Progress,
    ) -> Result<Self> {
        let mut store = Store::new(store, progress)?;
        let mut origin = Origin::new(origin)?;
        progress.part("metadata", None);
        let pair = supers::read(&mut store)?;
        let damaged = || Error::Damaged("both superblocks are damaged: see preserve check".into());
        let best = supers::choose(&pair)?.ok_or_else(damaged)?;
        let superblock = *pair[best].valid().ok_or_else(damaged)?;
        if supers::disagree(&pair) {
            // It would write over one of them.
            return Err(Error::Damaged(
                "its two superblocks contradict each other: see preserve check".into(),
            ));
        }
        let (layout, known) = recovered(&mut store, &superblock)?;
        let snapshot = preconditions::snapshot(&known, &superblock, id)?;
        preconditions::fits(&mut origin, &superblock, &known)?;
        let shape = Geometry::new(snapshot.sectors, superblock.chunk_sectors.get().into());
        let shape = shape.ok_or_else(|| Error::Damaged("its sizes cannot be".into()))?;
        let report = report(&mut store, &superblock, &layout, &known, &snapshot, shape)?;
        Ok(Self {
            store,
            origin,
            pair,
            best,
            superblock,
            layout,
            known,
            snapshot,
            shape,
            report,
        })
    }

    /// What it does.
    pub fn report(&self) -> &RollbackReport {
        &self.report
    }

    /// Takes the snapshot for proven, and with it everything in the store: it had not failed before
    /// it was left open.
    pub fn trust(mut self) -> Self {
        self.superblock.unproven = U64::new(0);
        self.report.unproven = false;
        self
    }

    /// Does it. An unproven snapshot is an error. Chunks whose content is lost are an error, or
    /// with `leave_lost` left as they are.
    pub fn run(mut self, leave_lost: bool) -> Result<RollbackReport> {
        self.report.proven()?;
        if !leave_lost {
            self.report.whole()?;
        }
        let closed = self.begin().map_err(|e| self.store.explain(e))?;
        let bytes = self.report.bytes;
        self.store.progress.part("rollback", Some(bytes));
        let (layout, known) = (&self.layout, &self.known);
        let plan = Plan::new(known, &self.superblock, layout, &self.snapshot, self.shape);
        let plan = plan.map_err(|e| self.store.explain(e))?;
        write(&plan, &mut self.store, &mut self.origin, &self.report)?;
        self.origin.flush()?;
        self.finish(closed)?;
        self.report.done = true;
        Ok(self.report)
    }

    /// To the second state. The result is the superblock for the third, which is not written yet.
    fn begin(&mut self) -> kernel::error::Result<Superblock> {
        commit::mirror(&mut self.store, &self.pair, self.best)?;
        let after = truncate::up_to(&self.known, &self.snapshot)?;
        let closed = commit::image(&mut self.store, &self.superblock, &self.layout, &after)?;
        if self.superblock.state.get() != STATE_ROLLBACK {
            self.superblock.state = U32::new(STATE_ROLLBACK);
            self.superblock.rollback = U64::new(self.snapshot.id);
            commit::superblocks(&mut self.store, &mut self.superblock)?;
        }
        Ok(closed)
    }

    /// To the third state.
    fn finish(&mut self, closed: Superblock) -> Result<()> {
        let mut superblock = Superblock {
            state: U32::new(STATE_CLOSED),
            rollback: U64::new(0),
            sequence: self.superblock.sequence,
            fingerprint: U32::new(self.origin.fingerprint(closed.origin_sectors.get())),
            ..closed
        };
        let written = commit::superblocks(&mut self.store, &mut superblock);
        written.map_err(|e| self.store.explain(e))
    }
}

/// Reads every content, and says what there is to do.
fn report(
    store: &mut Store<'_>,
    superblock: &Superblock,
    layout: &Layout,
    known: &Known,
    snapshot: &Arc<Snapshot>,
    shape: Geometry,
) -> Result<RollbackReport> {
    let plan = Plan::new(known, superblock, layout, snapshot, shape);
    let plan = plan.map_err(|e| store.explain(e))?;
    let wanted = plan.wanted.count().saturating_mul(shape.chunk_bytes());
    store.progress.part("verify", Some(wanted));
    plan.verify(store).map_err(|e| store.explain(e))?;
    let damaged = plan.damaged();
    let count = |runs: &[Chunks]| runs.iter().map(Chunks::len).sum();
    let lost = |runs: &[Chunks], why| -> Vec<Lost> {
        let each = runs.iter().map(|run| Lost {
            start: run.start,
            len: run.len(),
            why,
        });
        each.collect()
    };
    let mut listed = lost(&plan.gone, "gone");
    listed.extend(lost(&damaged, "damaged"));
    listed.sort_by_key(|lost| lost.start);
    listed.truncate(LISTED);
    let newer = |list: &[Arc<Snapshot>]| -> Vec<u64> {
        let newer = list.iter().filter(|other| other.id > snapshot.id);
        newer.map(|other| other.id).collect()
    };
    let chunks = plan.good.count();
    Ok(RollbackReport {
        snapshot: snapshot.id,
        time_ns: snapshot.time_ns,
        time: check::time(snapshot.time_ns),
        sectors: snapshot.sectors,
        chunk_bytes: shape.chunk_bytes(),
        under_way: superblock.state.get() == STATE_ROLLBACK,
        was_open: superblock.state.get() != STATE_CLOSED,
        unproven: supers::is_doubtful(superblock) || snapshot.id <= superblock.unproven.get(),
        chunks,
        // The last one may be shorter.
        bytes: chunks.saturating_mul(shape.chunk_bytes()),
        unchanged: plan.unchanged,
        unprotected: plan.unprotected,
        gone: count(&plan.gone),
        damaged: count(&damaged),
        lost: listed,
        ending_snapshots: newer(known.timeline.snapshots()),
        ending_bookmarks: newer(known.timeline.bookmarks()),
        done: false,
    })
}

/// Writes every content to the origin, after another look at its checksum.
fn write(
    plan: &Plan<'_>,
    store: &mut Store<'_>,
    origin: &mut Origin<'_>,
    report: &RollbackReport,
) -> Result<()> {
    let mut written = 0;
    let mut failure = None;
    let result = plan.contents(store, &mut |chunk, content| {
        written += 1;
        origin.write(plan.shape, chunk, content).map_err(|error| {
            failure = Some(error);
            EIO
        })
    });
    if let Some(error) = failure {
        return Err(error);
    }
    result.map_err(|e| store.explain(e))?;
    match written == report.chunks {
        true => Ok(()),
        false => Err(Error::Damaged(format!(
            "of {} contents that were good, only {written} are so still: the store's device is \
             failing. The rollback is not finished; try again",
            report.chunks
        ))),
    }
}
