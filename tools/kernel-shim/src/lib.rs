// SPDX-License-Identifier: GPL-2.0

//! The part of the kernel crate's API that the kernel-free files under `rust/` use, over std.
//!
//! Same names, signatures and behaviour as in Linux 7.3 (`rust/kernel/`), so that these files
//! compile unchanged in user space; see `tools/hosttest`. Only what they use is here. Beyond the
//! kernel's API, [`alloc::host`] counts allocations and makes them fail, and [`sync::host`] stops a
//! thread at a place that another thread can see.

#![forbid(unsafe_code)]

pub mod alloc;
pub mod error;
pub mod prelude;
pub mod rbtree;
pub mod sync;
