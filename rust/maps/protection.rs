// SPDX-License-Identifier: GPL-2.0

//! The designation: which chunks are protected.
//!
//! An immutable map. An edit makes a new one that shares what it did not touch, so that a snapshot
//! captures the designation by keeping a reference. Stretches of 32768 chunks that are all alike
//! take no memory beyond their table entry, and chunks beyond the table have the default.

#![forbid(unsafe_code)]

use crate::maps::bitmap::copy_bits;
use crate::maps::chunk::Chunks;
use crate::maps::leaf::LEAF_BITS;
use crate::maps::word::mask;
use crate::maps::word::next;
use crate::maps::word::Word;
use crate::maps::word::WORD_BITS;
use kernel::prelude::*;
use kernel::sync::Arc;

/// Words of a leaf.
const LEAF_WORDS: usize = (LEAF_BITS / WORD_BITS) as usize;

type Words = KVec<u64>;

/// A stretch of 32768 chunks.
enum Stretch {
    /// All are protected, or none is.
    Uniform(bool),
    /// One bit each.
    Mixed(Arc<Words>),
}

impl Stretch {
    fn share(&self) -> Self {
        match self {
            Self::Uniform(protected) => Self::Uniform(*protected),
            Self::Mixed(words) => Self::Mixed(words.clone()),
        }
    }

    fn word(&self, bit: u64) -> u64 {
        // CAST: Less than 512.
        let index = (bit % LEAF_BITS / WORD_BITS) as usize;
        match self {
            Self::Uniform(true) => u64::MAX,
            Self::Uniform(false) => 0,
            Self::Mixed(words) => words.get(index).copied().unwrap_or(0),
        }
    }

    /// Returns the number of bits that are set among the first `bits`.
    fn count(&self, bits: u64) -> u64 {
        match self {
            Self::Uniform(true) => bits,
            Self::Uniform(false) => 0,
            Self::Mixed(_) => (0..bits)
                .step_by(WORD_BITS as usize)
                .map(|start| u64::from((self.word(start) & mask(start, start, bits)).count_ones()))
                .sum(),
        }
    }

    /// Returns this stretch with the bits `from..to` (within it) set or cleared.
    fn edited(&self, from: u64, to: u64, protect: bool) -> Result<Self> {
        if from == 0 && to == LEAF_BITS {
            return Ok(Self::Uniform(protect));
        }
        if matches!(self, Self::Uniform(now) if *now == protect) {
            return Ok(Self::Uniform(protect));
        }
        let mut words = Words::with_capacity(LEAF_WORDS, GFP_KERNEL)?;
        for start in (0..LEAF_BITS).step_by(WORD_BITS as usize) {
            let mask = mask(start, from, to);
            let old = self.word(start);
            let new = match protect {
                true => old | mask,
                false => old & !mask,
            };
            words.push(new, GFP_KERNEL)?;
        }
        Ok(match words.first() {
            Some(&0) if words.iter().all(|word| *word == 0) => Self::Uniform(false),
            Some(&u64::MAX) if words.iter().all(|word| *word == u64::MAX) => Self::Uniform(true),
            _ => Self::Mixed(Arc::new(words, GFP_KERNEL)?),
        })
    }
}

/// A stretch of [`LEAF_BITS`] chunks, as it is saved.
pub enum Part<'a> {
    /// All are protected, or none is.
    Uniform(bool),
    /// One bit each.
    Words(&'a [u64]),
}

/// A map of protected chunks. See the [module's documentation](self).
pub struct Designation {
    default: bool,
    stretches: KVVec<Stretch>,
}

impl Designation {
    /// Returns a map in which every chunk has the default.
    pub fn new(default: bool) -> Self {
        Self {
            default,
            stretches: KVVec::new(),
        }
    }

    /// Returns true if a chunk is protected.
    pub fn get(&self, chunk: u64) -> bool {
        self.word(chunk) >> (chunk % WORD_BITS) & 1 != 0
    }

    fn word(&self, chunk: u64) -> u64 {
        self.around(chunk).bits
    }

    /// Returns the word of a chunk, and how far it is the same.
    pub fn around(&self, chunk: u64) -> Word {
        let index = usize::try_from(chunk / LEAF_BITS).unwrap_or(usize::MAX);
        match self.stretches.get(index) {
            Some(Stretch::Uniform(protected)) => Word::uniform(*protected, next(chunk, LEAF_BITS)),
            Some(stretch) => Word::single(stretch.word(chunk), chunk),
            None => Word::uniform(self.default, u64::MAX),
        }
    }

    /// Returns a new map in which all of `runs` are protected, or unprotected. May sleep.
    ///
    /// Errors: `EFBIG` for a run that ends too far away, `ENOMEM`.
    pub fn edited(&self, runs: &[Chunks], protect: bool) -> Result<Self> {
        let mut edited = self.share()?;
        edited.edit(runs, protect)?;
        Ok(edited)
    }

    /// Returns the same map once more, to be edited before others see it. May sleep.
    ///
    /// Errors: `ENOMEM`.
    pub fn share(&self) -> Result<Self> {
        let mut stretches = KVVec::with_capacity(self.stretches.len(), GFP_KERNEL)?;
        for stretch in self.stretches.iter() {
            stretches.push(stretch.share(), GFP_KERNEL)?;
        }
        Ok(Self {
            default: self.default,
            stretches,
        })
    }

    /// Protects or unprotects all of `runs`. May sleep.
    ///
    /// Errors: `EFBIG` for a run that ends too far away, `ENOMEM`; some may be edited then.
    pub fn edit(&mut self, runs: &[Chunks], protect: bool) -> Result {
        let end = runs.iter().map(|run| run.end).max().unwrap_or(0);
        let needed = usize::try_from(end.div_ceil(LEAF_BITS)).map_err(|_| EFBIG)?;
        let missing = needed.saturating_sub(self.stretches.len());
        self.stretches.reserve(missing, GFP_KERNEL)?;
        for _ in 0..missing {
            self.stretches
                .push(Stretch::Uniform(self.default), GFP_KERNEL)?;
        }
        for run in runs {
            edit(&mut self.stretches, *run, protect)?;
        }
        Ok(())
    }

    /// Returns true if the chunks beyond the stretches are protected.
    pub fn default_protected(&self) -> bool {
        self.default
    }

    /// Returns the stretches, to be saved.
    pub fn parts(&self) -> impl ExactSizeIterator<Item = Part<'_>> {
        self.stretches.iter().map(|stretch| match stretch {
            Stretch::Uniform(protected) => Part::Uniform(*protected),
            Stretch::Mixed(words) => Part::Words(words),
        })
    }

    /// Adds a saved stretch behind the last one. May sleep.
    ///
    /// Errors: `ENOMEM`.
    pub fn push_part(&mut self, part: Part<'_>) -> Result {
        let stretch = match part {
            Part::Uniform(protected) => Stretch::Uniform(protected),
            Part::Words(saved) => {
                let mut words = Words::with_capacity(LEAF_WORDS, GFP_KERNEL)?;
                words.extend_from_slice(saved, GFP_KERNEL)?;
                Stretch::Mixed(Arc::new(words, GFP_KERNEL)?)
            }
        };
        Ok(self.stretches.push(stretch, GFP_KERNEL)?)
    }

    /// Returns the number of protected chunks among the first `chunks`.
    pub fn count(&self, chunks: u64) -> u64 {
        let mut count = 0;
        let mut start = 0;
        for stretch in self.stretches.iter() {
            let len = chunks.saturating_sub(start).min(LEAF_BITS);
            count += stretch.count(len);
            start += LEAF_BITS;
        }
        if self.default {
            count += chunks.saturating_sub(start);
        }
        count
    }

    /// Copies the first `chunks` bits to `out`, from byte `offset` on. Returns the number of bytes
    /// copied.
    pub fn read_bytes(&self, chunks: u64, offset: u64, out: &mut [u8]) -> usize {
        copy_bits(chunks, offset, out, |bit| {
            let start = bit - bit % WORD_BITS;
            self.word(bit) & mask(start, start, chunks)
        })
    }
}

/// Edits the stretches that `run` touches.
fn edit(stretches: &mut [Stretch], run: Chunks, protect: bool) -> Result {
    let mut at = run.start;
    while at < run.end {
        let base = at - at % LEAF_BITS;
        let to = run.end.min(base + LEAF_BITS);
        let index = usize::try_from(at / LEAF_BITS).map_err(|_| EFBIG)?;
        let stretch = stretches.get_mut(index).ok_or(EINVAL)?;
        *stretch = stretch.edited(at - base, to - base, protect)?;
        at = to;
    }
    Ok(())
}
