// SPDX-License-Identifier: GPL-2.0

//! Simulated disks whose power may go, and the random numbers that decide what is left then.
//!
//! For tests: a use that no disk could have ends in a panic.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod disk;
mod rng;

pub use disk::Data;
pub use disk::Fate;
pub use disk::SimDisk;
pub use rng::Rng;
