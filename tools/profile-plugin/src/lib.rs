// SPDX-License-Identifier: GPL-2.0

//! A QEMU plugin that counts the instructions which a guest of one processor executes, by call
//! path.
//!
//! `scripts/profile` loads it. The guest says what is counted: each access to its host name
//! ([`session::MARK`]) is a mark. The first one says that the symbols of the guest's modules are
//! there, and call paths are followed from then on. Each later one begins or ends the counting.
//!
//! Call paths come from what `call` and `ret` do to memory: the address of the return address that
//! they write or read is the stack pointer, so no register is looked at.
//!
//! Every file but `plugin.rs` forbids unsafe code.

#![deny(unsafe_code)]

#[cfg(not(test))]
mod plugin;

pub mod decode;
pub mod paths;
pub mod session;
pub mod symbols;
