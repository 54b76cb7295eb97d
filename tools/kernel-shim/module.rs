// SPDX-License-Identifier: GPL-2.0

// The kernel module's files that need no kernel, for the crates that compile them over this shim. They name one another as
// `crate::NAME`, so they have to be at a crate's root: `include!("../../kernel-shim/module.rs");`.
//
// A file that is new in the module, and of use without a kernel, has its line here, once for all of these crates.

// The module uses what the tools do not. Formatting these files is their own directory's business.
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
    #[path = "../../rust/args.rs"] args
    #[path = "../../rust/argument.rs"] argument
    #[path = "../../rust/beyond.rs"] beyond
    #[path = "../../rust/bitmap.rs"] bitmap
    #[path = "../../rust/chunk.rs"] chunk
    #[path = "../../rust/designation.rs"] designation
    #[path = "../../rust/disk.rs"] disk
    #[path = "../../rust/entry.rs"] entry
    #[path = "../../rust/fingerprint.rs"] fingerprint
    #[path = "../../rust/headers.rs"] headers
    #[path = "../../rust/image.rs"] image
    #[path = "../../rust/index.rs"] index
    #[path = "../../rust/instant.rs"] instant
    #[path = "../../rust/layout.rs"] layout
    #[path = "../../rust/loaded.rs"] loaded
    #[path = "../../rust/logbook.rs"] logbook
    #[path = "../../rust/ondisk.rs"] ondisk
    #[path = "../../rust/recover.rs"] recover
    #[path = "../../rust/region.rs"] region
    #[path = "../../rust/replay.rs"] replay
    #[path = "../../rust/runs.rs"] runs
    #[path = "../../rust/saved.rs"] saved
    #[path = "../../rust/segments.rs"] segments
    #[path = "../../rust/space.rs"] space
    #[path = "../../rust/superblock.rs"] superblock
    #[path = "../../rust/timeline.rs"] timeline
    #[path = "../../rust/trust.rs"] trust
    #[path = "../../rust/uapi.rs"] uapi
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
