// SPDX-License-Identifier: GPL-2.0

//! Device-mapper devices, through `dmsetup`.

#![forbid(unsafe_code)]

use std::thread;
use std::time::Duration;

use anyhow::ensure;
use anyhow::Result;
use preserve::device;
use preserve::uapi::DeviceNumber;

use crate::cmd;
use crate::cmd::Output;
use crate::disk::Disk;
use crate::node;

/// A device-mapper device; removed when dropped.
pub struct Dm {
    name: String,
    path: String,
    device: DeviceNumber,
    removed: bool,
}

impl Dm {
    /// Creates a device with a table.
    pub fn create(name: &str, table: &str) -> Result<Self> {
        cmd::run_with("dmsetup", &["create", "--noudevsync", name], table)?;
        Self::adopt(name)
    }

    /// Creates a read-only device with a table.
    pub fn create_readonly(name: &str, table: &str) -> Result<Self> {
        let args = ["create", "--noudevsync", "--readonly", name];
        cmd::run_with("dmsetup", &args, table)?;
        Self::adopt(name)
    }

    /// Takes over a device that exists.
    pub fn adopt(name: &str) -> Result<Self> {
        let mapped = device::find(name)?;
        // From here on it goes when this is dropped.
        let dm = Dm {
            name: mapped.name,
            path: format!("/dev/dm-{}", mapped.device.minor),
            device: mapped.device,
            removed: false,
        };
        node::check(&dm.path)?;
        Ok(dm)
    }

    /// A device that shows a part of another.
    pub fn linear(name: &str, path: &str, start: u64, sectors: u64) -> Result<Self> {
        Self::create(name, &format!("0 {sectors} linear {path} {start}"))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its node.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Its number.
    pub fn device(&self) -> DeviceNumber {
        self.device
    }

    /// Runs `dmsetup VERB ARGS NAME`.
    fn verb(&self, verb: &str, args: &[&str], input: &str) -> Result<String> {
        let all = [&[verb], args, &[&self.name]].concat();
        cmd::run_with("dmsetup", &all, input)
    }

    /// Suspends it, with all I/O finished.
    pub fn suspend(&self) -> Result<()> {
        self.verb("suspend", &["--nolockfs"], "").map(drop)
    }

    /// Suspends it; I/O that cannot finish is kept.
    pub fn suspend_noflush(&self) -> Result<()> {
        self.verb("suspend", &["--nolockfs", "--noflush"], "")
            .map(drop)
    }

    /// Resumes it, with the new table if there is one.
    pub fn resume(&self) -> Result<()> {
        self.verb("resume", &["--noudevsync"], "").map(drop)
    }

    /// Loads a table for the next resume.
    pub fn load(&self, table: &str) -> Result<()> {
        self.verb("load", &[], table).map(drop)
    }

    /// Throws away a loaded table.
    pub fn clear(&self) -> Result<()> {
        self.verb("clear", &[], "").map(drop)
    }

    /// Exchanges the table.
    pub fn swap(&self, table: &str) -> Result<()> {
        self.load(table)?;
        self.suspend()?;
        self.resume()
    }

    /// Exchanges the table without waiting for I/O.
    pub fn swap_noflush(&self, table: &str) -> Result<()> {
        self.load(table)?;
        self.suspend_noflush()?;
        self.resume()
    }

    /// The status line.
    pub fn status(&self) -> Result<String> {
        Ok(self
            .verb("status", &["--noflush"], "")?
            .trim_end()
            .to_string())
    }

    /// The table line.
    pub fn table(&self) -> Result<String> {
        Ok(self.verb("table", &[], "")?.trim_end().to_string())
    }

    /// Sends a message, whatever comes of it.
    pub fn try_message(&self, message: &str) -> Result<Output> {
        let words: Vec<&str> = message.split(' ').collect();
        // Words may look like options.
        let all = [&["--", "message", self.name.as_str(), "0"], &words[..]].concat();
        cmd::output("dmsetup", &all, "")
    }

    /// Sends a message that must succeed; the result is the reply.
    pub fn message(&self, message: &str) -> Result<String> {
        let output = self.try_message(message)?;
        ensure!(output.ok, "message {message:?}: {}", output.stderr.trim());
        Ok(output.stdout.trim().to_string())
    }

    /// Opens it just for a comparison of sectors with the stamps that they must have.
    pub fn check(&self, start: u64, stamps: &[u64]) -> Result<()> {
        let disk = Disk::open_ro(&self.path)?;
        disk.check(start, stamps)
    }

    /// Opens it just for one write.
    pub fn stamp(&self, start: u64, sectors: u64, stamp: u64) -> Result<()> {
        let disk = Disk::open(&self.path)?;
        Ok(disk.stamp(start, sectors, stamp)?)
    }

    /// Removes it now; fails when it is in use.
    pub fn remove(&mut self) -> Result<()> {
        self.verb("remove", &["--noudevsync"], "")?;
        self.removed = true;
        Ok(())
    }

    /// Somebody else has removed it.
    pub fn forget(mut self) {
        self.removed = true;
    }
}

impl Drop for Dm {
    fn drop(&mut self) {
        if self.removed {
            return;
        }
        // Whoever had it open may be just about to close it.
        for _ in 0..20 {
            if self.remove().is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(100));
        }
        if let Err(e) = self.remove() {
            eprintln!("{e}");
        }
    }
}
