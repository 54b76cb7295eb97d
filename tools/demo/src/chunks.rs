// SPDX-License-Identifier: GPL-2.0

//! Sets of chunks: every map of the demo, wherever it comes from, becomes one of these.

#![forbid(unsafe_code)]

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;

/// A set of the chunks of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunks(Vec<bool>);

impl Chunks {
    /// None of `total` chunks.
    pub fn none(total: usize) -> Self {
        Chunks(vec![false; total])
    }

    /// All of `total` chunks.
    pub fn all(total: usize) -> Self {
        Chunks(vec![true; total])
    }

    /// From a bitmap: chunk `i` is bit `i % 8`, least significant first, of byte `i / 8`.
    pub fn from_bits(bits: &[u8], total: usize) -> Result<Self> {
        ensure!(bits.len() >= total.div_ceil(8), "the bitmap is too short");
        Ok(Chunks(
            (0..total)
                .map(|i| bits[i / 8] >> (i % 8) & 1 != 0)
                .collect(),
        ))
    }

    /// From what `preserve map` prints: lines `START+LEN ATTRIBUTES`.
    pub fn from_map(text: &str, total: usize) -> Result<Self> {
        let mut chunks = Chunks::none(total);
        for line in text.lines() {
            let what = || format!("not a line of `preserve map`: {line:?}");
            let range = line.split_whitespace().next().with_context(what)?;
            let (start, len) = range.split_once('+').with_context(what)?;
            chunks.add(
                start.parse().with_context(what)?,
                len.parse().with_context(what)?,
            )?;
        }
        Ok(chunks)
    }

    /// Adds a run.
    pub fn add(&mut self, start: usize, len: usize) -> Result<()> {
        let end = start.checked_add(len).context("a run ends nowhere")?;
        self.0
            .get_mut(start..end)
            .with_context(|| format!("chunks {start}+{len} are beyond the device"))?
            .fill(true);
        Ok(())
    }

    /// Whether a chunk is in it.
    pub fn has(&self, chunk: usize) -> bool {
        self.0.get(chunk).copied().unwrap_or(false)
    }

    /// How many are in it.
    pub fn count(&self) -> usize {
        self.0.iter().filter(|c| **c).count()
    }

    /// Those that are in both.
    pub fn and(&self, other: &Chunks) -> Chunks {
        self.with(other, |a, b| a && b)
    }

    /// Those that are not in the other.
    pub fn minus(&self, other: &Chunks) -> Chunks {
        self.with(other, |a, b| a && !b)
    }

    /// Adds those of the other.
    pub fn join(&mut self, other: &Chunks) {
        self.0.iter_mut().zip(&other.0).for_each(|(a, b)| *a |= *b);
    }

    /// Fails, with examples, unless all of these are in the other, too.
    pub fn must_be_within(&self, other: &Chunks, what: &str) -> Result<()> {
        let outside = self.minus(other);
        ensure!(outside.count() == 0, "{what}: {}", outside.examples());
        Ok(())
    }

    /// Fails, with examples, if both have a chunk.
    pub fn must_not_meet(&self, other: &Chunks, what: &str) -> Result<()> {
        let both = self.and(other);
        ensure!(both.count() == 0, "{what}: {}", both.examples());
        Ok(())
    }

    /// Fails, with examples, unless both are the same.
    pub fn must_be(&self, other: &Chunks, what: &str) -> Result<()> {
        let (more, less) = (self.minus(other), other.minus(self));
        ensure!(
            more.count() + less.count() == 0,
            "{what}: too many: {}; missing: {}",
            more.examples(),
            less.examples()
        );
        Ok(())
    }

    fn with(&self, other: &Chunks, f: impl Fn(bool, bool) -> bool) -> Chunks {
        Chunks(
            self.0
                .iter()
                .zip(&other.0)
                .map(|(a, b)| f(*a, *b))
                .collect(),
        )
    }

    fn examples(&self) -> String {
        let first: Vec<_> = (0..self.0.len()).filter(|c| self.has(*c)).take(8).collect();
        format!("{} chunks, the first are {first:?}", self.count())
    }
}

#[cfg(test)]
mod tests {
    use super::Chunks;

    #[test]
    fn maps_and_bitmaps_say_the_same() {
        let map = Chunks::from_map("1+2 changed\n9+1 changed,protected\n", 10).unwrap();
        let bits = Chunks::from_bits(&[0b110, 0b10], 10).unwrap();
        map.must_be(&bits, "both").unwrap();
        assert_eq!(map.count(), 3);
        assert!(Chunks::from_map("9+2 changed", 10).is_err());
        assert!(Chunks::from_map("+ changed", 10).is_err());
        assert!(Chunks::from_bits(&[0], 10).is_err());
    }

    #[test]
    fn each_check_can_fail() {
        let small = Chunks::from_map("1+2", 10).unwrap();
        let large = Chunks::from_map("1+3", 10).unwrap();
        let other = Chunks::from_map("5+1", 10).unwrap();
        assert!(small.must_be(&large, "").is_err());
        assert!(large.must_be(&small, "").is_err());
        assert!(large.must_be_within(&small, "").is_err());
        assert!(small.must_not_meet(&large, "").is_err());
        small.must_be_within(&large, "").unwrap();
        small.must_not_meet(&other, "").unwrap();
    }
}
