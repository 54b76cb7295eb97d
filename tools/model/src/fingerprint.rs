// SPDX-License-Identifier: GPL-2.0

//! 64 bits for a state. States are made of hundreds of small numbers, one byte each: these are
//! packed into words and mixed with a wide multiplication, which takes a fraction of the standard
//! hasher's time.

#![forbid(unsafe_code)]

use std::hash::Hash;
use std::hash::Hasher;

/// Fractional digits of pi, made odd.
const MIX: u64 = 0x243f_6a88_85a3_08d3;
const SEED: u64 = 0x1319_8a2e_0370_7345;

/// The fingerprint of a state.
pub(crate) fn fingerprint(state: &impl Hash) -> u64 {
    let mut packer = Packer {
        sum: SEED,
        word: 0,
        bytes: 0,
    };
    state.hash(&mut packer);
    packer.finish()
}

struct Packer {
    sum: u64,
    word: u64,
    bytes: u32,
}

/// Both halves of the product, so that every bit of the sum reaches every other.
fn mixed(sum: u64, word: u64) -> u64 {
    let product = u128::from(sum ^ word) * u128::from(MIX ^ sum.rotate_left(32));
    (product as u64) ^ ((product >> 64) as u64)
}

impl Hasher for Packer {
    fn finish(&self) -> u64 {
        mixed(mixed(self.sum, self.word), u64::from(self.bytes) ^ SEED)
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u8(*byte));
    }

    fn write_u8(&mut self, byte: u8) {
        self.word = self.word << 8 | u64::from(byte);
        self.bytes += 1;
        if self.bytes.is_multiple_of(8) {
            self.sum = mixed(self.sum, self.word);
            self.word = 0;
        }
    }

    /// Discriminants and lengths: numbers below 255, for all states here.
    fn write_usize(&mut self, number: usize) {
        match u8::try_from(number) {
            Ok(byte) if byte != u8::MAX => self.write_u8(byte),
            _ => {
                self.write_u8(u8::MAX);
                self.write(&number.to_le_bytes());
            }
        }
    }

    fn write_isize(&mut self, number: isize) {
        self.write_usize(number as usize);
    }
}
