// SPDX-License-Identifier: GPL-2.0

//! Repairs of a store, where the outcome is provably right. There are two:
//!
//! - One superblock is damaged. The other one is what every reader goes by already; it is written to both places.
//! - A content is not what its checksum says. Nobody has it any longer, and a read of it is wrong, or at best an error: its
//!   entry in the index goes, by a checkpoint of everything else. Its chunk stays marked, and without a copy it is gone.
//!
//! Everything else stays as it is. With a damaged checkpoint, or a log that is damaged in its middle, it is not known
//! which snapshots there were, or what has changed since; the module gives up what cannot be relied on by itself. A content
//! that no record accounts for, or that cannot be read today, may be good.
//!
//! Each step leaves a store that is at least as good as it was (see [`commit`](crate::commit)).

#![forbid(unsafe_code)]

use std::collections::BTreeSet;

use serde::Serialize;

use crate::basis;
use crate::check::check;
use crate::commit;
use crate::copies::Known;
use crate::kept;
use crate::medium::Medium;
use crate::ondisk::STATE_ROLLBACK;
use crate::ondisk::SUPERBLOCKS;
use crate::report::Report;
use crate::store::Progress;
use crate::store::Result;
use crate::store::Store;
use crate::supers;
use crate::timeline::Place;

/// Lost contents that are listed; more are only counted.
const LISTED: usize = 1000;

/// What was repaired, and what a check says of the store then.
#[derive(Clone, Debug, Serialize)]
pub struct Repaired {
    /// What was done, and what is lost by it.
    pub repaired: Vec<String>,
    /// What is to be done about the damages that are left.
    pub advice: Vec<String>,
    /// The store as it is now.
    #[serde(flatten)]
    pub report: Report,
}

/// Checks a store, repairs what can be repaired, and checks it again.
pub fn repair(mut medium: impl Medium, progress: &dyn Progress) -> Result<Repaired> {
    let before = check(&mut medium, progress)?;
    let mut repaired = Vec::new();
    superblock(&mut medium, progress, &mut repaired)?;
    contents(&mut medium, progress, &before, &mut repaired)?;
    let report = match repaired.is_empty() {
        true => before,
        false => check(&mut medium, progress)?,
    };
    Ok(Repaired {
        repaired,
        advice: advice(&report),
        report,
    })
}

/// Writes the superblock that counts over one that is damaged.
fn superblock(
    medium: &mut impl Medium,
    progress: &dyn Progress,
    repaired: &mut Vec<String>,
) -> Result<()> {
    let mut store = Store::new(medium, progress)?;
    let pair = supers::read(&mut store)?;
    let Some(best) = supers::choose(&pair)? else {
        return Ok(());
    };
    let counts = pair[best].valid();
    let formatting = counts.is_none_or(|superblock| superblock.image_number.get() == 0);
    let other = pair.iter().zip(SUPERBLOCKS).find(|(seen, _)| {
        // A later version's is not ours to judge. Anything else the next activation would overwrite, too.
        !matches!(seen.status(), "valid" | "unsupported")
    });
    let Some((seen, at)) = other.filter(|_| !formatting) else {
        return Ok(());
    };
    let text = format!(
        "superblock {at} was {}: it is the same as superblock {} again; nothing is lost",
        seen.status(),
        SUPERBLOCKS[best]
    );
    commit::mirror(&mut store, &pair, best).map_err(|e| store.explain(e))?;
    repaired.push(text);
    Ok(())
}

/// Takes contents that are not what they were out of the index.
fn contents(
    medium: &mut impl Medium,
    progress: &dyn Progress,
    before: &Report,
    repaired: &mut Vec<String>,
) -> Result<()> {
    let bad: BTreeSet<(u64, u64)> = before.rotten.iter().copied().collect();
    let whole = |part: &str| ["superblock", "contents"].contains(&part);
    if bad.is_empty() || !before.damage.iter().all(|damage| whole(damage.part)) {
        return Ok(());
    }
    let mut store = Store::new(medium, progress)?;
    let pair = supers::read(&mut store)?;
    let best = supers::choose(&pair)?;
    let both = pair.iter().all(|seen| seen.valid().is_some());
    let counts = best.and_then(|i| pair[i].valid().copied());
    let Some((best, superblock)) = best.zip(counts).filter(|_| both) else {
        return Ok(());
    };
    if superblock.state.get() == STATE_ROLLBACK || supers::disagree(&pair) {
        return Ok(());
    }
    let (layout, known) = basis::recovered(&mut store, &superblock)?;
    let mut write = || {
        commit::mirror(&mut store, &pair, best)?;
        let rest = kept::without(&known, &layout, &bad)?;
        let mut superblock = commit::image(&mut store, &superblock, &layout, &rest)?;
        commit::superblocks(&mut store, &mut superblock)
    };
    write().map_err(|e| store.explain(e))?;
    for (epoch, chunk) in bad.iter().take(LISTED) {
        repaired.push(format!(
            "chunk {chunk} of epoch {epoch} is gone now, {}",
            of_snapshots(&known, *epoch, *chunk)
        ));
    }
    // CAST: A length in memory.
    if let more @ 1.. = bad.len().saturating_sub(LISTED) {
        repaired.push(format!("and {more} more chunks"));
    }
    Ok(())
}

/// Whose content it was.
fn of_snapshots(known: &Known, epoch: u64, chunk: u64) -> String {
    let timeline = &known.timeline;
    let loses = timeline.snapshots().iter().filter(|snapshot| {
        chunk < snapshot.released.len()
            && matches!(timeline.look(snapshot, chunk), Place::Epoch(first) if first.id == epoch)
    });
    let ids: Vec<String> = loses.map(|snapshot| snapshot.id.to_string()).collect();
    match ids.is_empty() {
        true => "and no snapshot needs it".into(),
        false => format!("for snapshot {}", ids.join(", ")),
    }
}

/// What is to be done about the damages that are left.
fn advice(report: &Report) -> Vec<String> {
    let anew =
        "what the snapshots were cannot be known any more: `preserve create --format` begins anew";
    let sentence = |part: &str, what: &str| {
        match part {
        "superblock" if what.contains("tracking is broken") => {
            "all snapshots are lost; the next activation begins anew by itself"
        }
        "superblock" if what.contains("is unsupported") => {
            "a later version of dm-preserve wrote it; use the preserve of that version"
        }
        "superblock" if what.contains("both superblocks are damaged") => anew,
        "superblock" => "which of the two is right is not known; nothing was changed",
        "layout" if what.contains("there are only") => "give the store its old size back",
        "layout" | "checkpoint" | "segments" => anew,
        "log" => "the next activation gives all snapshots up by itself, and begins anew",
        _ if report.store.as_ref().is_some_and(|store| store.state == "rollback") => {
            "finish the rollback first, with `preserve rollback --leave-lost`"
        }
        _ => {
            "contents that cannot be read, or that no record accounts for, may be good: see to the device, or drop the \
             snapshots that need them"
        }
    }
    };
    let mut advice: Vec<String> = Vec::new();
    for damage in &report.damage {
        let text = sentence(damage.part, &damage.what).to_string();
        if !advice.contains(&text) {
            advice.push(text);
        }
    }
    advice
}
