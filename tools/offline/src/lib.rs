// SPDX-License-Identifier: GPL-2.0

//! A persistent store while it is not in use: what `preserve check`, `preserve dump` and
//! `preserve rollback` do.
//!
//! The format, the layout, the checkpoint's image and the replay of the log are the module's own
//! files, compiled unchanged over `tools/kernel-shim`: a store that passes here is one that the
//! module takes, and for the same reasons. Only a rollback and a repair write, both as the module
//! does its checkpoints.
//!
//! Each verb has a room: [`check`](mod@check), [`dump`](mod@dump), [`repair`](mod@repair) and
//! [`rollback`]. A repair uses the check; all use [`store`]; `store` uses none of them.

#![forbid(unsafe_code)]

#[cfg(any(test, feature = "builder"))]
pub mod builder;
mod check;
mod dump;
mod repair;
mod rollback;
mod store;
#[cfg(test)]
mod tests;

pub use check::*;
pub use dump::dump;
pub use dump::Line;
pub use dump::Value;
pub use repair::repair;
pub use repair::Repaired;
pub use rollback::rollback_under_way;
pub use rollback::Lost;
pub use rollback::Rollback;
pub use rollback::RollbackReport;
pub use store::has_room;
pub use store::last_use;
pub use store::store_uuid;
#[cfg(any(test, feature = "builder"))]
pub use store::Copies;
pub use store::Error;
pub use store::LastUse;
pub use store::Medium;
pub use store::Progress;
pub use store::Result;
pub use store::Silent;
pub use store::MAX_CHUNK_SECTORS;
