// SPDX-License-Identifier: GPL-2.0

//! The check: from the superblocks to the last content, and what is wrong on the way.

#![forbid(unsafe_code)]

use kernel::alloc::host;
use uuid::Uuid;

use super::contents;
use super::report;
use super::report::*;
use crate::store::supers;
use crate::store::supers::Pair;
use crate::store::Medium;
use crate::store::Progress;
use crate::store::Result;
use crate::store::Store;
use crate::store::MEMORY;
use dm_preserve_core::format::Layout;
use dm_preserve_core::format::Superblock;
use dm_preserve_core::format::BLOCK_BYTES;
use dm_preserve_core::format::STATE_BROKEN;
use dm_preserve_core::format::STATE_ROLLBACK;
use dm_preserve_core::format::SUPERBLOCKS;
use dm_preserve_core::maps::SECTOR_BYTES;

/// Checks all of a store. What cannot be read at all, or is no store, is an error; what is damaged
/// is in the report.
pub fn check(medium: impl Medium, progress: &dyn Progress) -> Result<Report> {
    host::within(MEMORY, || check_all(medium, progress))
}

fn check_all(medium: impl Medium, progress: &dyn Progress) -> Result<Report> {
    let mut store = Store::new(medium, progress)?;
    let mut report = Report {
        bytes: store.blocks() * BLOCK_BYTES as u64,
        ..Report::default()
    };
    store.progress.part("metadata", None);
    if let Some(superblock) = superblocks(&mut store, &mut report)? {
        if let Some(layout) = layout(&store, &superblock, &mut report) {
            let mut check = Check {
                store,
                superblock,
                layout,
                report: &mut report,
            };
            if let Err(error) = check.run() {
                // What has been found already must not get lost for it.
                if report.damages == 0 {
                    return Err(error);
                }
                report.note(format!("the check ended early: {error}"));
            }
        }
    }
    report.clean = report.damages == 0;
    Ok(report)
}

fn superblocks(store: &mut Store<'_>, report: &mut Report) -> Result<Option<Superblock>> {
    let pair = supers::read(store)?;
    let best = supers::choose(&pair)?;
    report.superblocks = report::superblocks(&pair, best);
    let Some(superblock) = best.and_then(|i| pair[i].valid()).copied() else {
        report.damage("superblock", "both superblocks are damaged".into());
        return Ok(None);
    };
    other_superblock(&pair, &superblock, report);
    report.store = Some(Identity {
        uuid: Uuid::from_bytes(superblock.store),
        generation: Uuid::from_bytes(superblock.generation),
        state: supers::state(&superblock),
        rollback: Some(superblock.rollback.get()).filter(|id| *id != 0),
        on_error: supers::on_error(&superblock),
        unproven_up_to: Some(superblock.unproven.get()).filter(|id| *id != 0),
        boot: Uuid::from_bytes(superblock.boot),
        session: superblock.session.get(),
        chunk_bytes: u64::from(superblock.chunk_sectors.get()) * SECTOR_BYTES,
        origin_sectors: superblock.origin_sectors.get(),
    });
    match superblock.state.get() {
        STATE_BROKEN => report.damage(
            "superblock",
            "tracking is broken: the module could not log writes, and gave all snapshots up".into(),
        ),
        STATE_ROLLBACK => report.note(format!(
            "a rollback to snapshot {id} is under way, and the origin at no point in time until \
             that is finished: `preserve rollback {id} --origin ORIGIN --store STORE`",
            id = superblock.rollback
        )),
        _ if superblock.image_number.get() == 0 => {
            report.note("there is no checkpoint yet: formatting was cut short");
        }
        _ => (),
    }
    if supers::is_doubtful(&superblock) {
        report.note(
            "it was not closed, and its session let writes go on if it failed \
             (on_error=continue): whether it had failed is not known, so the next activation \
             takes its snapshots and bookmarks for unproven, or begins anew",
        );
    } else if superblock.unproven.get() != 0 {
        report.note(format!(
            "snapshots and bookmarks up to {} are unproven: `preserve trust NAME`, when it is \
             active, if you know that the store had not failed",
            superblock.unproven
        ));
    }
    if superblock.compatible.get() != 0 {
        report.note("it has features that this program does not know and need not");
    }
    Ok(Some(superblock))
}

/// What is wrong with the superblock that does not count, or with both together.
fn other_superblock(pair: &Pair, superblock: &Superblock, report: &mut Report) {
    let formatting = superblock.image_number.get() == 0;
    for (seen, at) in pair.iter().zip(SUPERBLOCKS) {
        match seen.status() {
            "valid" => (),
            "blank" if formatting => (),
            status => report.damage("superblock", format!("superblock {at} is {status}")),
        }
    }
    if let [Some(a), Some(b)] = [pair[0].valid(), pair[1].valid()] {
        if let Some(what) = supers::disagreement(a, b) {
            report.damage("superblock", format!("both are valid, but {what}"));
        } else if a.sequence != b.sequence {
            report
                .note("a crash came between the two superblocks; the next activation writes both");
        }
    }
}

fn layout(store: &Store<'_>, superblock: &Superblock, report: &mut Report) -> Option<Layout> {
    let Some(layout) = Layout::from_superblock(superblock) else {
        report.damage(
            "layout",
            "what it says cannot be: parts overlap, or are missing".into(),
        );
        return None;
    };
    report.layout = Some(LayoutReport {
        ring_start: layout.ring_start,
        ring_blocks: layout.ring_blocks,
        image_start: layout.image_start,
        image_blocks: layout.image_blocks,
        data_start: layout.data_start,
        segment_blocks: layout.segment_blocks,
        segments: layout.segments,
        used_segments: None,
    });
    let (has, needs) = (store.blocks(), layout.blocks());
    if has < needs {
        let text = format!("it needs {needs} blocks of 4 KiB; there are only {has}");
        report.damage("layout", text);
        // Not even the metadata is there.
        if has < layout.data_start {
            return None;
        }
    }
    if layout.grown(has) != layout {
        report.note("the device is larger than the store, which can grow into it");
    }
    Some(layout)
}

/// A check that has found a superblock and a layout.
pub(super) struct Check<'a, 'r> {
    pub(super) store: Store<'a>,
    pub(super) superblock: Superblock,
    pub(super) layout: Layout,
    pub(super) report: &'r mut Report,
}

impl Check<'_, '_> {
    fn run(&mut self) -> Result<()> {
        if self.superblock.state.get() == STATE_BROKEN || self.superblock.image_number.get() == 0 {
            return Ok(());
        }
        if !self.image_blocks()? {
            return Ok(());
        }
        let Some(place) = self.checkpoint()? else {
            return Ok(());
        };
        let Some(known) = self.log(place)? else {
            return Ok(());
        };
        self.epochs(&known)?;
        self.snapshots(&known)?;
        let checked = contents::check(
            &mut self.store,
            &self.superblock,
            &self.layout,
            &known,
            self.report,
        );
        checked.map_err(|e| self.store.explain(e))
    }
}
