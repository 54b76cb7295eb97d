// SPDX-License-Identifier: GPL-2.0

//! The devices: which one a name means, device-mapper's tables, and a live device through its
//! control device.
//!
//! A backup asks a [`Source`]; [`Live`] is one. This room uses no other one.
//!
//! Every file but [`ioctl`] forbids unsafe code.

#![deny(unsafe_code)]

mod block;
mod control;
pub mod dm;
pub mod ioctl;
mod source;

pub use block::*;
pub use control::Edit;
pub use control::Live;
pub use control::Take;
pub use source::Identity;
pub use source::Piece;
pub use source::Query;
pub use source::Source;
