// SPDX-License-Identifier: GPL-2.0

//! fio in the background: random writes that are read back and compared.

#![forbid(unsafe_code)]

use anyhow::Result;

use crate::cmd::Background;
use crate::node;

/// What fio does.
pub struct Job<'a> {
    /// The device.
    pub path: &'a str,
    /// First byte it uses.
    pub offset: u64,
    /// Bytes it uses, and how many times over.
    pub size: u64,
    /// Times that all of it is written.
    pub loops: u32,
    /// Size of a single write.
    pub block: &'a str,
    /// Writes in flight.
    pub depth: u32,
    /// For its random numbers.
    pub seed: u64,
    /// More options.
    pub more: &'a [&'a str],
}

impl Job<'_> {
    /// Starts random writes, each of which is verified at the end of its round.
    pub fn start(&self) -> Result<Background> {
        node::check(self.path)?;
        let mut args = vec![
            "--name=vmtest".to_string(),
            format!("--filename={}", self.path),
            "--direct=1".to_string(),
            "--ioengine=libaio".to_string(),
            "--rw=randwrite".to_string(),
            format!("--bs={}", self.block),
            format!("--offset={}", self.offset),
            format!("--size={}", self.size),
            format!("--loops={}", self.loops),
            format!("--iodepth={}", self.depth),
            format!("--randseed={}", self.seed),
            "--verify=crc32c".to_string(),
            "--verify_fatal=1".to_string(),
            "--allow_file_create=0".to_string(),
            "--thread=1".to_string(),
        ];
        args.extend(self.more.iter().map(|option| option.to_string()));
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        Background::start("fio", &args)
    }
}
