// SPDX-License-Identifier: GPL-2.0

//! Block devices opened by number: the simulated [drives](crate::drive).

#![forbid(unsafe_code)]

use crate::drive;
use crate::drive::Drive;
use crate::drive::Request;
use kernel::prelude::*;
use std::fmt;
use std::sync::Arc;

/// The number of a block device.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct DevT(pub u32);

impl fmt::Display for DevT {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "254:{}", self.0)
    }
}

/// An open block device.
pub struct BlockDevice {
    drive: Arc<Drive>,
}

impl BlockDevice {
    /// Opens a device.
    ///
    /// Errors: `ENODEV` if there is none with this number.
    pub fn open(devt: DevT, _write: bool) -> Result<Self> {
        kernel::machine::might_sleep();
        let drive = drive::find(devt).ok_or(ENODEV)?;
        Ok(Self { drive })
    }

    /// Returns its size in sectors.
    pub fn sectors(&self) -> u64 {
        self.drive.sectors()
    }

    /// Returns the size of its logical block in sectors: 512 bytes.
    pub fn block_sectors(&self) -> u64 {
        1
    }

    /// Flushes its cache.
    ///
    /// Errors: `EIO`.
    pub fn flush(&self) -> Result {
        self.drive.run(Request::Flush).map(|_| ())
    }

    /// Returns its number.
    pub fn devt(&self) -> DevT {
        self.drive.devt()
    }

    /// Returns true if others use it too. Nobody does.
    pub fn is_shared(&self) -> bool {
        false
    }

    pub(crate) fn drive(&self) -> &Arc<Drive> {
        &self.drive
    }
}
