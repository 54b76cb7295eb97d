// SPDX-License-Identifier: GPL-2.0

//! What changes history: taking and dropping snapshots, edits of the protection, growing.
//!
//! What shrinks need from outside (a drop, a release, a narrower scope) is durable before it takes
//! effect. Errors go back to the caller; what is given up for want of space or of a store is
//! decided in [`upkeep`](crate::engine::upkeep).

#![forbid(unsafe_code)]

mod drop;
mod edit;
mod take;
mod vouch;
