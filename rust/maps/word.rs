// SPDX-License-Identifier: GPL-2.0

//! Words: 64 chunks at once, and how far the same answer goes on.

#![forbid(unsafe_code)]

/// Bits of a word.
pub const WORD_BITS: u64 = 64;

/// A bit for each of the 64 chunks around one, the first of which is a multiple of 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word {
    /// The bits, the first chunk's lowest.
    pub bits: u64,
    /// All words up to this chunk, a multiple of 64 or the greatest number, have the same bits. If
    /// that is more than this one, all bits are alike.
    pub end: u64,
}

/// Returns the first multiple of `unit` behind a chunk.
#[inline]
pub fn next(chunk: u64, unit: u64) -> u64 {
    (chunk / unit + 1).saturating_mul(unit)
}

/// Returns the bits of `from..to` in the word whose first bit is number `start`.
pub fn mask(start: u64, from: u64, to: u64) -> u64 {
    let last = start.saturating_add(WORD_BITS);
    let low = from.clamp(start, last) - start;
    let high = to.clamp(start, last) - start;
    let below = |n: u64| match n {
        WORD_BITS => u64::MAX,
        n => (1 << n) - 1,
    };
    below(high) & !below(low)
}

impl Word {
    /// Returns a word of which all bits are set, or none is, as in all words up to `end`.
    #[inline]
    pub fn uniform(set: bool, end: u64) -> Self {
        let bits = if set { u64::MAX } else { 0 };
        Self { bits, end }
    }

    /// Returns the word of `chunk`, of which nothing is known but its bits.
    #[inline]
    pub fn single(bits: u64, chunk: u64) -> Self {
        let end = next(chunk, WORD_BITS);
        Self { bits, end }
    }

    /// Returns the word of `chunk` in the set of all chunks below `limit`.
    pub fn below(limit: u64, chunk: u64) -> Self {
        let start = chunk - chunk % WORD_BITS;
        if start >= limit {
            return Self::uniform(false, u64::MAX);
        }
        match limit - start < WORD_BITS {
            true => Self::single(mask(start, start, limit), chunk),
            false => Self::uniform(true, limit - limit % WORD_BITS),
        }
    }

    /// Returns what is in this word but not in `other`.
    pub fn without(self, other: Self) -> Self {
        let end = self.end.min(other.end);
        let bits = self.bits & !other.bits;
        Self { bits, end }
    }

    /// Returns what is in this word and in `other`.
    pub fn and(self, other: Self) -> Self {
        let end = self.end.min(other.end);
        let bits = self.bits & other.bits;
        Self { bits, end }
    }

    /// Returns what is in this word or in `other`.
    pub fn plus(self, other: Self) -> Self {
        let end = self.end.min(other.end);
        let bits = self.bits | other.bits;
        Self { bits, end }
    }
}
