// SPDX-License-Identifier: GPL-2.0

//! What user space touches: the two targets, the control device, the files in sysfs.
//!
//! The highest room: it uses all others, and only the crate's root uses it.

#![forbid(unsafe_code)]

mod control;
mod extents;
mod live;
mod quiesce;
pub(crate) mod registry;
mod status;
mod sysfs;
mod view;

pub(crate) use control::ControlFile;
pub(crate) use live::Live;
pub(crate) use view::View;

/// Version of the targets and of the module's interface: major, minor, patch.
pub(crate) const VERSION: [u32; 3] = [0, 1, 0];
