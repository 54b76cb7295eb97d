// SPDX-License-Identifier: GPL-2.0

//! A persistent store while it is not in use: what `preserve check`, `preserve dump` and `preserve rollback` do.
//!
//! The format, the layout, the checkpoint's image and the replay of the log are the module's own files,
//! compiled unchanged over `tools/kernel-shim`: a store that passes here is one that the module takes, and for
//! the same reasons. Only a rollback and a repair write, both as the module does its checkpoints.

#![forbid(unsafe_code)]

include!("../../kernel-shim/module.rs");

mod advice;
mod basis;
#[cfg(any(test, feature = "builder"))]
pub mod builder;
mod check;
mod checkpoint;
mod commit;
mod contents;
mod copies;
mod dump;
mod follow;
mod inventory;
mod items;
mod kept;
mod last_use;
mod line;
mod log;
mod medium;
mod origin;
mod plan;
mod repair;
mod report;
mod rollback;
mod rollback_report;
mod room;
mod rotten;
mod store;
mod supers;
#[cfg(test)]
mod tests;
mod walk;

pub use check::check;
pub use dump::dump;
pub use last_use::last_use;
pub use last_use::LastUse;
pub use line::Line;
pub use line::Value;
pub use medium::Medium;
pub use repair::repair;
pub use repair::Repaired;
pub use report::*;
pub use rollback::rollback_under_way;
pub use rollback::Rollback;
pub use rollback_report::Lost;
pub use rollback_report::RollbackReport;
pub use room::has_room;
pub use room::MAX_CHUNK_SECTORS;
pub use store::Error;
pub use store::Progress;
pub use store::Result;
pub use store::Silent;
