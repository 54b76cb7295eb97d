// SPDX-License-Identifier: GPL-2.0

//! Everything the command `preserve` does, as a library: the control device of `dm-preserve.ko`,
//! device-mapper tables, designation by ranges and files, and backup streams.
//!
//! Four rooms: [`copy`] and [`protect`] work on a [`device`], [`store`](mod@store) on what is left
//! without one; `copy` opens its targets as `store` does.
//!
//! Every file but [`device::ioctl`] forbids unsafe code.

#![deny(unsafe_code)]

pub mod copy;
pub mod device;
pub mod durable;
pub mod error;
pub mod progress;
pub mod protect;
pub mod store;
pub mod units;

pub use dm_preserve_core::uapi;
pub use error::Error;
pub use error::Result;
