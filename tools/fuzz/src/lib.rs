// SPDX-License-Identifier: GPL-2.0

//! What the fuzz targets do with their input: a function for each, which must come back, without a
//! panic, an overflow or more memory than it should need (I8).
//!
//! The kernel module's decoders are its own files, compiled over `tools/kernel-shim` as in
//! `tools/hosttest`. A fuzzer does not guess checksums; so targets take input without them, and put
//! right ones in.

#![forbid(unsafe_code)]

mod input;
mod known;
mod sparse;
pub mod targets;
