// SPDX-License-Identifier: GPL-2.0

//! Bad values in fields of otherwise good requests.

#![forbid(unsafe_code)]

use std::mem::offset_of;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use preserve::uapi::*;
use rustix::io::Errno;
use vmtest::disk::expect_errno;

use super::all;
use super::good;
use super::rig;
use crate::Env;

/// A request, where in its argument, how many bytes, which value, which error.
type Case = (u32, usize, usize, u64, Errno);

const FLAGS: usize = 4;

fn cases(id: u64) -> Vec<Case> {
    let mut cases = Vec::new();
    // No request knows all flags, and most know none.
    for nr in NR_VERSION..=NR_TRUST {
        let known = match nr {
            NR_SNAPSHOT => SNAPSHOT_FREEZE,
            NR_EDIT => EDIT_UNPROTECT,
            _ => 0,
        };
        for bit in (0..32).filter(|bit| 1 << bit & known == 0) {
            cases.push((nr, FLAGS, 4, 1 << bit, Errno::INVAL));
        }
    }
    let take = |at, value, errno| (NR_SNAPSHOT, at, 4, value, errno);
    let edit = |at, value, errno| (NR_EDIT, at, 4, value, errno);
    let read = |at, len, value, errno| (NR_READ, at, len, value, errno);
    let list = |at, len, value, errno| (NR_EXTENTS, at, len, value, errno);
    let release = |at, value, errno| (NR_RELEASE, at, 8, value, errno);
    let range = offset_of!(ReleaseRange, range);
    cases.extend([
        (
            NR_VERSION,
            offset_of!(Version, reserved),
            4,
            1,
            Errno::INVAL,
        ),
        take(offset_of!(TakeSnapshot, reserved), 1, Errno::INVAL),
        take(offset_of!(TakeSnapshot, count), 0, Errno::INVAL),
        take(offset_of!(TakeSnapshot, count), 2, Errno::OPNOTSUPP),
        take(
            offset_of!(TakeSnapshot, count),
            u64::from(u32::MAX),
            Errno::OPNOTSUPP,
        ),
        take(offset_of!(TakeSnapshot, scope), 2, Errno::INVAL),
        take(
            offset_of!(TakeSnapshot, scope),
            u64::from(u32::MAX),
            Errno::INVAL,
        ),
        take(
            offset_of!(TakeSnapshot, keep),
            u64::from(MAX_SNAPSHOTS) + 1,
            Errno::INVAL,
        ),
        take(
            offset_of!(TakeSnapshot, keep),
            u64::from(u32::MAX),
            Errno::INVAL,
        ),
        edit(offset_of!(EditRanges, reserved), 1, Errno::INVAL),
        edit(offset_of!(EditRanges, count), 0, Errno::INVAL),
        edit(
            offset_of!(EditRanges, count),
            u64::from(MAX_RANGES) + 1,
            Errno::INVAL,
        ),
        edit(
            offset_of!(EditRanges, count),
            u64::from(u32::MAX),
            Errno::INVAL,
        ),
        // The other ranges are zeroes, and so empty: all or nothing.
        edit(offset_of!(EditRanges, count), 2, Errno::INVAL),
        read(offset_of!(ReadFrozen, reserved), 4, 1, Errno::INVAL),
        read(offset_of!(ReadFrozen, id), 8, 0, Errno::NOENT),
        read(offset_of!(ReadFrozen, id), 8, id + 1, Errno::NOENT),
        read(offset_of!(ReadFrozen, id), 8, u64::MAX, Errno::NOENT),
        list(offset_of!(ListExtents, from), 8, 999, Errno::NOENT),
        list(offset_of!(ListExtents, to), 8, u64::MAX, Errno::NOENT),
        list(offset_of!(ListExtents, mask), 4, 16, Errno::INVAL),
        list(offset_of!(ListExtents, value), 4, 1, Errno::INVAL),
        release(offset_of!(ReleaseRange, id), 0, Errno::NOENT),
        release(offset_of!(ReleaseRange, id), id + 1, Errno::NOENT),
        release(range + offset_of!(Range, len), 0, Errno::INVAL),
        release(range + offset_of!(Range, len), 65, Errno::RANGE),
        release(range + offset_of!(Range, len), u64::MAX, Errno::RANGE),
        release(range + offset_of!(Range, start), 64, Errno::RANGE),
        release(range + offset_of!(Range, start), u64::MAX, Errno::RANGE),
        release(range + offset_of!(Range, start), u64::MAX - 7, Errno::RANGE),
        (NR_DROP, offset_of!(SnapshotRef, id), 8, 0, Errno::NOENT),
        (
            NR_DROP,
            offset_of!(SnapshotRef, id),
            8,
            u64::MAX,
            Errno::NOENT,
        ),
        (NR_FORGET, offset_of!(SnapshotRef, id), 8, id, Errno::NOENT),
        (
            NR_SNAPSHOT_INFO,
            offset_of!(SnapshotInfo, id),
            8,
            u64::MAX,
            Errno::NOENT,
        ),
        (
            NR_SNAPSHOT_INFO,
            offset_of!(SnapshotInfo, id),
            8,
            id + 1,
            Errno::NOENT,
        ),
    ]);
    cases
}

/// Values in the ranges of an edit.
const RANGES: [(u64, u64, Errno); 7] = [
    (0, 0, Errno::INVAL),
    (u64::MAX, 0, Errno::INVAL),
    (0, 65, Errno::RANGE),
    (64, 1, Errno::RANGE),
    (u64::MAX, 1, Errno::RANGE),
    (8, u64::MAX, Errno::RANGE),
    (1 << 63, 1 << 63, Errno::RANGE),
];

pub fn fields(_: &Env) -> Result<()> {
    let (rig, id) = rig()?;
    let before = all(&rig)?;
    let good = good(&rig, id);
    let find = |nr| good.iter().find(|g| g.nr == nr).context("no such request");
    for (nr, at, len, value, errno) in cases(id) {
        let good = find(nr)?;
        let mut bytes = good.bytes.clone();
        bytes[at..at + len].copy_from_slice(&value.to_ne_bytes()[..len]);
        let what = format!("request {nr} with {value:#x} at {at}");
        expect_errno(&what, good.call(&rig, &bytes), errno)?;
        let after = all(&rig)?;
        ensure!(after == before, "{what}: {after:?} instead of {before:?}");
    }
    for (start, len, errno) in RANGES {
        for flags in [0, EDIT_UNPROTECT] {
            let result = rig.control.edit(
                flags == 0,
                // The good one must not take effect either.
                &[Range { start: 0, len: 64 }, Range { start, len }],
            );
            expect_errno(&format!("edit {start}+{len}"), result, errno)?;
        }
        let after = all(&rig)?;
        ensure!(
            after == before,
            "edit {start}+{len}: {after:?} instead of {before:?}"
        );
    }
    beyond_the_end(&rig, id)
}

/// A start beyond the device is no error, but there is nothing.
fn beyond_the_end(rig: &vmtest::rig::Rig, id: u64) -> Result<()> {
    for start in [64, 65, 1 << 40, u64::MAX - 8, u64::MAX] {
        let mut buffer = vmtest::disk::Buffer::new(8);
        match rig.control.read(id, start, &mut buffer) {
            Ok(vmtest::control::Piece::Data(0)) | Err(_) => {}
            Ok(piece) => anyhow::bail!("reading at {start}: {piece:?}"),
        }
        ensure!(
            buffer.iter().all(|b| *b == 0),
            "reading at {start} found something"
        );
    }
    Ok(())
}
