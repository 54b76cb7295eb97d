// SPDX-License-Identifier: GPL-2.0

//! A second look comes from the device. A program of its own, as what a process reads is counted
//! for all of its threads.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

use std::fs;
use std::fs::File;

use offline::Medium;

const BYTES: usize = 1 << 20;
/// `TMPFS_MAGIC`: its memory is the device.
const TMPFS: rustix::fs::FsWord = 0x0102_1994;

/// Bytes that this process has had devices read.
fn read_bytes() -> u64 {
    let counters = fs::read_to_string("/proc/self/io").unwrap();
    let line = counters
        .lines()
        .find_map(|l| l.strip_prefix("read_bytes: "));
    line.unwrap().parse().unwrap()
}

/// How much of the file a read of it has the device read.
fn reading(file: &mut File) -> u64 {
    let before = read_bytes();
    let mut bytes = vec![0; BYTES];
    file.read_at(&mut bytes, 0).unwrap();
    assert!(bytes.iter().all(|byte| *byte == 7));
    read_bytes() - before
}

#[test]
fn what_is_forgotten_is_read_from_the_device() {
    let mut file = tempfile::tempfile_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    if rustix::fs::fstatfs(&file).unwrap().f_type == TMPFS {
        return;
    }
    // Not even synced: what the page cache has alone must not be dropped, nor stay.
    file.write_at(&[7; BYTES], 0).unwrap();
    assert_eq!(reading(&mut file), 0);
    file.forget().unwrap();
    assert!(reading(&mut file) >= BYTES as u64);
}
