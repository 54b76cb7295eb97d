// SPDX-License-Identifier: GPL-2.0

//! Random histories of the module's own engine.
//!
//! The engine's files run unchanged: write path, copier, log, checkpoints, upkeep, changes, frozen
//! reads, life. Around them is what the kernel would be: tasks and interrupts in an order that a
//! seed decides ([`kernel::machine`]), drives with volatile caches ([`dm_shim::drive`]), and
//! device-mapper's part ([`mapped`]). Users write, take and drop snapshots, edit, read, suspend;
//! at any operation of a drive the power may go. What is left then is recovered by the same engine,
//! and compared with what an [oracle](oracle) knows the simple way.
//!
//! For tests: what must not happen ends in a panic, with the seed.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod config;
mod crash;
mod device;
mod history;
mod mapped;
mod oracle;
mod shrink;
mod totals;
mod users;
mod verify;

pub use config::Config;
pub use history::run;
pub use shrink::shrink;
pub use totals::Totals;
