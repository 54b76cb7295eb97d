// SPDX-License-Identifier: GPL-2.0

//! A persistent store while it is not in use: what `preserve check`, `preserve dump` and `preserve rollback` do.
//!
//! The format, the layout, the checkpoint's image and the replay of the log are the module's own files,
//! compiled unchanged over `tools/kernel-shim`: a store that passes here is one that the module takes, and for
//! the same reasons. Only a rollback and a repair write, both as the module does its checkpoints.

#![forbid(unsafe_code)]

// The module uses what the tool does not. Formatting these files is their own directory's business.
macro_rules! sources {
    ($($(#[$attribute:meta])* $name:ident)*) => {
        $(
            #[allow(dead_code)]
            $(#[$attribute])*
            mod $name;
        )*
    };
}

sources! {
    #[path = "../../../rust/beyond.rs"] beyond
    #[path = "../../../rust/bitmap.rs"] bitmap
    #[path = "../../../rust/chunk.rs"] chunk
    #[path = "../../../rust/designation.rs"] designation
    #[path = "../../../rust/disk.rs"] disk
    #[path = "../../../rust/entry.rs"] entry
    #[path = "../../../rust/fingerprint.rs"] fingerprint
    #[path = "../../../rust/image.rs"] image
    #[path = "../../../rust/index.rs"] index
    #[path = "../../../rust/instant.rs"] instant
    #[path = "../../../rust/layout.rs"] layout
    #[path = "../../../rust/loaded.rs"] loaded
    #[path = "../../../rust/logbook.rs"] logbook
    #[path = "../../../rust/ondisk.rs"] ondisk
    #[path = "../../../rust/recover.rs"] recover
    #[path = "../../../rust/region.rs"] region
    #[path = "../../../rust/replay.rs"] replay
    #[path = "../../../rust/runs.rs"] runs
    #[path = "../../../rust/saved.rs"] saved
    #[path = "../../../rust/segments.rs"] segments
    #[path = "../../../rust/superblock.rs"] superblock
    #[path = "../../../rust/timeline.rs"] timeline
}

/// Error codes that the module defines for kernels without them.
mod errors {
    pub(crate) use kernel::prelude::EUCLEAN;
}

/// What the module takes from the kernel.
mod checksum {
    /// CRC-32C of `data` behind data with checksum `before`.
    pub(crate) fn crc32c(before: u32, data: &[u8]) -> u32 {
        crc32c::crc32c_append(before, data)
    }
}

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
