// SPDX-License-Identifier: GPL-2.0

//! What user space says and hears: ioctls, table lines, messages.
//!
//! This room checks texts and structs from user space, and knows nothing of what they are for. It
//! uses only the [maps](crate::maps).

#![forbid(unsafe_code)]

pub mod args;
pub mod argument;
mod ioctl;

pub use ioctl::*;
