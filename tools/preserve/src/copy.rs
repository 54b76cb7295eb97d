// SPDX-License-Identifier: GPL-2.0

//! Copies of snapshots: a backup makes a stream of a [source](crate::device::Source), which is
//! applied to a copy somewhere else.

#![forbid(unsafe_code)]

pub mod apply;
pub mod backup;
pub mod extents;
pub mod listing;
pub mod state;
pub mod stream;
