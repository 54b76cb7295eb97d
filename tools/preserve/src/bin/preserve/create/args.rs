// SPDX-License-Identifier: GPL-2.0

//! What `create` is told.

#![forbid(unsafe_code)]

use std::path::PathBuf;

use clap::Args;
use clap::ValueEnum;
use preserve::units;

#[derive(Args)]
pub struct Create {
    /// Name of the new device
    pub name: String,
    /// Block device that holds the data
    #[arg(long)]
    pub origin: PathBuf,
    /// Block device that takes old contents, and what must last: a new one, or that of an earlier
    /// activation
    #[arg(long)]
    pub store: PathBuf,
    /// The store begins anew: snapshots on it, or whatever else it holds, are lost
    #[arg(long, conflicts_with = "transient")]
    pub format: bool,
    /// Unit of tracking and copying: a power of two from 4K to 512K, with --transient to 1M
    #[arg(long, default_value = "4K", value_parser = units::chunk_sectors)]
    pub chunk_size: u64,
    /// Designation of what was never named by protect or unprotect
    #[arg(long, value_enum, default_value_t)]
    pub default: Designated,
    /// A full store drops the oldest snapshot, or makes writes wait
    #[arg(long, value_enum, default_value_t)]
    pub on_full: OnFull,
    /// What to do when not even a failure can be recorded in the store
    #[arg(long, value_enum, default_value_t)]
    pub on_error: OnError,
    /// Preserve unprotected chunks too; the designation counts when they are read
    #[arg(long)]
    pub keep_unprotected: bool,
    /// The designation goes back to the default after each snapshot
    #[arg(long)]
    pub reset_protection: bool,
    /// Event when so many percent of the store are used
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(1..=100))]
    pub low_space: Option<u8>,
    /// Nothing is to outlast the device: snapshots and the record of changes end with it
    #[arg(long)]
    pub transient: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Designated {
    #[default]
    Protected,
    Unprotected,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum OnFull {
    #[default]
    Invalidate,
    Block,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum OnError {
    #[default]
    Continue,
    Block,
}
