// SPDX-License-Identifier: GPL-2.0

//! The control device with plain error numbers: tests compare these, where the tool explains them.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;

use preserve::device::ioctl::call;
use preserve::device::ioctl::Call;
use preserve::uapi::*;

use crate::disk::Buffer;

/// The control device, for one live device.
pub struct Control {
    file: File,
    device: DeviceNumber,
}

/// What a frozen read found.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// So many sectors of data.
    Data(u64),
    /// So many unprotected sectors.
    Hole(u64),
}

/// Opens the control device.
pub fn open() -> io::Result<File> {
    File::options().read(true).write(true).open(CONTROL_PATH)
}

impl Control {
    /// For a device with this number, whatever it is.
    pub fn open(device: DeviceNumber) -> io::Result<Self> {
        Ok(Control {
            file: open()?,
            device,
        })
    }

    /// Lets go of the control device, so that the module can be unloaded.
    pub fn close(&mut self) -> io::Result<()> {
        self.file = File::open("/dev/null")?;
        Ok(())
    }

    /// The file, for malformed requests.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    fn call(&self, request: Call<'_>) -> io::Result<()> {
        call(self.file.as_fd(), request)
    }

    /// Takes a full snapshot.
    pub fn snapshot(&self) -> io::Result<u64> {
        self.take(TakeSnapshot::default(), 0)
    }

    /// Takes an incremental snapshot; base 0 is the latest.
    pub fn incremental(&self, base: u64) -> io::Result<u64> {
        let scope = SCOPE_INCREMENTAL;
        self.take(
            TakeSnapshot {
                scope,
                ..TakeSnapshot::default()
            },
            base,
        )
    }

    /// Takes a snapshot and keeps so many, with it; a base makes it incremental.
    pub fn snapshot_keeping(&self, base: Option<u64>, keep: u32) -> io::Result<u64> {
        let scope = match base {
            Some(_) => SCOPE_INCREMENTAL,
            None => SCOPE_FULL,
        };
        let argument = TakeSnapshot {
            scope,
            keep,
            ..TakeSnapshot::default()
        };
        self.take(argument, base.unwrap_or(0))
    }

    /// Takes a snapshot as the argument says.
    pub fn take(&self, mut argument: TakeSnapshot, base: u64) -> io::Result<u64> {
        let mut devices = [SnapshotDevice {
            device: self.device,
            base,
            id: 0,
        }];
        self.call(Call::Snapshot(&mut argument, &mut devices))?;
        Ok(devices[0].id)
    }

    fn reference(&self, id: u64) -> SnapshotRef {
        SnapshotRef {
            device: self.device,
            id,
            ..SnapshotRef::default()
        }
    }

    /// Drops a snapshot.
    pub fn drop_snapshot(&self, id: u64) -> io::Result<()> {
        self.call(Call::Drop(&mut self.reference(id)))
    }

    /// Forgets a bookmark.
    pub fn forget(&self, id: u64) -> io::Result<()> {
        self.call(Call::Forget(&mut self.reference(id)))
    }

    /// Protects ranges of sectors, or unprotects them.
    pub fn edit(&self, protect: bool, ranges: &[Range]) -> io::Result<()> {
        let mut argument = EditRanges {
            flags: if protect { 0 } else { EDIT_UNPROTECT },
            device: self.device,
            ..EditRanges::default()
        };
        self.call(Call::Edit(&mut argument, ranges))
    }

    /// Lists all runs of chunks of which `attributes & mask == value`.
    pub fn extents(&self, from: u64, to: u64, mask: u32, value: u32) -> io::Result<Vec<Extent>> {
        let info = self.info()?;
        let chunks = info.origin_sectors.div_ceil(u64::from(info.chunk_sectors));
        let mut found = Vec::new();
        let mut start = 0;
        while start < chunks {
            let mut batch = vec![Extent::default(); 100];
            let mut argument = ListExtents {
                device: self.device,
                from,
                to,
                start,
                mask,
                value,
                ..ListExtents::default()
            };
            self.call(Call::Extents(&mut argument, &mut batch))?;
            if argument.next <= start || argument.next > chunks {
                return Err(io::Error::other(format!(
                    "the listing goes from {start} to {} of {chunks}",
                    argument.next
                )));
            }
            found.extend(batch.into_iter().take(argument.count as usize));
            start = argument.next;
        }
        Ok(found)
    }

    /// The chunks of which `attributes & mask == value`.
    pub fn chunks(&self, from: u64, to: u64, mask: u32, value: u32) -> io::Result<Vec<u64>> {
        let extents = self.extents(from, to, mask, value)?;
        Ok(extents
            .iter()
            .flat_map(|e| e.start..e.start + e.len)
            .collect())
    }

    /// Reads frozen content from sector `start` on.
    pub fn read(&self, id: u64, start: u64, buffer: &mut Buffer) -> io::Result<Piece> {
        let mut argument = ReadFrozen {
            device: self.device,
            id,
            start,
            ..ReadFrozen::default()
        };
        self.call(Call::Read(&mut argument, buffer))?;
        match argument.kind {
            KIND_DATA => Ok(Piece::Data(argument.sectors)),
            KIND_HOLE => Ok(Piece::Hole(argument.sectors)),
            kind => Err(io::Error::other(format!("unknown kind {kind}"))),
        }
    }

    /// Releases a range of sectors.
    pub fn release(&self, id: u64, start: u64, len: u64) -> io::Result<()> {
        let mut argument = ReleaseRange {
            device: self.device,
            id,
            range: Range { start, len },
            ..ReleaseRange::default()
        };
        self.call(Call::Release(&mut argument))
    }

    /// Sizes, counts and state.
    pub fn info(&self) -> io::Result<Info> {
        let mut info = Info {
            device: self.device,
            ..Info::default()
        };
        self.call(Call::Info(&mut info))?;
        Ok(info)
    }

    /// The snapshot or bookmark with the lowest id from `id` on.
    pub fn at_least(&self, id: u64) -> io::Result<SnapshotInfo> {
        let mut info = SnapshotInfo {
            device: self.device,
            id,
            ..SnapshotInfo::default()
        };
        self.call(Call::SnapshotInfo(&mut info))?;
        Ok(info)
    }

    /// Waits for an event after `event`: the present number, and which kinds there were.
    pub fn wait(&self, event: u64, timeout_ms: u32) -> io::Result<(u64, u32)> {
        let mut argument = WaitEvent {
            device: self.device,
            event,
            timeout_ms,
            ..WaitEvent::default()
        };
        self.call(Call::Wait(&mut argument))?;
        Ok((argument.event, argument.kinds))
    }

    /// The module's version.
    pub fn version(&self) -> io::Result<Version> {
        let mut version = Version::default();
        self.call(Call::Version(&mut version))?;
        Ok(version)
    }
}
