// SPDX-License-Identifier: GPL-2.0

//! A small random number generator (SplitMix64), so that a seed means the same everywhere and for
//! ever.

#![forbid(unsafe_code)]

/// The generator.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// Begins with a seed.
    pub fn new(seed: u64) -> Self {
        Rng(seed)
    }

    /// A random number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `n`, which is not 0.
    pub fn below(&mut self, n: u64) -> u64 {
        self.number() % n
    }

    /// True in `percent` of all cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// A range within `0..end` of at most `longest`: start and length, which is at least 1.
    pub fn range(&mut self, end: u64, longest: u64) -> (u64, u64) {
        let start = self.below(end);
        let len = 1 + self.below(longest.min(end - start));
        (start, len)
    }
}
