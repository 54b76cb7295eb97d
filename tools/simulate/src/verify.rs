// SPDX-License-Identifier: GPL-2.0

//! Compares a device with what the oracle knows: I1 (frozen content is right, or an error) and I3
//! (what has changed is marked).

#![forbid(unsafe_code)]

use crate::config::Config;
use crate::config::Faults;
use crate::mapped::Mapped;
use crate::oracle::Image;
use crate::oracle::Oracle;
use crate::oracle::Snap;
use dm_preserve_core::history::Snapshot;
use dm_preserve_engine::engine::Kind;
use dm_preserve_engine::engine::ReadBuffer;
use dm_preserve_engine::engine::Timeline;
use dm_shim::errors::ENODATA;
use kernel::prelude::*;
use kernel::sync::Arc;
use sim::Data;

/// What is said of content that is wrong: never right, whatever else has failed.
pub(crate) const WRONG: &str = "I1: wrong content of chunk";

/// Compares what a device has recovered. `now` is what is on the origin. Returns the snapshots that
/// are there, as the oracle knows them.
pub(crate) fn recovered(
    config: &Config,
    mapped: &Mapped,
    known: &Oracle,
    now: &Image,
) -> Result<Oracle, String> {
    let timeline = mapped.engine.state().timeline();
    let mut found = known.clone();
    if mapped.engine.state().next_id() == known.next_id + 1 {
        let id = known.next_id;
        found
            .taking
            .as_ref()
            .ok_or(format!("snapshot {id} was never taken"))?;
        found.taken(id, config);
    } else if mapped.engine.state().next_id() != known.next_id {
        let next = mapped.engine.state().next_id();
        return Err(format!("next id {next}, not {}", known.next_id));
    }
    found.taking = None;
    known_ids(&timeline, &found)?;
    let there: Vec<u64> = found.snaps.keys().copied().collect();
    for id in there {
        let snap = found.snaps[&id].clone();
        match timeline.entry(id) {
            None if snap.may_be_gone => {
                found.snaps.remove(&id);
            }
            None => return Err(format!("snapshot {id} is lost")),
            Some(entry) => {
                snapshot(config, mapped, &timeline, entry, &snap)
                    .and_then(|()| marks(config, &timeline, entry, &found, &snap, now))
                    .map_err(|what| format!("snapshot {id}: {what}"))?;
                found.snaps.get_mut(&id).unwrap().is_dropped = entry.is_dropped();
                found.snaps.get_mut(&id).unwrap().may_be_gone = entry.is_dropped();
            }
        }
    }
    found.protected = designation(config, mapped, &found)?;
    found.edited = None;
    Ok(found)
}

/// Makes sure that there is no snapshot that nobody knows.
fn known_ids(timeline: &Timeline, known: &Oracle) -> Result<(), String> {
    let all = timeline.snapshots().iter().chain(timeline.bookmarks());
    for entry in all {
        if !known.snaps.contains_key(&entry.id) {
            return Err(format!("snapshot {} comes from nowhere", entry.id));
        }
    }
    Ok(())
}

/// Returns which hot chunks are protected: as before the edit that was under way, or as after it.
fn designation(config: &Config, mapped: &Mapped, known: &Oracle) -> Result<Vec<bool>, String> {
    let designation = mapped.engine.state().designation();
    let now: Vec<bool> = config
        .hot
        .iter()
        .map(|chunk| designation.get(*chunk))
        .collect();
    let is_known = now == known.protected || known.edited.as_ref() == Some(&now);
    match is_known {
        true => Ok(now),
        false => Err(format!("designation {now:?}, not {:?}", known.protected)),
    }
}

/// Compares a snapshot's frozen content.
pub(crate) fn snapshot(
    config: &Config,
    mapped: &Mapped,
    timeline: &Timeline,
    entry: &Arc<Snapshot>,
    snap: &Snap,
) -> Result<(), String> {
    if entry.is_dropped() || timeline.snapshot(entry.id).is_none() {
        return match snap.may_be_gone {
            true => Ok(()),
            false => Err("has been dropped".into()),
        };
    }
    let frozen = mapped.engine.frozen();
    let mut buffer = ReadBuffer::new(frozen).map_err(|error| format!("buffer: {error:?}"))?;
    for hot in 0..config.hot.len() {
        if snap.at.image[hot].is_empty() {
            continue;
        }
        match chunk(config, mapped, entry.id, hot, &mut buffer) {
            Ok(Some(data)) if data != snap.at.image[hot] => {
                return Err(format!("{WRONG} {}", config.hot[hot]));
            }
            Ok(None) if snap.at.protected[hot] && !snap.keep_unprotected => {
                return Err(format!("I1: chunk {} is not protected", config.hot[hot]));
            }
            Ok(Some(_)) if !snap.at.protected[hot] && !snap.keep_unprotected => {
                return Err(format!(
                    "chunk {} is not protected, and is shown",
                    config.hot[hot]
                ));
            }
            Ok(_) => (),
            Err(ENODATA) if !snap.wants(hot) || config.faults == Faults::Origin => (),
            Err(ENOENT) if snap.may_be_gone => return Ok(()),
            Err(error) => {
                return Err(format!("I1: chunk {}: {error:?}", config.hot[hot]));
            }
        }
    }
    Ok(())
}

/// Reads a chunk of a snapshot; `None` if it is not protected.
///
/// Errors: those of reading frozen content.
pub(crate) fn chunk(
    config: &Config,
    mapped: &Mapped,
    id: u64,
    hot: usize,
    buffer: &mut ReadBuffer,
) -> Result<Option<Vec<Data>>> {
    let start = config.hot[hot] * config.chunk_sectors();
    let end = start + config.chunk_sectors();
    let mut blocks = Vec::new();
    let mut at = start;
    while at < end {
        let piece = mapped
            .engine
            .frozen()
            .read_frozen(id, at, end - at, buffer)?;
        if piece.kind == Kind::Hole {
            return Ok(None);
        }
        assert!(piece.sectors > 0, "a read of nothing");
        for n in 0..piece.sectors / 8 {
            let offset = u64::from(piece.offset) + n * 4096;
            blocks.push(buffer.io.page(offset).unwrap().clone());
        }
        at += piece.sectors;
    }
    Ok(Some(blocks))
}

/// Makes sure that what has changed since a snapshot is marked, up to each later one and up to now.
fn marks(
    config: &Config,
    timeline: &Timeline,
    entry: &Snapshot,
    known: &Oracle,
    snap: &Snap,
    now: &Image,
) -> Result<(), String> {
    let mut later: Vec<(&Image, u64)> = vec![(now, u64::MAX)];
    for (id, other) in known.snaps.range(entry.id + 1..) {
        if let Some(other_entry) = timeline.entry(*id) {
            later.push((&other.at.image, other_entry.epoch));
        }
    }
    for (image, epoch) in later {
        for (hot, chunk) in config.hot.iter().enumerate() {
            let (before, after) = (&snap.at.image[hot], &image[hot]);
            let has_changed = !before.is_empty() && before != after;
            if has_changed && !timeline.marked(*chunk, entry.epoch, epoch) {
                return Err(format!(
                    "I3: chunk {chunk} has changed up to {epoch}, but no mark"
                ));
            }
        }
    }
    Ok(())
}
