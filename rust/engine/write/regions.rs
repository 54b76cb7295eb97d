// SPDX-License-Identifier: GPL-2.0

//! Announces regions in a persistent store's log, so that chunks which no snapshot needs may be
//! written.
//!
//! # States of a region, in an epoch and period
//!
//! 1. *Unknown*: a write of a chunk in it has to wait, unless the chunk is marked.
//! 2. *Announced*: its record is on its way. Whoever needs it waits.
//! 3. *Open*: the record is durable, and the region is set in the map that the gate protects.
//!    Chunks may be marked and written: recovery would take them for changed.
//!
//! The next epoch and the next checkpoint begin with all regions unknown.

#![forbid(unsafe_code)]

use crate::dm;
use crate::dm::List;
use crate::engine::log::pending::Lane;
use crate::engine::reserves::NO_MEMORY_MS;
use crate::engine::write::waiting::Announced;
use crate::engine::write::waiting::Copier;
use crate::engine::write::waiting::HeldBio;
use crate::engine::write::Writes;
use crate::format::Entry as LogEntry;
use crate::maps::region;
use crate::maps::Bitmap;
use crate::maps::Chunks;
use kernel::sync::Arc;

/// What came of an attempt to announce a region.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Announcing {
    /// It is being announced. Whoever waits for that is woken, also if the log fails.
    UnderWay,
    /// As many as can be are being announced.
    NoRoom,
    /// There was no memory.
    NoMemory,
    /// The log has failed.
    Failed,
}

impl Writes {
    /// Announces the regions of a run in the log, unless they are being announced already. The bio
    /// waits for the first of them, or for what is missing.
    pub(super) fn announce(self: &Arc<Self>, copier: &mut Copier, bio: HeldBio, run: Chunks) {
        let Some(present) = self.state.enter() else {
            copier.parked.push(bio);
            return;
        };
        let (epoch, period) = (present.epoch, present.period);
        let regions = present.regions.clone();
        drop(present);
        let Some(regions) = regions else {
            copier.pending.push(bio);
            return;
        };
        let unknown = (region::of(run.start)..=region::of(run.end.saturating_sub(1)))
            .filter(|region| !regions.get(*region));
        let mut first = None;
        let mut last = Announcing::UnderWay;
        for region in unknown {
            last = self.announce_region(copier, &regions, (region, epoch, period));
            if last != Announcing::UnderWay {
                break;
            }
            first = first.or(Some(region));
        }
        let known = first.and_then(|first| copier.regions.find(first, epoch, period));
        match (known, last) {
            (Some(known), _) => known.waiters.push(bio),
            (None, Announcing::NoRoom) => copier.regions.queue.push(bio),
            (None, Announcing::Failed) => copier.wait_for_store(bio, self.phases.can_requeue()),
            (None, Announcing::UnderWay | Announcing::NoMemory) => copier.pending.push(bio),
        }
    }

    /// Announces a region of an epoch and period, unless that is under way.
    fn announce_region(
        self: &Arc<Self>,
        copier: &mut Copier,
        regions: &Bitmap,
        (region, epoch, period): (u64, u64, u64),
    ) -> Announcing {
        if copier.regions.find(region, epoch, period).is_some() {
            return Announcing::UnderWay;
        }
        let end = region + 1;
        let run = Chunks { start: region, end };
        if regions.prepare_from(run, &self.memory).is_err() {
            dm::sleep_ms(NO_MEMORY_MS);
            return Announcing::NoMemory;
        }
        if !copier.regions.has_room() {
            return Announcing::NoRoom;
        }
        let entry = LogEntry::Region {
            region,
            epoch,
            period,
        };
        // Without a ticket the log has failed, which giving it up ends: there is always room for so
        // few entries.
        let Some(ticket) = self.log.append(Lane::Copier, &[entry]) else {
            return Announcing::Failed;
        };
        let known = Announced {
            ticket,
            region,
            epoch,
            period,
            waiters: List::new(),
        };
        let pushed = copier.regions.announced.push_within_capacity(known);
        if pushed.is_err() {
            dm::bug("there is no room for an announced region: it is announced again");
            return Announcing::NoMemory;
        }
        Announcing::UnderWay
    }

    /// Lets chunks be marked in regions whose announcement is durable, and those who waited for it
    /// look again.
    pub(super) fn open_regions(&self, copier: &mut Copier) {
        let Some(present) = self.state.enter() else {
            // The opening lets the work run again.
            return;
        };
        let failed = self.log.has_failed();
        let Copier {
            regions: announcements,
            pending,
            ..
        } = copier;
        announcements.announced.retain(|known| {
            let durable = self.log.is_durable(Lane::Copier, known.ticket);
            let now = (known.epoch, known.period) == (present.epoch, present.period);
            if let (true, true, Some(regions)) = (durable, now, &present.regions) {
                // The leaf exists: `announce` has prepared it.
                regions.set(known.region);
            }
            // One whose epoch or period has ended stays too, so that the log never has more of
            // them.
            let stays = !durable && !failed;
            if !stays {
                pending.append(&mut known.waiters);
            }
            stays
        });
    }
}
