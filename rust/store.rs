// SPDX-License-Identifier: GPL-2.0

//! A persistent store at rest: saving what is known, recovering it, and who owns which space.
//!
//! Everything here works over the trait [`Disk`], so that the tools and the tests run it too. The
//! engine's session drives it. This room uses the [format](crate::format), the
//! [history](crate::history) and the [maps](crate::maps).

#![forbid(unsafe_code)]

mod content;
mod disk;
pub mod fingerprint;
mod image;
pub mod load;
mod log_end;
mod pool;
mod reader;
pub mod recover;
mod replay;
pub mod save;
mod segments;
pub mod superblocks;
mod tail;
pub mod trust;

pub use content::Content;
pub use content::Headers;
pub use disk::Buffer;
pub use disk::Disk;
pub use fingerprint::HEAD_SECTORS;
pub use image::ImageReader;
pub use image::ImageWriter;
pub use image::Item;
pub use log_end::Formed;
pub use log_end::LogEnd;
pub use log_end::LogPosition;
pub use log_end::RING_RESERVE;
pub use pool::Area;
pub use pool::Pool;
pub use reader::LogReader;
pub use replay::Replayed;
pub use save::Checkpoint;
pub use save::EpochCopies;
pub use segments::Segments;
pub use superblocks::StoreKind;
pub use superblocks::Trouble;
pub use tail::Tail;
