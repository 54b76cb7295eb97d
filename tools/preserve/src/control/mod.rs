// SPDX-License-Identifier: GPL-2.0

//! A live device through `/dev/preserve-control`: one method per ioctl, errors in words.

#![forbid(unsafe_code)]

mod edit;
mod explain;
mod snapshots;
mod source;

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use rustix::io::Errno;

use explain::explain;
use explain::unproven;
pub use snapshots::Take;

use crate::device;
use crate::device::Mapped;
use crate::ioctl;
use crate::ioctl::Call;
use crate::source::Source;
use crate::uapi::*;
use crate::Error;
use crate::Result;

/// Extents asked for at a time.
const LIST_BATCH: usize = 4096;

/// A live device.
pub struct Live {
    control: File,
    mapped: Mapped,
}

impl Live {
    /// Opens the live device that a name means.
    pub fn open(name: &str) -> Result<Self> {
        let live = Self::new(device::find(name)?)?;
        live.info()?;
        Ok(live)
    }

    /// All active live devices.
    pub fn all() -> Result<Vec<(Self, Info)>> {
        let mut found = Vec::new();
        for mapped in device::all()? {
            let live = Self::new(mapped)?;
            match live.info() {
                Ok(info) => found.push((live, info)),
                Err(Error::Missing(_)) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(found)
    }

    fn new(mapped: Mapped) -> Result<Self> {
        let control = File::options()
            .read(true)
            .write(true)
            .open(CONTROL_PATH)
            .map_err(|e| {
                let remedy = match e.kind() {
                    io::ErrorKind::PermissionDenied => "be root",
                    _ => "load the module (insmod dm-preserve.ko)",
                };
                Error::Failed(format!("cannot open {CONTROL_PATH}: {e}; {remedy}"))
            })?;
        Ok(Live { control, mapped })
    }

    /// The device-mapper device.
    pub fn mapped(&self) -> &Mapped {
        &self.mapped
    }

    /// Sizes, counts and state.
    pub fn info(&self) -> Result<Info> {
        let mut info = Info {
            device: self.mapped.device,
            ..Info::default()
        };
        self.call("look at the device", 0, Call::Info(&mut info))?;
        if info.chunk_sectors == 0 || info.origin_sectors == 0 {
            return Err(Error::Failed(format!(
                "{}: the module reports an impossible size",
                self.name()
            )));
        }
        Ok(info)
    }

    /// Waits for an event after `event`; returns its number and kinds, or `None` after the timeout.
    pub fn wait(&self, event: u64, timeout_ms: u32) -> Result<Option<(u64, u32)>> {
        let mut argument = WaitEvent {
            device: self.mapped.device,
            event,
            timeout_ms,
            ..WaitEvent::default()
        };
        match ioctl::call(self.control.as_fd(), Call::Wait(&mut argument)) {
            Ok(()) => Ok(Some((argument.event, argument.kinds))),
            Err(e) if e.raw_os_error() == Some(Errno::TIMEDOUT.raw_os_error()) => Ok(None),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(None),
            Err(e) => Err(explain(self.name(), "wait for an event", 0, e)),
        }
    }

    /// Vouches for everything that is unproven: its store had not failed.
    pub fn trust(&self) -> Result<()> {
        let mut argument = Trust {
            device: self.mapped.device,
            ..Trust::default()
        };
        self.call("vouch for its store", 0, Call::Trust(&mut argument))
    }

    fn call(&self, what: &str, id: u64, call: Call<'_>) -> Result<()> {
        ioctl::call(self.control.as_fd(), call).map_err(|e| match self.is_unproven(id, &e) {
            true => unproven(self.name(), what, id),
            false => explain(self.name(), what, id, e),
        })
    }

    /// Returns true if an error means that a snapshot or bookmark (0: the latest) is unproven,
    /// rather than damaged.
    fn is_unproven(&self, id: u64, e: &io::Error) -> bool {
        let mut info = Info {
            device: self.mapped.device,
            ..Info::default()
        };
        e.raw_os_error() == Some(Errno::UCLEAN.raw_os_error())
            && ioctl::call(self.control.as_fd(), Call::Info(&mut info)).is_ok()
            && id <= info.unproven
    }
}
