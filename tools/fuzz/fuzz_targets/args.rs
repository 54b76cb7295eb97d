// SPDX-License-Identifier: GPL-2.0

//! The program that libFuzzer runs for the target `args`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| dm_preserve_fuzz::targets::args(data));
