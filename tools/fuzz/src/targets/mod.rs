// SPDX-License-Identifier: GPL-2.0

//! The targets, a function each, and inputs to begin with.

#![forbid(unsafe_code)]

mod apply;
mod args;
mod blocks;
mod image;
mod requests;
mod seeds;
mod store;
mod stream;

pub use apply::apply;
pub use args::args;
pub use blocks::blocks;
pub use image::image;
pub use requests::requests;
pub use seeds::seeds;
pub use seeds::Seed;
pub use store::store;
pub use stream::stream;

/// Most bytes that the module's code may take for an input: far more than a store of two MiB should
/// need, far less than a forged length can ask for.
const MEMORY: usize = 64 << 20;
