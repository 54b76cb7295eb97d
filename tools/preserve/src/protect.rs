// SPDX-License-Identifier: GPL-2.0

//! What is to be protected: ranges and files, as a user names them, as ranges of sectors.

#![forbid(unsafe_code)]

mod fiemap;
mod files;
mod ranges;

pub use files::locate;
pub use files::Found;
pub use ranges::parse_lines;
pub use ranges::Bytes;
