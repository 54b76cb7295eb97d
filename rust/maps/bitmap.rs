// SPDX-License-Identifier: GPL-2.0

//! A sparse bitmap that is read and set without a lock.
//!
//! Two levels: a table of leaves, and leaves of 4 KiB that come into being when they are first
//! needed and stay as long as the bitmap. Bits are only ever set, never cleared: a look that finds
//! a bit set can rely on it.

#![forbid(unsafe_code)]

use crate::maps::chunk::Chunks;
use kernel::prelude::*;
use kernel::sync::atomic::Acquire;
use kernel::sync::atomic::Atomic;
use kernel::sync::atomic::Relaxed;
use kernel::sync::atomic::Release;
use kernel::sync::SetOnce;

const WORD_BITS: u64 = 64;
const LEAF_WORDS: u64 = 512;
/// Bits of a leaf.
pub const LEAF_BITS: u64 = LEAF_WORDS * WORD_BITS;

/// Most leaves: what one allocation can hold the table of, 4 PiB of chunks of 4 KiB.
const MAX_LEAVES: usize = 1 << 25;

type Leaf = KVec<Atomic<u64>>;

/// The bitmap. Bits beyond its end read as unset.
pub struct Bitmap {
    leaves: KVVec<SetOnce<Leaf>>,
    bits: u64,
    count: Atomic<u64>,
}

/// The bits of the word that starts at bit `start` which lie in `from..to`.
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

/// Splits a bit number into leaf, word and mask.
fn place(bit: u64) -> (usize, usize, u64) {
    let word = bit % LEAF_BITS / WORD_BITS;
    // CAST: The leaf number was checked against the table's length, or is by `get`.
    (
        (bit / LEAF_BITS) as usize,
        word as usize,
        1 << (bit % WORD_BITS),
    )
}

impl Bitmap {
    /// An empty bitmap of `bits` bits.
    pub fn new(bits: u64) -> Result<Self> {
        let count = usize::try_from(bits.div_ceil(LEAF_BITS)).map_err(|_| EFBIG)?;
        if count > MAX_LEAVES {
            return Err(EFBIG);
        }
        let mut leaves = KVVec::with_capacity(count, GFP_KERNEL)?;
        for _ in 0..count {
            leaves.push(SetOnce::new(), GFP_KERNEL)?;
        }
        Ok(Self {
            leaves,
            bits,
            count: Atomic::new(0),
        })
    }

    /// Number of bits, set or not.
    pub fn len(&self) -> u64 {
        self.bits
    }

    /// How many bits are set.
    pub fn count(&self) -> u64 {
        self.count.load(Relaxed)
    }

    fn leaf(&self, bit: u64) -> Option<&Leaf> {
        self.leaves.get(place(bit).0)?.as_ref()
    }

    /// The word that holds `bit`, zero if it is in no leaf. Ordered before what follows.
    #[inline]
    pub fn word(&self, bit: u64) -> u64 {
        let (_, word, _) = place(bit);
        let word = self.leaf(bit).and_then(|leaf| leaf.get(word));
        word.map_or(0, |word| word.load(Acquire))
    }

    /// Whether a bit is set. What was done before setting it is visible then.
    #[inline]
    pub fn get(&self, bit: u64) -> bool {
        self.word(bit) & place(bit).2 != 0
    }

    /// Makes sure that the bits of a run can be set without allocating. May sleep.
    pub fn prepare(&self, run: Chunks) -> Result {
        let mut bit = run.start;
        while bit < run.end.min(self.bits) {
            // Whoever populates a leaf at the same time may not be done when our attempt fails.
            while self.leaf(bit).is_none() {
                self.add_leaf(bit, GFP_KERNEL)?;
            }
            bit = (bit / LEAF_BITS + 1) * LEAF_BITS;
        }
        Ok(())
    }

    fn add_leaf(&self, bit: u64, flags: kernel::alloc::Flags) -> Result {
        let slot = self.leaves.get(place(bit).0).ok_or(EINVAL)?;
        if slot.as_ref().is_none() {
            // CAST: 512.
            let mut leaf = Leaf::with_capacity(LEAF_WORDS as usize, flags)?;
            for _ in 0..LEAF_WORDS {
                leaf.push(Atomic::new(0), flags)?;
            }
            // Somebody else may have been quicker; then ours is not needed.
            let _ = slot.populate(leaf);
        }
        Ok(())
    }

    /// Sets a bit, if it and its leaf exist; `None` if not. Otherwise whether the bit was set
    /// before.
    ///
    /// What was done before is visible to whoever sees the bit.
    pub fn set(&self, bit: u64) -> Option<bool> {
        if bit >= self.bits {
            return None;
        }
        Some(self.set_in_word(bit, place(bit).2)? == 0)
    }

    /// Sets the bits of `mask`, none of which is beyond the end, in the word of `bit`, if its leaf
    /// exists. The result is which of them were not set before.
    fn set_in_word(&self, bit: u64, mask: u64) -> Option<u64> {
        let word = self.leaf(bit)?.get(place(bit).1)?;
        let mut old = word.load(Acquire);
        while mask & !old != 0 {
            match word.cmpxchg(old, old | mask, Release) {
                Ok(_) => {
                    let new = mask & !old;
                    self.count.add(u64::from(new.count_ones()), Relaxed);
                    return Some(new);
                }
                Err(now) => old = now,
            }
        }
        Some(0)
    }

    /// As [`Bitmap::set`], with a new leaf if one can be had without sleeping.
    pub fn set_nowait(&self, bit: u64) -> Option<bool> {
        if self.leaf(bit).is_none() {
            self.add_leaf(bit, GFP_NOWAIT).ok()?;
        }
        self.set(bit)
    }

    /// The first bit of the run that is set (or not set, as `wanted` says).
    pub fn find(&self, run: Chunks, wanted: bool) -> Option<u64> {
        let mut bit = run.start;
        while bit < run.end {
            let word = self.word(bit);
            let candidates = match wanted {
                true => word,
                false => !word,
            } >> (bit % WORD_BITS);
            if candidates != 0 {
                let found = bit + u64::from(candidates.trailing_zeros());
                return (found < run.end).then_some(found);
            }
            bit = self.next_start(bit, wanted);
        }
        None
    }

    /// Where the search goes on after the word of `bit`: the next word, or the next leaf if there
    /// is none here and set bits are looked for.
    fn next_start(&self, bit: u64, wanted: bool) -> u64 {
        let unit = match wanted && self.leaf(bit).is_none() {
            true => LEAF_BITS,
            false => WORD_BITS,
        };
        (bit / unit + 1).saturating_mul(unit)
    }

    /// Number of leaves, there or not.
    pub fn leaves(&self) -> u64 {
        // CAST: A length in memory.
        self.leaves.len() as u64
    }

    /// Whether a leaf is there: whether one of its bits may be set.
    pub fn has_leaf(&self, leaf: u64) -> bool {
        leaf.checked_mul(LEAF_BITS)
            .is_some_and(|bit| self.leaf(bit).is_some())
    }

    /// Sets the bits that are set in `word`, which stands for those from `bit` on, a multiple
    /// of 64. Bits beyond the end are left out. May sleep.
    pub fn merge(&self, bit: u64, word: u64) -> Result {
        let start = bit;
        let end = self.bits.min(bit.saturating_add(WORD_BITS));
        let word = word & mask(bit, bit, end);
        if word != 0 {
            self.prepare(Chunks { start, end })?;
            self.set_in_word(bit, word);
        }
        Ok(())
    }

    /// Sets all bits of a run, a word at a time. Bits beyond the end are left out. May sleep.
    pub fn set_run(&self, run: Chunks) -> Result {
        let end = run.end.min(self.bits);
        self.prepare(Chunks { end, ..run })?;
        let mut bit = run.start - run.start % WORD_BITS;
        while bit < end {
            self.set_in_word(bit, mask(bit, run.start, end));
            bit += WORD_BITS;
        }
        Ok(())
    }

    /// Bytes that the bitmap occupies.
    pub fn memory(&self) -> u64 {
        let leaves = self.leaves.iter().filter(|leaf| leaf.as_ref().is_some());
        // CAST: Sizes of memory.
        (self.leaves.len() * core::mem::size_of::<SetOnce<Leaf>>()) as u64
            + leaves.count() as u64 * LEAF_BITS / 8
    }
}

/// Copies bytes of a map of `bits` bits, of which `word` gives the 64 around a bit, least
/// significant first, from byte `offset` on; the result is how many bytes there are.
pub fn copy_bits(bits: u64, offset: u64, out: &mut [u8], word: impl Fn(u64) -> u64) -> usize {
    let bytes = bits.div_ceil(8);
    let mut copied = 0;
    for (byte, at) in out.iter_mut().zip(offset..bytes) {
        let bit = at * 8;
        // CAST: The byte's own eight bits.
        *byte = (word(bit) >> (bit % WORD_BITS)) as u8;
        copied += 1;
    }
    copied
}
