// SPDX-License-Identifier: GPL-2.0

//! A leaf of a [bitmap](crate::maps::bitmap): 32768 bits, which is the unit of its memory.

#![forbid(unsafe_code)]

use crate::maps::word::WORD_BITS;
use kernel::alloc::Flags;
use kernel::prelude::*;
use kernel::sync::atomic::Atomic;

const LEAF_WORDS: u64 = 512;
/// Bits of a leaf.
pub const LEAF_BITS: u64 = LEAF_WORDS * WORD_BITS;

/// The words of a leaf. Without any, all its bits are set.
pub struct Leaf(KVec<Atomic<u64>>);

impl Leaf {
    /// Allocates a leaf of which no bit is set.
    ///
    /// Errors: `ENOMEM`.
    pub fn empty(flags: Flags) -> Result<Self> {
        // CAST: 512.
        let mut words = KVec::with_capacity(LEAF_WORDS as usize, flags)?;
        for _ in 0..LEAF_WORDS {
            words.push(Atomic::new(0), flags)?;
        }
        Ok(Self(words))
    }

    /// Returns a leaf of which all bits are set.
    pub(super) fn full() -> Self {
        Self(KVec::new())
    }

    /// Returns a word to be read or set; `None` in a full leaf.
    #[inline]
    pub(super) fn word(&self, index: usize) -> Option<&Atomic<u64>> {
        self.0.get(index)
    }

    /// Returns true if all bits are set, and always were.
    pub(super) fn is_full(&self) -> bool {
        self.0.is_empty()
    }
}
