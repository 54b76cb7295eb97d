// SPDX-License-Identifier: GPL-2.0

//! The crash side of the protocol: the log, checkpoints, crashes at any moment, replay.
//!
//! A second state machine beside the run-time one, with the same explorer. It keeps of the run-time
//! protocol what decides what is on disk: decisions and the gate; and adds the log, the root, the
//! origin's cache.
//!
//! - [`config`]: the small worlds; [`state`]: memory, log, root, origin, parties;
//! - `timeline`: marks, need and control records, the same for memory and replay; `log`;
//! - `writer`, `keeper`, `checkpoint`, `recovery`: the parties' steps; [`model`]: all of them;
//! - [`invariant`]: what must hold; [`trap`]: known mistakes; `canon`; [`trace`].

#![forbid(unsafe_code)]

mod canon;
mod checkpoint;
pub mod config;
pub mod invariant;
mod keeper;
mod log;
pub mod model;
mod recovery;
pub mod state;
mod timeline;
pub mod trace;
pub mod trap;
mod writer;
