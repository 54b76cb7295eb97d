// SPDX-License-Identifier: GPL-2.0

//! The repair of contents that are not what their checksum says: what still is not when it is read
//! again goes.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;

use kernel::error::code::EIO;

use super::whole::Repair;
use super::whole::Step;
use super::whole::DOUBT;
use crate::check::Rotten;
use crate::store::commit;
use crate::store::content;
use crate::store::recovered;
use crate::store::supers;
use crate::store::truncate;
use crate::store::Known;
use dm_preserve_core::format::Layout;
use dm_preserve_core::history::Whereabouts;

/// Contents that are listed; more are only counted.
const LISTED: usize = 1000;

impl Repair<'_> {
    /// Takes contents that are not what they were out of the index.
    pub(super) fn contents(&mut self) -> Step<()> {
        let before = &self.done.report;
        let whole = |part: &str| ["superblock", "contents"].contains(&part);
        if before.rotten.is_empty() || !before.damage.iter().all(|damage| whole(damage.part)) {
            return Ok(());
        }
        let end = before.log.as_ref().map(|log| log.first + log.records);
        let pair = supers::read(&mut self.store)?;
        let best = supers::choose(&pair)?;
        let both = pair.iter().all(|seen| seen.valid().is_some());
        let counts = best.and_then(|i| pair[i].valid().copied());
        let Some((best, superblock)) = best.zip(counts).filter(|_| both) else {
            return Ok(());
        };
        if superblock.rollback.get() != 0 || supers::disagree(&pair) {
            return Ok(());
        }
        let (layout, known) = recovered(&mut self.store, &superblock)?;
        if end != Some(known.place.sequence) {
            let text = "the log read differently the second time, and no content was given up";
            self.done.advice.push(format!("{text}: {DOUBT}"));
            return Ok(());
        }
        let bad = self.still_rotten(&layout)?;
        if bad.is_empty() {
            return Ok(());
        }
        let store = &mut self.store;
        let mut write = || {
            commit::mirror(store, &pair, best)?;
            let rest = truncate::without(&known, &layout, &bad)?;
            let mut superblock = commit::image(store, &superblock, &layout, &rest)?;
            commit::superblocks(store, &mut superblock)
        };
        if let Err(e) = write() {
            let why = self.store.explain(e);
            return Err(format!("contents could not be taken out of the index: {why}").into());
        }
        let gone = bad.iter().map(|(epoch, chunk)| {
            let whose = of_snapshots(&known, *epoch, *chunk);
            format!("chunk {chunk} of epoch {epoch} is gone now, {whose}")
        });
        list(gone, &mut self.done.repaired);
        Ok(())
    }

    /// The contents, each an epoch and a chunk, that are not what their checksum says the second
    /// time either.
    fn still_rotten(&mut self, layout: &Layout) -> Step<BTreeSet<(u64, u64)>> {
        let rotten = self.done.report.rotten.clone();
        let mut buffer = content::buffer(layout);
        // CAST: Lengths in memory.
        let bytes = (rotten.len() as u64).saturating_mul(buffer.len() as u64);
        self.store.progress.part("second look", Some(bytes));
        let mut bad = BTreeSet::new();
        let mut good = Vec::new();
        for Rotten {
            epoch,
            chunk,
            block,
            checksum,
        } in rotten
        {
            match content::checksum(&mut self.store, block, &mut buffer) {
                Ok(found) if found == checksum => good.push(format!(
                    "chunk {chunk} of epoch {epoch} read right the second time, and was left as \
                     it is: {DOUBT}"
                )),
                Ok(_) => _ = bad.insert((epoch, chunk)),
                Err(EIO) => good.push(format!(
                    "chunk {chunk} of epoch {epoch} could not be read the second time, and was \
                     left as it is: {}",
                    self.store.why()
                )),
                Err(e) => return Err(self.store.explain(e).into()),
            }
        }
        list(good.into_iter(), &mut self.done.advice);
        Ok(bad)
    }
}

/// Adds texts about chunks to a list that must not become too long.
fn list(texts: impl ExactSizeIterator<Item = String>, into: &mut Vec<String>) {
    let more = texts.len().saturating_sub(LISTED);
    into.extend(texts.take(LISTED));
    if more > 0 {
        into.push(format!("and {more} more chunks"));
    }
}

/// Whose content it was.
fn of_snapshots(known: &Known, epoch: u64, chunk: u64) -> String {
    let timeline = &known.timeline;
    let loses = timeline.snapshots().iter().filter(|snapshot| {
        chunk < snapshot.released.len()
            && matches!(
                timeline.look(snapshot, chunk),
                Whereabouts::Epoch(first) if first.id == epoch
            )
    });
    let ids: Vec<String> = loses.map(|snapshot| snapshot.id.to_string()).collect();
    match ids.is_empty() {
        true => "and no snapshot needs it".into(),
        false => format!("for snapshot {}", ids.join(", ")),
    }
}
