// SPDX-License-Identifier: GPL-2.0

//! The world with power cuts: the log, checkpoints, crashes at any moment, replay.
//!
//! It keeps of the running device what decides what is on disk: decisions and the gate; and adds
//! the log, the root, the origin's cache.
//!
//! - [`config`]: the small worlds; [`state`]: memory, log, root, origin, parties; `log`;
//! - `writer`, `keeper`, `checkpoint`, `recovery`: the parties' steps; [`world`]: all of them;
//!   `fold`: states that differ in names only;
//! - [`invariant`]: what must hold; [`trap`]: known mistakes; `trace`: a state for people.

#![forbid(unsafe_code)]

mod checkpoint;
pub mod config;
mod fold;
pub mod invariant;
mod keeper;
mod log;
mod recovery;
pub mod state;
mod trace;
pub mod trap;
pub mod world;
mod writer;
