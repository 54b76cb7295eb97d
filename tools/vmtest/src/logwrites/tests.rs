// SPDX-License-Identifier: GPL-2.0

//! Tests of what a log of writes says, and of the devices that a crash could have left.

#![forbid(unsafe_code)]

use std::fs::File;

use anyhow::Result;

use super::Entry;
use super::Image;
use super::Log;
use super::DISCARD;
use super::FLUSH;
use super::FUA;
use super::MAGIC;
use super::VERSION;
use crate::pattern::SECTOR;

const NAME: &str = "vmtest-logwrites";

/// A log of these entries; the sectors of data of the first are filled with 10, 11, ..., those of
/// the second with 20, ...
fn log(name: &str, entries: &[[u64; 3]], cut: u64) -> Result<Log> {
    let path = std::env::temp_dir().join(format!("{NAME}-{name}-{}", std::process::id()));
    let mut bytes = Vec::new();
    let mut sector = |numbers: &[u64], filled: u64| {
        let mut sector = [filled as u8; SECTOR];
        for (place, number) in sector.chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        bytes.extend(sector);
    };
    sector(&[MAGIC, VERSION, entries.len() as u64, 512], 0);
    for (n, [start, sectors, flags]) in (1..).zip(entries) {
        sector(&[*start, *sectors, *flags, 0], 0);
        let data = if flags & DISCARD == 0 { *sectors } else { 0 };
        (0..data.min(10)).for_each(|i| sector(&[], n * 10 + i));
    }
    std::fs::write(&path, &bytes)?;
    let file = File::options().read(true).write(true).open(&path)?;
    std::fs::remove_file(&path)?;
    file.set_len(bytes.len() as u64 - cut)?;
    Log::read(file)
}

#[test]
fn a_prefix_is_applied_in_order() {
    let log = log(
        "prefix",
        &[[1, 2, 0], [0, 0, FLUSH], [2, 2, FUA], [1, 1, DISCARD]],
        0,
    );
    let log = log.expect("a log");
    let mut image = Image::zeroes(5);
    let mut seen = Vec::new();
    for entry in &log.entries {
        image.apply(&log, entry).expect("applied");
        seen.push(
            image
                .bytes()
                .iter()
                .step_by(SECTOR)
                .copied()
                .collect::<Vec<_>>(),
        );
    }
    let wanted = [
        [0, 10, 11, 0, 0],
        [0, 10, 11, 0, 0],
        [0, 10, 30, 31, 0],
        [0, 0, 30, 31, 0],
    ];
    assert_eq!(seen, wanted);
    let cached: Vec<bool> = log.entries.iter().map(Entry::was_cached).collect();
    assert_eq!(cached, [true, false, false, true]);
}

#[test]
fn a_torn_write_has_its_own_sectors() {
    let log = log("torn", &[[1, 3, FUA]], 0).expect("a log");
    let mut image = Image::zeroes(5);
    let mut kept = [true, false, true].into_iter();
    let kept = || kept.next().unwrap_or(false);
    image
        .apply_torn(&log, &log.entries[0], kept)
        .expect("applied");
    let found: Vec<u8> = image.bytes().iter().step_by(SECTOR).copied().collect();
    assert_eq!(found, [0, 10, 0, 12, 0]);
}

#[test]
fn what_is_no_log_is_an_error() {
    assert!(log("short", &[[1, 2, 0]], 1).is_err());
    assert!(log("long", &[[1, u64::MAX, 0]], 0).is_err());
    assert!(log("longer", &[[1, 1 << 40, 0]], 0).is_err());
    let good = log("good", &[[4, 2, 0]], 0).expect("a log");
    let beyond = Image::zeroes(5).apply(&good, &good.entries[0]);
    assert!(beyond.is_err());
}
