// SPDX-License-Identifier: GPL-2.0

//! A sparse bitmap that is read and set without a lock.
//!
//! Two levels: a table of leaves, and leaves of 4 KiB that come into being when they are first
//! needed and stay as long as the bitmap. One that is set whole before it has come into being takes
//! no memory. Bits are only ever set, never cleared: a bit that was seen set stays set.

#![forbid(unsafe_code)]

use crate::base::Apart;
use crate::maps::chunk::Chunks;
use crate::maps::leaf::Leaf;
use crate::maps::leaf::LEAF_BITS;
use crate::maps::reserve::Allocated;
use crate::maps::reserve::Supply;
use crate::maps::word::mask;
use crate::maps::word::next;
use crate::maps::word::Word;
use crate::maps::word::WORD_BITS;
use kernel::prelude::*;
use kernel::sync::atomic::Acquire;
use kernel::sync::atomic::Atomic;
use kernel::sync::atomic::Relaxed;
use kernel::sync::atomic::Release;
use kernel::sync::SetOnce;

/// Most leaves: what one allocation can hold the table of, 4 PiB of chunks of 4 KiB.
const MAX_LEAVES: usize = 1 << 25;

/// The bitmap. Bits beyond its end read as unset.
pub struct Bitmap {
    leaves: KVVec<SetOnce<Leaf>>,
    bits: u64,
    /// Changes with each first write, next to what every write reads.
    count: Apart<Atomic<u64>>,
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
    /// Allocates an empty bitmap of `bits` bits. May sleep.
    ///
    /// Errors: `EFBIG` for a bitmap that is too long, `ENOMEM`.
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
            count: Apart(Atomic::new(0)),
        })
    }

    /// Returns the number of bits, set or not.
    pub fn len(&self) -> u64 {
        self.bits
    }

    /// Returns the number of bits that are set.
    pub fn count(&self) -> u64 {
        self.count.load(Relaxed)
    }

    fn leaf(&self, bit: u64) -> Option<&Leaf> {
        self.leaves.get(place(bit).0)?.as_ref()
    }

    /// Returns the word that holds `bit`, zero if its leaf does not exist. Loads with acquire
    /// ordering: later accesses are not moved before it.
    #[inline]
    pub fn word(&self, bit: u64) -> u64 {
        self.around(bit).bits
    }

    /// Returns the word that holds `bit`, as [`Bitmap::word`], and how far it is the same.
    #[inline]
    pub fn around(&self, bit: u64) -> Word {
        let Some(leaf) = self.leaf(bit) else {
            return Word::uniform(false, next(bit, LEAF_BITS));
        };
        match leaf.word(place(bit).1) {
            Some(word) => Word::single(word.load(Acquire), bit),
            None => Word::uniform(true, next(bit, LEAF_BITS)),
        }
    }

    /// Returns true if a bit is set. Then everything done before the bit was set is visible.
    #[inline]
    pub fn get(&self, bit: u64) -> bool {
        self.word(bit) & place(bit).2 != 0
    }

    /// Allocates the leaves of a run, so that its bits can be set without allocating. May sleep.
    ///
    /// Errors: `ENOMEM`.
    pub fn prepare(&self, run: Chunks) -> Result {
        self.prepare_from(run, &Allocated)
    }

    /// As [`Bitmap::prepare`], with leaves from a supply.
    ///
    /// Errors: `ENOMEM`.
    pub fn prepare_from(&self, run: Chunks, supply: &impl Supply) -> Result {
        let mut bit = run.start;
        while bit < run.end.min(self.bits) {
            self.ensure_leaf(bit, supply)?;
            bit = next(bit, LEAF_BITS);
        }
        Ok(())
    }

    /// Allocates what [`Bitmap::set_run`] needs for a run, so that it does not fail: at most two
    /// leaves, as those that it sets whole take no memory. May sleep.
    ///
    /// Errors: `ENOMEM`.
    pub fn prepare_run(&self, run: Chunks) -> Result {
        let end = run.end.min(self.bits);
        let first = first_leaf(run.start, end);
        let last = Chunks {
            start: first.end.max(end.saturating_sub(1) / LEAF_BITS * LEAF_BITS),
            end,
        };
        for leaf in [first, last] {
            if !leaf.is_empty() && leaf.len() < LEAF_BITS {
                self.ensure_leaf(leaf.start, &Allocated)?;
            }
        }
        Ok(())
    }

    /// Adds the leaf of a bit, unless there is one.
    fn ensure_leaf(&self, bit: u64, supply: &impl Supply) -> Result {
        let slot = self.leaves.get(place(bit).0).ok_or(EINVAL)?;
        if slot.as_ref().is_none() && !slot.populate(supply.leaf()?) {
            // Whoever adds it at the same time may not be done yet.
            while slot.as_ref().is_none() {
                core::hint::spin_loop();
            }
        }
        Ok(())
    }

    /// Adds the leaf of a bit, if it can be allocated without sleeping and nobody else is quicker.
    fn add_leaf_nowait(&self, bit: u64) -> Result {
        let slot = self.leaves.get(place(bit).0).ok_or(EINVAL)?;
        let _ = slot.populate(Leaf::empty(GFP_NOWAIT)?);
        Ok(())
    }

    /// Sets a bit. Returns whether it was set before, or `None` if the bit or its leaf does not
    /// exist.
    ///
    /// Everything done before is visible to whoever sees the bit set.
    pub fn set(&self, bit: u64) -> Option<bool> {
        if bit >= self.bits {
            return None;
        }
        Some(self.set_in_word(bit, place(bit).2)? == 0)
    }

    /// Sets the bits of `mask` in the word of `bit`. Returns those that were not set before, or
    /// `None` if the leaf does not exist. No bit of `mask` may be beyond the end.
    fn set_in_word(&self, bit: u64, mask: u64) -> Option<u64> {
        let Some(word) = self.leaf(bit)?.word(place(bit).1) else {
            return Some(0);
        };
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

    /// Returns the first bit of the run that is set, if `wanted`, or that is not set.
    pub fn find(&self, run: Chunks, wanted: bool) -> Option<u64> {
        let mut bit = run.start;
        while bit < run.end {
            let word = self.around(bit);
            let candidates = match wanted {
                true => word.bits,
                false => !word.bits,
            } >> (bit % WORD_BITS);
            if candidates != 0 {
                let found = bit + u64::from(candidates.trailing_zeros());
                return (found < run.end).then_some(found);
            }
            bit = word.end;
        }
        None
    }

    /// Returns the number of leaves, allocated or not.
    pub fn leaves(&self) -> u64 {
        // CAST: A length in memory.
        self.leaves.len() as u64
    }

    /// Returns true if a leaf is allocated, so that one of its bits may be set.
    pub fn has_leaf(&self, leaf: u64) -> bool {
        leaf.checked_mul(LEAF_BITS)
            .is_some_and(|bit| self.leaf(bit).is_some())
    }

    /// Sets the bits that are set in `word`, whose first bit stands for number `bit`, a multiple of
    /// 64. Ignores bits beyond the end. May sleep.
    ///
    /// Errors: `ENOMEM`.
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

    /// Sets all bits of a run, a word at a time. Ignores bits beyond the end. May sleep, but does
    /// not fail for a run that was [prepared](Bitmap::prepare_run).
    ///
    /// Errors: `ENOMEM`; some bits may be set then.
    pub fn set_run(&self, run: Chunks) -> Result {
        self.set_leaf_by_leaf(run, |bit| self.ensure_leaf(bit, &Allocated))
    }

    /// Sets all bits of a run like [`Bitmap::set_run`], but adds leaves only if they can be
    /// allocated without sleeping.
    ///
    /// Errors: `ENOMEM`; some bits may be set then.
    pub fn set_run_nowait(&self, run: Chunks) -> Result {
        self.set_leaf_by_leaf(run, |bit| match self.leaf(bit) {
            Some(_) => Ok(()),
            None => self.add_leaf_nowait(bit),
        })
    }

    /// Sets all bits of a run, the leaves of which `make_leaf` makes where it has to.
    fn set_leaf_by_leaf(&self, run: Chunks, make_leaf: impl Fn(u64) -> Result) -> Result {
        let end = run.end.min(self.bits);
        let mut part = first_leaf(run.start, end);
        while !part.is_empty() {
            if part.len() < LEAF_BITS || !self.add_full_leaf(part.start) {
                make_leaf(part.start)?;
                self.set_in_leaf(part).ok_or(ENOMEM)?;
            }
            part = first_leaf(part.end, end);
        }
        Ok(())
    }

    /// Sets all bits of the leaf of a bit. Returns false if it exists already, or somebody else is
    /// just adding it.
    fn add_full_leaf(&self, bit: u64) -> bool {
        let slot = self.leaves.get(place(bit).0);
        let added = slot.is_some_and(|slot| slot.populate(Leaf::full()));
        if added {
            self.count.add(LEAF_BITS, Relaxed);
        }
        added
    }

    /// Sets the bits of a run within a leaf. Returns `None` if the leaf does not exist.
    fn set_in_leaf(&self, run: Chunks) -> Option<()> {
        let mut bit = run.start - run.start % WORD_BITS;
        while bit < run.end {
            self.set_in_word(bit, mask(bit, run.start, run.end))?;
            bit += WORD_BITS;
        }
        Some(())
    }

    /// Returns the number of bytes that the bitmap occupies.
    pub fn memory(&self) -> u64 {
        let leaves = self.leaves.iter().filter_map(|leaf| leaf.as_ref());
        let leaves = leaves.filter(|leaf| !leaf.is_full());
        // CAST: Sizes of memory.
        (self.leaves.len() * core::mem::size_of::<SetOnce<Leaf>>()) as u64
            + leaves.count() as u64 * LEAF_BITS / 8
    }
}

/// Returns the part of the run `from..to` that lies in the leaf of its first bit.
fn first_leaf(from: u64, to: u64) -> Chunks {
    Chunks {
        start: from,
        end: to.min(next(from, LEAF_BITS)),
    }
}

/// Copies a map of `bits` bits to `out`, from its byte `offset` on, least significant bit first.
/// Returns the number of bytes copied. `word` returns the 64 bits around a bit.
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
