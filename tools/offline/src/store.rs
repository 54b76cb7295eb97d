// SPDX-License-Identifier: GPL-2.0

//! A store that is open for one of the verbs: the device that it is on, its two superblocks, what
//! it holds, and how that is changed.
//!
//! The format and its rules are the [module's own](dm_preserve_core); what is here asks them. This
//! room uses no other one of this crate.

#![forbid(unsafe_code)]

pub(crate) mod checkpoint;
pub(crate) mod commit;
pub(crate) mod content;
mod copies;
mod disk;
mod last_use;
mod medium;
mod recovered;
mod room;
pub(crate) mod supers;
pub(crate) mod truncate;
mod walk;

pub use copies::Copies;
pub(crate) use copies::Epoch;
pub(crate) use copies::Known;
pub use disk::Error;
pub use disk::Progress;
pub use disk::Result;
pub use disk::Silent;
pub(crate) use disk::Store;
pub(crate) use disk::MEMORY;
pub use last_use::last_use;
pub use last_use::LastUse;
pub use medium::Medium;
pub(crate) use recovered::recovered;
pub use room::has_room;
pub use room::MAX_CHUNK_SECTORS;
pub use supers::store_uuid;
pub(crate) use walk::Walk;
