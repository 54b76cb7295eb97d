// SPDX-License-Identifier: GPL-2.0

//! What tests (and the demo) of `dm-preserve.ko` are made of: devices that go away by themselves,
//! direct I/O, contents that tell where they belong, the control device, and the kernel's log.
//!
//! Every file but [`raw`] forbids unsafe code.

#![deny(unsafe_code)]

pub mod cmd;
pub mod control;
pub mod disk;
pub mod dm;
pub mod fio;
pub mod kmsg;
pub mod live;
pub mod logwrites;
pub mod loopdev;
pub mod netlink;
pub mod node;
pub mod nullblk;
pub mod pattern;
pub mod raw;
pub mod reboot;
pub mod rig;
pub mod rng;
pub mod skipped;
