// SPDX-License-Identifier: GPL-2.0

//! Everything the command `preserve` does, as a library: the control device of `dm-preserve.ko`,
//! device-mapper tables, designation by ranges and files, and backup streams.
//!
//! Every file but [`ioctl`] forbids unsafe code.

#![deny(unsafe_code)]

pub mod apply;
pub mod backup;
pub mod control;
pub mod device;
pub mod dm;
pub mod error;
pub mod extents;
pub mod fiemap;
pub mod files;
pub mod ioctl;
pub mod listing;
pub mod notes;
pub mod open;
pub mod progress;
pub mod ranges;
pub mod rollback;
pub mod source;
pub mod state;
pub mod store;
pub mod stream;
pub mod units;

pub use dm_preserve_core::uapi;
pub use error::Error;
pub use error::Result;
