// SPDX-License-Identifier: GPL-2.0

//! The backup stream: what a backup carries from a live device to a snapshot copy.
//!
//! ```text
//! header, digest, { data frame, payload, digest }, end frame, digest
//! ```
//!
//! A *digest* is the BLAKE3 hash (32 bytes) of everything before it, from the stream's first byte
//! on. So one kind of checksum proves each extent as soon as it has been read, the order and
//! completeness of the extents, and at the end the whole stream. The last one is the stream's
//! identity.
//!
//! Numbers are little-endian. Extents are in rising order, do not overlap, and consist of whole
//! chunks; only the origin's last chunk may be short. The layout is in [`format`].
//!
//! A full stream (`from` is 0) carries everything protected, an increment what changed since `from`
//! and is protected. What is not in the stream stays as it is in the copy.

#![forbid(unsafe_code)]

pub mod format;
mod read;
mod write;

pub use format::Header;
pub use format::Totals;
pub use format::MAX_PAYLOAD;
pub use read::Reader;
pub use write::Writer;
