// SPDX-License-Identifier: GPL-2.0

//! The tests, a module for each file under `rust/`, and the seed's worked examples.

#![forbid(unsafe_code)]

mod args;
mod argument;
mod bitmap;
mod chunk;
mod claims;
mod crash;
mod damage;
mod designation;
mod device;
mod figures;
mod forged;
mod format;
mod headers;
mod index;
mod limits;
mod needed;
mod segments;
mod sources;
mod space;
mod threads;
mod timeline;
mod traps;
mod trust;
mod uapi;
mod world;
