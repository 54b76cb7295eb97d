// SPDX-License-Identifier: GPL-2.0

//! The part of the kernel crate's API that the files under `rust/` use, over std.
//!
//! Same names, signatures and behaviour as in Linux 7.3 (`rust/kernel/`), so that these files
//! compile unchanged in user space. Only what they use is here. Beyond the kernel's API,
//! [`alloc::host`] counts allocations and makes them fail, [`sync::host`] stops a thread at a place
//! that another thread can see, and [`machine`] runs tasks in an order that a seed decides: locks,
//! work queues and time are those of the machine.

#![forbid(unsafe_code)]
// As in the kernel's own build, for its pointers; see `.cargo/config.toml`.
#![feature(coerce_unsized, dispatch_from_dyn, unsize)]

pub mod alloc;
pub mod error;
pub mod init;
pub mod machine;
pub mod prelude;
pub mod print;
pub mod rbtree;
pub mod str;
pub mod sync;
pub mod time;
pub mod workqueue;
