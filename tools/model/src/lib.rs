// SPDX-License-Identifier: GPL-2.0

//! The protocol of dm-preserve as a model that a program can explore completely.
//!
//! The model knows no kernel and no bios: a state is a few dozen bytes, a step is what one party
//! does without looking at anything that another may change meanwhile, and the explorer tries every
//! order of steps. There are two kinds of world:
//!
//! - [`run`]: a running device: the design's rules 1 to 5, the gate, the claims, frozen reads, drop
//!   and release;
//! - [`crash`]: what survives when the power goes at any moment: the log, checkpoints, replay.
//!
//! They share
//!
//! - [`chunks`]: sets of chunks, and contents; [`timeline`]: marks and need; [`user`]: what may be
//!   asked for; [`invariant`]: what must hold in both;
//! - [`world`]: what a world is; [`fold`]: states that differ in names only; [`trap`]: known
//!   mistakes, to be caught; [`explore`]: the search; [`trace`]: a counterexample for people.

#![forbid(unsafe_code)]

pub mod chunks;
pub mod crash;
pub mod explore;
mod fingerprint;
pub mod fold;
pub mod invariant;
pub mod run;
pub mod timeline;
pub mod trace;
pub mod trap;
pub mod user;
pub mod world;
