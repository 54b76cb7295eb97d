// SPDX-License-Identifier: GPL-2.0

//! A live device as the source of a backup.

#![forbid(unsafe_code)]

use std::os::fd::AsFd;

use rustix::io::Errno;
use uuid::Uuid;

use super::Live;
use super::LIST_BATCH;
use crate::device::ioctl;
use crate::device::ioctl::Call;
use crate::device::Identity;
use crate::device::Piece;
use crate::device::Query;
use crate::device::Source;
use crate::units::SECTOR;
use crate::Error;
use crate::Result;
use dm_preserve_core::uapi;
use dm_preserve_core::uapi::Extent;
use dm_preserve_core::uapi::ListExtents;
use dm_preserve_core::uapi::ReadFrozen;
use dm_preserve_core::uapi::ReleaseRange;
use dm_preserve_core::uapi::SnapshotInfo;
use dm_preserve_core::uapi::KIND_DATA;
use dm_preserve_core::uapi::KIND_HOLE;

impl Source for Live {
    fn name(&self) -> &str {
        &self.mapped.name
    }

    fn identity(&self) -> Result<Identity> {
        let info = self.info()?;
        let too_large = || {
            Error::Failed(format!(
                "{}: the module reports an impossible size",
                self.name()
            ))
        };
        Ok(Identity {
            generation: Uuid::from_bytes(info.generation),
            chunk_bytes: info
                .chunk_sectors
                .checked_mul(SECTOR as u32)
                .ok_or_else(too_large)?,
            origin_bytes: info
                .origin_sectors
                .checked_mul(SECTOR)
                .ok_or_else(too_large)?,
        })
    }

    fn find(&self, id: u64) -> Result<SnapshotInfo> {
        let found = self.at_least(id)?.filter(|entry| entry.id == id);
        found.ok_or_else(|| self.explain("use it", id, Errno::NOENT.into()))
    }

    fn list(&self, query: Query, start: u64) -> Result<(Vec<Extent>, u64)> {
        let mut extents = vec![Extent::default(); LIST_BATCH];
        let mut argument = ListExtents {
            device: self.mapped.device,
            from: query.from,
            to: query.to,
            start,
            mask: query.mask,
            value: query.value,
            ..ListExtents::default()
        };
        let call = Call::Extents(&mut argument, &mut extents);
        ioctl::call(self.control.as_fd(), call).map_err(|e| {
            // ENOENT does not say which of the two is missing.
            let id = if query.to != 0 && self.find(query.to).is_err() {
                query.to
            } else {
                query.from
            };
            self.explain("list extents", id, e)
        })?;
        extents.truncate(argument.count as usize);
        Ok((extents, argument.next))
    }

    fn read(&self, id: u64, start: u64, buffer: &mut [u8]) -> Result<Piece> {
        let mut argument = ReadFrozen {
            device: self.mapped.device,
            id,
            start: start / SECTOR,
            ..ReadFrozen::default()
        };
        let wanted = buffer.len() as u64;
        self.call("read it", id, Call::Read(&mut argument, buffer))?;
        let bytes = argument.sectors.saturating_mul(SECTOR).min(wanted);
        match argument.kind {
            KIND_DATA => Ok(Piece::Data(bytes as usize)),
            KIND_HOLE => Ok(Piece::Hole(bytes)),
            kind => Err(Error::Failed(format!(
                "{}: the module answers a read with the unknown kind {kind}",
                self.name()
            ))),
        }
    }

    fn release(&self, id: u64, range: uapi::Range) -> Result<()> {
        let mut argument = ReleaseRange {
            device: self.mapped.device,
            id,
            range,
            ..ReleaseRange::default()
        };
        self.call("release a range", id, Call::Release(&mut argument))
    }
}
