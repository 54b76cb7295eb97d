// SPDX-License-Identifier: GPL-2.0

//! The kernel module's kernel-free files, compiled unchanged in user space over
//! `tools/kernel-shim`, with their tests.
//!
//! The invariants I1 to I8 that the tests name are those of `Documentation/testing.rst`, the rules
//! 1 to 6 those of `Documentation/design.rst`. `PROPTEST_CASES` sets how many random cases each
//! property gets.

#![forbid(unsafe_code)]

#[cfg(test)]
mod tests;
