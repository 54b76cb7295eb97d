// SPDX-License-Identifier: GPL-2.0

//! Persistent stores in temporary files, made with the module's code, and the command's word on
//! them.

#![forbid(unsafe_code)]
#![allow(dead_code)]
#![allow(clippy::unwrap_used)]

use std::fs;
use std::process::Command;

use offline::builder::Builder;
use serde_json::Value;

pub const BLOCK: usize = 4096;
const BLOCKS: u64 = 2048;
const CHUNKS: u64 = 5000;

/// What the command said.
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// Runs the command on a file with these bytes, as `[OPTION...] check|dump FILE`.
pub fn run(command: &[&str], bytes: &[u8]) -> Said {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), bytes).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_preserve"))
        .args(command)
        .arg(file.path())
        .output()
        .unwrap();
    assert_eq!(fs::read(file.path()).unwrap(), bytes, "it changes nothing");
    Said {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The report of `check --json`; its exit code and `clean` agree.
pub fn check(builder: &mut Builder) -> Value {
    let said = run(&["check", "--json"], builder.bytes());
    let report: Value = serde_json::from_str(&said.out).unwrap();
    let clean = report["clean"].as_bool().unwrap();
    assert_eq!(said.code, if clean { 0 } else { 5 }, "{}", said.out);
    assert_eq!(clean, said.err.is_empty(), "{}", said.err);
    assert_eq!(clean, report["damages"] == 0);
    report
}

/// The only damage of a store: its part, and what is said of it.
pub fn damage(builder: &mut Builder) -> (String, String) {
    let report = check(builder);
    assert_eq!(report["damages"], 1, "{report:#}");
    let damage = &report["damage"][0];
    let text = |name: &str| damage[name].as_str().unwrap().to_string();
    (text("part"), text("what"))
}

/// A store has this damage and no other.
#[track_caller]
pub fn assert_damage(builder: &mut Builder, part: &str, words: &str) {
    let (found, what) = damage(builder);
    assert_eq!(found, part, "{what}");
    assert!(what.contains(words), "{what:?} does not say {words:?}");
}

/// The lines of `dump --json`.
pub fn dump(builder: &mut Builder) -> Vec<Value> {
    let said = run(&["dump", "--json"], builder.bytes());
    assert_eq!(said.code, 0, "{}", said.err);
    let lines = said.out.lines();
    lines.map(|l| serde_json::from_str(l).unwrap()).collect()
}

/// A store for a device of 5000 chunks of 4 KiB, without a snapshot.
pub fn empty() -> Builder {
    Builder::new(BLOCKS, CHUNKS * 8, 8).unwrap()
}

/// With two snapshots (1 and 2): chunks 5, 6, 7 and 2000 copied in the epoch of the first, 5 and
/// 100 in that of the second. All of that is in the log. Segments 0 and 1.
pub fn full() -> Builder {
    let mut builder = empty();
    builder.snapshot().unwrap();
    builder.segment(0).unwrap();
    builder.copy(&[(5, 1), (6, 2), (7, 3)]).unwrap();
    builder.copy(&[(2000, 4)]).unwrap();
    builder.snapshot().unwrap();
    builder.segment(1).unwrap();
    builder.copy(&[(5, 11), (100, 12)]).unwrap();
    builder
}

/// The same, all of it in a checkpoint.
pub fn saved() -> Builder {
    let mut builder = full();
    builder.checkpoint().unwrap();
    builder
}

/// The same, with designations that take a checkpoint of several blocks.
pub fn large() -> Builder {
    let mut builder = full();
    for n in 0..3 {
        builder.protect(10 + n, 11 + n, false).unwrap();
        builder.snapshot().unwrap();
    }
    builder.checkpoint().unwrap();
    builder
}

/// Flips a bit of a block.
pub fn flip(builder: &mut Builder, block: u64, byte: usize) {
    builder.block(block)[byte] ^= 0x10;
}

/// Changes a block and corrects its checksum.
pub fn forge(builder: &mut Builder, block: u64, change: impl FnOnce(&mut [u8])) {
    change(builder.block(block));
    builder.reseal(block);
}
