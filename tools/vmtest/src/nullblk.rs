// SPDX-License-Identifier: GPL-2.0

//! Memory-backed null_blk devices, made through configfs.

#![forbid(unsafe_code)]

use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;

use crate::node;

/// Where they are configured.
pub const CONFIG: &str = "/sys/kernel/config/nullb";

/// Attributes for [`NullBlk::with`]: a volatile cache, and FUA.
pub const CACHE: &[(&str, &str)] = &[("cache_size", "1"), ("fua", "1")];

/// A null_blk device; gone when dropped.
pub struct NullBlk {
    dir: PathBuf,
    path: String,
}

impl NullBlk {
    /// A device of `mb` MiB with 512-byte blocks that supports discard.
    pub fn new(name: &str, mb: u64) -> Result<Self> {
        Self::with(name, mb, &[])
    }

    /// The same with more attributes.
    pub fn with(name: &str, mb: u64, more: &[(&str, &str)]) -> Result<Self> {
        let dir = PathBuf::from(CONFIG).join(name);
        fs::create_dir(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        // From here on the directory goes when this is dropped.
        let device = NullBlk {
            dir,
            path: format!("/dev/{name}"),
        };
        let size = mb.to_string();
        let usual = [
            ("memory_backed", "1"),
            ("size", &size),
            ("blocksize", "512"),
            ("discard", "1"),
            ("irqmode", "0"),
            ("completion_nsec", "0"),
        ];
        for (attribute, value) in usual.iter().chain(more) {
            device.set(attribute, value)?;
        }
        device.set("power", "1")?;
        node::check(&device.path)?;
        Ok(device)
    }

    fn set(&self, attribute: &str, value: &str) -> Result<()> {
        fs::write(self.dir.join(attribute), value)
            .with_context(|| format!("null_blk: cannot set {attribute} to {value}"))
    }

    /// Its node.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl Drop for NullBlk {
    fn drop(&mut self) {
        if fs::remove_dir(&self.dir).is_err() {
            eprintln!("cannot remove {}", self.dir.display());
        }
    }
}
