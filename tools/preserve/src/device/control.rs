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

pub use edit::Edit;
use explain::explain;
use explain::suspended;
use explain::unproven;
pub use snapshots::Take;

use super::block;
use super::block::Mapped;
use crate::device::dm;
use crate::device::ioctl;
use crate::device::ioctl::Call;
use crate::device::Source;
use crate::Error;
use crate::Result;
use dm_preserve_core::uapi::*;

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
        let live = Self::new(block::find(name)?)?;
        live.info()?;
        Ok(live)
    }

    /// All active live devices.
    pub fn all() -> Result<Vec<(Self, Info)>> {
        let mut found = Vec::new();
        for mapped in block::all()? {
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
            Err(e) => Err(self.explain("wait for an event", 0, e)),
        }
    }

    /// Vouches for everything that is unproven: its store had not failed.
    pub fn trust(&self) -> Result<()> {
        let mut argument = TrustStore {
            device: self.mapped.device,
            ..TrustStore::default()
        };
        self.call("vouch for its store", 0, Call::Trust(&mut argument))
    }

    fn call(&self, what: &str, id: u64, call: Call<'_>) -> Result<()> {
        ioctl::call(self.control.as_fd(), call).map_err(|e| self.explain(what, id, e))
    }

    /// An ioctl's failure in words; see [`explain`].
    fn explain(&self, what: &str, id: u64, e: io::Error) -> Error {
        let number = e.raw_os_error().map(Errno::from_raw_os_error);
        let may_be_suspended = matches!(number, Some(Errno::NODEV | Errno::TIMEDOUT));
        match may_be_suspended && self.is_suspended() {
            true => suspended(self.name(), what),
            false if self.is_unproven(id, &e) => unproven(self.name(), what, id),
            false => explain(self.name(), what, id, e),
        }
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

    /// Returns true if it is a preserve device that is suspended. One that was never active counts
    /// as well.
    fn is_suspended(&self) -> bool {
        let mut info = Info {
            device: self.mapped.device,
            ..Info::default()
        };
        match ioctl::call(self.control.as_fd(), Call::Info(&mut info)) {
            Ok(()) => info.state == STATE_SUSPENDED,
            Err(_) => block::is_suspended(self.mapped.device) && dm::is_preserve(self.name()),
        }
    }

    /// Fails if the device is suspended: for what would wait for its resume, and could not be
    /// interrupted.
    pub fn check_active(&self, what: &str) -> Result<()> {
        match self.is_suspended() {
            true => Err(suspended(self.name(), what)),
            false => Ok(()),
        }
    }
}
