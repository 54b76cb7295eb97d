// SPDX-License-Identifier: GPL-2.0

//! A dump: everything in a store's metadata as text or JSON, for people and for other programs.
//!
//! A [`Line`] is made for each superblock, item and record, as far as they can be read.

#![forbid(unsafe_code)]

mod items;
mod line;
mod whole;

pub use line::Line;
pub use line::Value;
pub use whole::dump;
