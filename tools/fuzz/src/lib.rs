// SPDX-License-Identifier: GPL-2.0

//! What the fuzz targets do with their input: a function for each, which must come back, without a panic, an
//! overflow or more memory than it should need (I8).
//!
//! The kernel module's decoders are its own files, compiled over `tools/kernel-shim` as in `tools/hosttest`. A
//! fuzzer does not guess checksums; so targets take input without them, and put right ones in.

#![forbid(unsafe_code)]

// The module uses what the targets do not. Formatting these files is their own directory's business.
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
    #[path = "../../../rust/args.rs"] args
    #[path = "../../../rust/argument.rs"] argument
    #[path = "../../../rust/beyond.rs"] beyond
    #[path = "../../../rust/bitmap.rs"] bitmap
    #[path = "../../../rust/chunk.rs"] chunk
    #[path = "../../../rust/designation.rs"] designation
    #[path = "../../../rust/disk.rs"] disk
    #[path = "../../../rust/entry.rs"] entry
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
    #[path = "../../../rust/uapi.rs"] uapi
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

mod copies;
mod input;
mod known;
mod sparse;
pub mod targets;
