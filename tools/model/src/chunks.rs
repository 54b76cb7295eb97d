// SPDX-License-Identifier: GPL-2.0

//! Sets of chunks, which are bit masks, and what chunks hold: small numbers of which only equality
//! means anything.

#![forbid(unsafe_code)]

/// A set of chunks.
pub type Chunks = u8;
/// What a chunk holds.
pub type Content = u8;

/// The chunks in a set, one by one.
pub fn each(set: Chunks) -> impl Iterator<Item = usize> {
    (0..Chunks::BITS as usize).filter(move |chunk| set & (1 << chunk) != 0)
}

/// The set of the first `count` chunks for which `holds` is true.
pub fn those(count: usize, holds: impl Fn(usize) -> bool) -> Chunks {
    (0..count).fold(0, |set, chunk| set | Chunks::from(holds(chunk)) << chunk)
}
