// SPDX-License-Identifier: GPL-2.0

//! Loop devices over sparse files in memory: large, cheap while zero, and with write-zeroes.

#![forbid(unsafe_code)]

use std::fs;
use std::fs::File;

use anyhow::Result;

use crate::cmd;
use crate::node;

/// A loop device and its file; both gone when dropped.
pub struct Loop {
    path: String,
    file: String,
}

impl Loop {
    /// A device of `mb` MiB of zeroes.
    pub fn new(name: &str, mb: u64) -> Result<Self> {
        let file = format!("/tmp/{name}.img");
        File::create(&file)?.set_len(mb << 20)?;
        Self::over(file)
    }

    /// A device over a file that exists; the file goes with it.
    pub fn over(file: String) -> Result<Self> {
        let path = cmd::run("losetup", &["-f", "--show", &file])?;
        let device = Loop {
            path: path.trim().to_string(),
            file,
        };
        node::check(&device.path)?;
        Ok(device)
    }

    /// Its node.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The file under it.
    pub fn file(&self) -> &str {
        &self.file
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        if let Err(e) = cmd::run("losetup", &["-d", &self.path]) {
            eprintln!("{e}");
        }
        let _ = fs::remove_file(&self.file);
    }
}
