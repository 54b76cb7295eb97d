// SPDX-License-Identifier: GPL-2.0

//! `status`: everything the module says about a live device.

#![forbid(unsafe_code)]

use std::time::Duration;
use std::time::UNIX_EPOCH;

use preserve::device::Live;
use preserve::device::Source;
use preserve::uapi;
use preserve::units;
use preserve::units::SECTOR;
use preserve::Result;
use serde::Serialize;
use uuid::Uuid;

use crate::output::Output;

/// A snapshot or bookmark.
#[derive(Serialize)]
pub struct Entry {
    pub id: u64,
    pub kind: &'static str,
    pub time_ns: u64,
    pub time: String,
    pub scope: &'static str,
    pub base: u64,
    pub epoch: u64,
}

/// A live device.
#[derive(Serialize)]
struct Status {
    name: String,
    major: u32,
    minor: u32,
    generation: Uuid,
    state: &'static str,
    chunk_bytes: u64,
    origin_sectors: u64,
    store_sectors: u64,
    store_used_sectors: u64,
    latest: u64,
    epoch: u64,
    changed_chunks: u64,
    backup_chunks: u64,
    protected_chunks: u64,
    preserved_chunks: u64,
    waited_writes: u64,
    gone_chunks: u64,
    invalidated: u64,
    event: u64,
    damaged_reads: u64,
    unproven_up_to: u64,
    snapshots: Vec<Entry>,
}

pub fn status(name: Option<&str>, output: Output) -> Result<()> {
    if let Some(name) = name {
        let live = Live::open(name)?;
        let status = Status::new(&live, &live.info()?)?;
        return output.result(&status, || status.text());
    }
    let all = Live::all()?
        .iter()
        .map(|(live, info)| Status::new(live, info))
        .collect::<Result<Vec<_>>>()?;
    output.result(&all, || match all.is_empty() {
        true => "no active preserve device".to_string(),
        false => all.iter().map(Status::text).collect::<Vec<_>>().join("\n"),
    })
}

impl From<&uapi::SnapshotInfo> for Entry {
    fn from(info: &uapi::SnapshotInfo) -> Self {
        Entry {
            id: info.id,
            kind: if info.kind == uapi::KIND_SNAPSHOT {
                "snapshot"
            } else {
                "bookmark"
            },
            time_ns: info.time_ns,
            time: time(info.time_ns),
            scope: if info.scope == uapi::SCOPE_FULL {
                "full"
            } else {
                "incremental"
            },
            base: info.base,
            epoch: info.epoch,
        }
    }
}

impl Status {
    fn new(live: &Live, info: &uapi::Info) -> Result<Self> {
        Ok(Status {
            name: live.name().to_string(),
            major: info.device.major,
            minor: info.device.minor,
            generation: Uuid::from_bytes(info.generation),
            state: match info.state {
                uapi::STATE_ACTIVE => "active",
                uapi::STATE_SUSPENDED => "suspended",
                uapi::STATE_BLOCKED => "blocked",
                uapi::STATE_FAILED => "failed",
                _ => "unknown",
            },
            chunk_bytes: u64::from(info.chunk_sectors).saturating_mul(SECTOR),
            origin_sectors: info.origin_sectors,
            store_sectors: info.store_sectors,
            store_used_sectors: info.store_used_sectors,
            latest: info.latest,
            epoch: info.epoch,
            changed_chunks: info.changed_chunks,
            backup_chunks: info.backup_chunks,
            protected_chunks: info.protected_chunks,
            preserved_chunks: info.preserved_chunks,
            waited_writes: info.waited_writes,
            gone_chunks: info.gone_chunks,
            invalidated: info.invalidated,
            event: info.event,
            damaged_reads: info.damaged_reads,
            unproven_up_to: info.unproven,
            snapshots: live.snapshots()?.iter().map(Entry::from).collect(),
        })
    }

    fn text(&self) -> String {
        let size = |sectors: u64| units::human(sectors.saturating_mul(SECTOR));
        let mut text = format!(
            "{}: {}, {} in chunks of {}, generation {}\n\
             \x20 store: {} of {} used, {} chunks preserved\n\
             \x20 chunks: {} protected, {} changed since the latest snapshot, {} in the backup \
             map\n\
             \x20 since activation: {} writes waited, {} chunks gone, {} snapshots given up, {} \
             reads found damage\n",
            self.name,
            self.state,
            size(self.origin_sectors),
            units::human(self.chunk_bytes),
            self.generation,
            size(self.store_used_sectors),
            size(self.store_sectors),
            self.preserved_chunks,
            self.protected_chunks,
            self.changed_chunks,
            self.backup_chunks,
            self.waited_writes,
            self.gone_chunks,
            self.invalidated,
            self.damaged_reads,
        );
        for Entry {
            id,
            kind,
            time,
            scope,
            base,
            ..
        } in &self.snapshots
        {
            let base = if *base == 0 {
                String::new()
            } else {
                format!(" from {base}")
            };
            let unproven = match *id <= self.unproven_up_to {
                true => ", unproven",
                false => "",
            };
            text += &format!("  {kind} {id}: {time}, {scope}{base}{unproven}\n");
        }
        text
    }
}

/// Nanoseconds since 1970 for people; the format ends with the year 9999, the module's time need
/// not.
fn time(ns: u64) -> String {
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_nanos(ns)).to_string()
}
