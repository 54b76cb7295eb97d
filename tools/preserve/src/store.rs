// SPDX-License-Identifier: GPL-2.0

//! A persistent store while no live device uses it: the [crate `offline`](::offline)'s verbs with
//! files, progress bars and errors in words, and what the machine notes of a store.

#![forbid(unsafe_code)]

pub mod notes;
mod open;
pub mod rollback;
mod verbs;

pub use open::lock;
pub use open::open;
pub use open::Access;
pub use verbs::*;
