// SPDX-License-Identifier: GPL-2.0

//! Whatever is in a store, a check ends, and so does the look before a rollback (I8). Checksums do
//! not help against whoever can compute them: each field of each kind of block gets values that
//! nobody wrote, under a checksum that is right.

#![forbid(unsafe_code)]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::panic::catch_unwind;
use std::panic::AssertUnwindSafe;

use crate::builder::Builder;
use crate::Error;
use crate::Rollback;
use crate::Silent;
use dm_preserve_core::format::BLOCK_BYTES;

const VALUES: [u64; 6] = [0, 1, 77, 1 << 40, 1 << 63, u64::MAX];

/// A store with something of everything, in its checkpoint and again in its log; the blocks of
/// both.
fn store() -> (Builder, Vec<u64>) {
    let mut builder = Builder::new(1024, 5000 * 8, 8).unwrap();
    everything(&mut builder, 0);
    builder.checkpoint().unwrap();
    let mut blocks = vec![0, 1];
    let mut image = builder.image_block(0);
    while builder.block(image).starts_with(b"dmprsv1I") {
        blocks.push(image);
        image += 1;
    }
    blocks.extend(everything(&mut builder, 1));
    (builder, blocks)
}

fn everything(builder: &mut Builder, segment: u64) -> Vec<u64> {
    let base = builder.snapshot().unwrap();
    let unprotected = builder.protect(1, 4, false).unwrap();
    let id = builder.incremental(base).unwrap();
    vec![
        unprotected - 1,
        unprotected,
        unprotected + 1,
        builder.segment(segment).unwrap(),
        builder.copy(&[(5, 1), (100, 2)]).unwrap(),
        builder.region(3).unwrap(),
        builder.gone(77).unwrap(),
        builder.narrow(id).unwrap(),
        builder.release(id, 9, 12).unwrap(),
        builder.drop_snapshot(base).unwrap(),
    ]
}

fn look(file: &File, origin: &File) {
    let file = || file.try_clone().unwrap();
    // Damage, an error, or nothing wrong: all but a panic is right.
    let _ = crate::check(file(), &Silent);
    let _ = crate::dump::<Error>(file(), &Silent, &mut |line| {
        let _ = line.to_string();
        Ok(())
    });
    let origin = origin.try_clone().unwrap();
    if let Ok(rollback) = Rollback::prepare(file(), origin, None, &Silent) {
        let _ = rollback.report().whole();
    }
}

#[test]
fn i8_a_forged_store_never_panics() {
    let (mut builder, blocks) = store();
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(builder.bytes(), 0).unwrap();
    assert!(
        crate::check(file.try_clone().unwrap(), &Silent)
            .unwrap()
            .clean
    );
    let origin = tempfile::tempfile().unwrap();
    origin.set_len(5000 * BLOCK_BYTES as u64).unwrap();
    let mut bad = Vec::new();
    for at in blocks {
        let place = at * BLOCK_BYTES as u64;
        let old = builder.block(at).to_vec();
        // Every field but those of long lists and leaves.
        let filled = (16..old.len())
            .step_by(8)
            .filter(|at| old[*at..*at + 8] != [0; 8]);
        let first = (16..184).step_by(8);
        for offset in first.chain(filled.skip(23).take(40)) {
            for value in VALUES {
                builder.block(at)[offset..offset + 8].copy_from_slice(&value.to_le_bytes());
                builder.reseal(at);
                file.write_all_at(builder.block(at), place).unwrap();
                if catch_unwind(AssertUnwindSafe(|| look(&file, &origin))).is_err() {
                    bad.push((at, offset, value));
                }
                builder.block(at).copy_from_slice(&old);
            }
        }
        file.write_all_at(&old, place).unwrap();
    }
    assert!(bad.is_empty(), "{bad:?}");
}
