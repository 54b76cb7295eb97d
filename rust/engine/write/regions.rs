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
use crate::engine::log::pending::Lane;
use crate::engine::write::decide::NO_MEMORY_MS;
use crate::engine::write::waiting::Announced;
use crate::engine::write::waiting::Copier;
use crate::engine::write::waiting::HeldBio;
use crate::engine::write::waiting::MAX_ANNOUNCED;
use crate::engine::write::Writes;
use crate::format::Entry as LogEntry;
use crate::maps::region;
use crate::maps::Bitmap;
use crate::maps::Chunks;
use kernel::sync::Arc;

impl Writes {
    /// Announces the regions of a run in the log, unless they are being announced already. The bio
    /// waits; if nothing is under way that will wake it, it is looked at again.
    pub(super) fn announce(self: &Arc<Self>, copier: &mut Copier, bio: HeldBio, run: Chunks) {
        let Some(present) = self.state.enter() else {
            copier.parked.push(bio);
            return;
        };
        let (epoch, period) = (present.epoch, present.period);
        let regions = present.regions.clone();
        drop(present);
        let mut waits = false;
        if let Some(regions) = regions {
            for region in region::of(run.start)..=region::of(run.end.saturating_sub(1)) {
                let known = Announced {
                    ticket: 0,
                    region,
                    epoch,
                    period,
                };
                waits |= !regions.get(region) && self.announce_region(copier, &regions, known);
            }
        }
        match waits {
            true => copier.regions.waiting.push(bio),
            false => copier.pending.push(bio),
        }
    }

    /// Announces a region, unless that is under way. Returns true if the copier will be woken for
    /// it: when an announcement has ended, or when the log is given up.
    fn announce_region(
        self: &Arc<Self>,
        copier: &mut Copier,
        regions: &Bitmap,
        mut known: Announced,
    ) -> bool {
        let region = known.region;
        if copier
            .regions
            .announced
            .iter()
            .any(|other| other.is_same(&known))
        {
            return true;
        }
        let end = region + 1;
        if regions.prepare(Chunks { start: region, end }).is_err() {
            dm::sleep_ms(NO_MEMORY_MS);
            return false;
        }
        if copier.regions.announced.len() >= MAX_ANNOUNCED {
            return true;
        }
        let entry = LogEntry::Region {
            region,
            epoch: known.epoch,
            period: known.period,
        };
        // Without a ticket the log has failed, which giving it up ends: there is always room for so
        // few entries.
        if let Some(ticket) = self.log.append(Lane::Copier, &[entry]) {
            known.ticket = ticket;
            if copier
                .regions
                .announced
                .push_within_capacity(known)
                .is_err()
            {
                dm::bug("there is no room for an announced region: it is announced again");
                return false;
            }
        }
        true
    }

    /// Lets chunks be marked in regions whose announcement is durable. `has_news` tells that
    /// something else has happened that bios which wait for a region may wait for.
    pub(super) fn open_regions(&self, copier: &mut Copier, has_news: bool) {
        let Some(present) = self.state.enter() else {
            // The opening lets the work run again.
            return;
        };
        let failed = self.log.has_failed();
        let before = copier.regions.announced.len();
        copier.regions.announced.retain(|known| {
            let durable = self.log.is_durable(Lane::Copier, known.ticket);
            let now = (known.epoch, known.period) == (present.epoch, present.period);
            if let (true, true, Some(regions)) = (durable, now, &present.regions) {
                // The leaf exists: `announce` has prepared it.
                regions.set(known.region);
            }
            // One whose epoch or period has ended stays too, so that the log never has more of
            // them.
            !durable && !failed
        });
        let ended = copier.regions.announced.len() < before;
        // Who still has to wait will do so again. As long as nothing has changed for them they are
        // left alone, as they may be many; who was refused, as too many regions were being
        // announced, waits for the end of one of these too.
        if ended || (has_news && failed) {
            copier.pending.append(&mut copier.regions.waiting);
        }
    }
}
