// SPDX-License-Identifier: GPL-2.0

//! The run-time protocol of dm-preserve as a model that a program can explore completely.
//!
//! The model follows the design's rules 2 to 5, the gate, the claims, the frozen reads, drop and
//! release. It knows no kernel and no bios: a state is a few dozen bytes, a step is what one
//! party does without looking at anything that another may change meanwhile, and the explorer tries
//! every order of steps.
//!
//! - [`config`]: who takes part, and how small the world is;
//! - [`state`]: the timeline, the parties, and what only the checker knows;
//! - `timeline`: need and marks; `turn`, `writer`, `copier`, `reader`, `keeper`: the parties'
//!   steps;
//! - [`model`]: all steps that a state allows; `canon`: states that differ in names only;
//! - [`invariant`]: what must hold; [`explore`]: the search; [`trap`]: known mistakes, to be
//!   caught;
//! - [`trace`]: a counterexample for people.
//!
//! [`crash`] is a second, smaller machine for what survives a crash: the log, checkpoints, replay.

#![forbid(unsafe_code)]

mod canon;
pub mod config;
mod copier;
pub mod crash;
pub mod explore;
mod fingerprint;
pub mod invariant;
mod keeper;
pub mod model;
mod reader;
pub mod state;
mod timeline;
pub mod trace;
pub mod trap;
mod turn;
mod writer;
