// SPDX-License-Identifier: GPL-2.0

//! What needs no kernel, as a library: the module's own files, compiled unchanged over a stand-in
//! for the kernel crate.
//!
//! The tests, the fuzzers, the offline tools and the command use it. The module has its own root,
//! `dm_preserve.rs`, with the same rooms in the same order. A file here that reaches up to the
//! engine does not compile.

#![forbid(unsafe_code)]

pub mod base;
pub mod format;
pub mod history;
pub mod maps;
pub mod store;
pub mod uapi;
