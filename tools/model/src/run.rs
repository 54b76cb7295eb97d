// SPDX-License-Identifier: GPL-2.0

//! The world of a running device: what happens between two crashes.
//!
//! - [`config`]: who takes part, and how small the world is;
//! - [`state`]: the timeline, the parties, and what only the checker knows;
//! - `turn`, `writer`, `copier`, `reader`, `keeper`, `space`: the parties' steps; `world`: all
//!   steps that a state allows; `fold`: states that differ in names only;
//! - [`invariant`]: what must hold; [`trap`]: known mistakes; `trace`: a state for people.

#![forbid(unsafe_code)]

pub mod config;
mod copier;
mod fold;
pub mod invariant;
mod keeper;
mod reader;
mod space;
pub mod state;
mod trace;
pub mod trap;
mod turn;
pub mod world;
mod writer;
