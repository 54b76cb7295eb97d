// SPDX-License-Identifier: GPL-2.0

//! The engine as a library: the module's own files, compiled unchanged over stand-ins for `dm` and
//! for the kernel crate.
//!
//! The simulator uses it. What needs no kernel comes from that library, `lib.rs`; the module has
//! its own root, `dm_preserve.rs`.

#![forbid(unsafe_code)]
// As in the kernel's own build: methods of its pointers.
#![feature(arbitrary_self_types)]

extern crate dm_shim as dm;

use dm_preserve_core::base;
use dm_preserve_core::format;
use dm_preserve_core::history;
use dm_preserve_core::maps;
use dm_preserve_core::store;
use dm_preserve_core::uapi;

pub mod engine;
