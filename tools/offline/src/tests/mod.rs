// SPDX-License-Identifier: GPL-2.0

//! Tests that look inside.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod document;
mod entries;
mod forged;
mod format;
mod repair;
mod rollback;
mod wire;
mod world;
