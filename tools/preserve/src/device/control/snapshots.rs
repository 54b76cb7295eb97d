// SPDX-License-Identifier: GPL-2.0

//! Taking, listing and dropping snapshots of a live device.

#![forbid(unsafe_code)]

use std::os::fd::AsFd;

use rustix::io::Errno;

use super::Live;
use crate::device::ioctl;
use crate::device::ioctl::Call;
use crate::device::Source;
use crate::Error;
use crate::Result;
use dm_preserve_core::uapi::SnapshotDevice;
use dm_preserve_core::uapi::SnapshotInfo;
use dm_preserve_core::uapi::SnapshotRef;
use dm_preserve_core::uapi::TakeSnapshot;
use dm_preserve_core::uapi::KIND_SNAPSHOT;
use dm_preserve_core::uapi::SCOPE_FULL;
use dm_preserve_core::uapi::SCOPE_INCREMENTAL;
use dm_preserve_core::uapi::SNAPSHOT_FREEZE;

/// How to take a snapshot.
#[derive(Clone, Copy, Debug, Default)]
pub struct Take {
    /// Preserve only what changed since this base; `Some(0)` is the latest snapshot.
    pub base: Option<u64>,
    /// Freeze the filesystem on the device around the instant.
    pub freeze: bool,
    /// Wait until no write has been in flight for so long.
    pub idle_ms: u32,
    /// Give up waiting after so long.
    pub timeout_ms: u32,
    /// Snapshots to keep, with the new one.
    pub keep: u32,
}

impl Live {
    /// All snapshots and bookmarks, oldest first.
    pub fn snapshots(&self) -> Result<Vec<SnapshotInfo>> {
        let mut found = Vec::new();
        let mut least = Some(1);
        while let Some(id) = least {
            let Some(entry) = self.at_least(id)? else {
                break;
            };
            least = entry.id.checked_add(1);
            found.push(entry);
        }
        Ok(found)
    }

    /// The snapshot or bookmark with the lowest id from `id` on.
    pub(super) fn at_least(&self, id: u64) -> Result<Option<SnapshotInfo>> {
        let mut entry = SnapshotInfo {
            device: self.mapped.device,
            id,
            ..SnapshotInfo::default()
        };
        match ioctl::call(self.control.as_fd(), Call::SnapshotInfo(&mut entry)) {
            Err(e) if e.raw_os_error() == Some(Errno::NOENT.raw_os_error()) => Ok(None),
            Err(e) => Err(self.explain("list the snapshots", id, e)),
            // Anything else would let a listing run for ever.
            Ok(()) if entry.id < id => Ok(None),
            Ok(()) => Ok(Some(entry)),
        }
    }

    /// The latest live snapshot.
    pub fn latest(&self) -> Result<u64> {
        let snapshots = self.snapshots()?;
        let latest = snapshots.iter().rev().find(|s| s.kind == KIND_SNAPSHOT);
        latest.map(|s| s.id).ok_or_else(|| {
            let name = self.name();
            Error::Missing(format!(
                "{name} has no snapshot; take one with `preserve snapshot {name}`"
            ))
        })
    }

    /// Takes a snapshot and returns its id.
    pub fn take(&self, take: &Take) -> Result<u64> {
        let base = take.base.unwrap_or(0);
        let mut devices = [SnapshotDevice {
            device: self.mapped.device,
            base,
            id: 0,
        }];
        let mut argument = TakeSnapshot {
            flags: if take.freeze { SNAPSHOT_FREEZE } else { 0 },
            scope: if take.base.is_some() {
                SCOPE_INCREMENTAL
            } else {
                SCOPE_FULL
            },
            keep: take.keep,
            idle_ms: take.idle_ms,
            timeout_ms: take.timeout_ms,
            ..TakeSnapshot::default()
        };
        self.call(
            "take a snapshot",
            base,
            Call::Snapshot(&mut argument, &mut devices),
        )?;
        Ok(devices[0].id)
    }

    /// Drops a snapshot; its bookmark stays.
    pub fn drop_snapshot(&self, id: u64) -> Result<()> {
        self.call("drop the snapshot", id, Call::Drop(&mut self.reference(id)))
    }

    /// Forgets a bookmark.
    pub fn forget(&self, id: u64) -> Result<()> {
        self.call(
            "forget the bookmark",
            id,
            Call::Forget(&mut self.reference(id)),
        )
    }

    fn reference(&self, id: u64) -> SnapshotRef {
        SnapshotRef {
            device: self.mapped.device,
            id,
            ..SnapshotRef::default()
        }
    }
}
