// SPDX-License-Identifier: GPL-2.0

//! Arguments of ioctls, and what becomes of the ranges that they name.
//!
//! ```text
//! number of the call (1 byte), the argument's bytes; for NR_EDIT and NR_RELEASE: ranges behind it
//! ```

#![forbid(unsafe_code)]

use kernel::alloc::host;
use kernel::prelude::*;
use zerocopy::FromBytes;
use zerocopy::Immutable;
use zerocopy::IntoBytes;

use super::MEMORY;
use crate::input::Input;
use dm_preserve_core::maps::Bitmap;
use dm_preserve_core::maps::Chunks;
use dm_preserve_core::maps::Designation;
use dm_preserve_core::maps::Geometry;
use dm_preserve_core::uapi;
use dm_preserve_core::uapi::argument;

/// `data` is a call.
pub fn requests(data: &[u8]) {
    let mut input = Input(data);
    let number = input.byte();
    let bytes = input.0;
    let _ = match u32::from(number) {
        uapi::NR_VERSION => parse::<uapi::Version>(bytes).map(drop),
        uapi::NR_SNAPSHOT => parse::<uapi::TakeSnapshot>(bytes).map(drop),
        uapi::NR_DROP | uapi::NR_FORGET => parse::<uapi::SnapshotRef>(bytes).map(drop),
        uapi::NR_EDIT => parse::<uapi::EditRanges>(bytes)
            .map(|(edit, rest)| host::within(MEMORY, || ranges(edit.flags, edit.count, rest))),
        uapi::NR_EXTENTS => parse::<uapi::ListExtents>(bytes).map(drop),
        uapi::NR_READ => parse::<uapi::ReadFrozen>(bytes).map(drop),
        uapi::NR_RELEASE => parse::<uapi::ReleaseRange>(bytes).map(drop),
        uapi::NR_INFO => parse::<uapi::Info>(bytes).map(drop),
        uapi::NR_SNAPSHOT_INFO => parse::<uapi::SnapshotInfo>(bytes).map(drop),
        uapi::NR_TRUST => parse::<uapi::TrustStore>(bytes).map(drop),
        _ => parse::<uapi::WaitEvent>(bytes).map(drop),
    };
}

/// As `control.rs` does it; the result has what lies behind the argument.
fn parse<T: FromBytes + IntoBytes + Immutable>(bytes: &[u8]) -> Result<(T, &[u8])> {
    let size = *bytes.first_chunk().ok_or(EFAULT)?;
    let len = argument::len::<T>(size)?;
    let (argument, rest) = bytes.split_at_checked(len).ok_or(EFAULT)?;
    let parsed = argument::parse::<T>(argument)?;
    assert_eq!(parsed.as_bytes(), &argument[..size_of::<T>()]);
    Ok((parsed, rest))
}

/// What the shim's prelude has no name for.
const EFAULT: Error = EINVAL;

/// Protects, unprotects and marks ranges, and compares with doing so chunk by chunk.
fn ranges(flags: u32, count: u32, bytes: &[u8]) {
    let mut input = Input(bytes);
    let shape = Geometry::new(input.word() % (1 << 22), 8 << (input.byte() % 9));
    let shape = shape.expect("a small device");
    let mut runs = Vec::new();
    for _ in 0..count.min(32) {
        let (start, len) = (input.word(), input.word());
        let Some(end) = shape.range_end(start, len) else {
            continue;
        };
        let (outward, inward) = (shape.outward(start, end), shape.inward(start, end));
        assert!(outward.start <= inward.start && inward.len() <= outward.len());
        assert!(!outward.is_empty() && outward.end <= shape.chunks());
        assert!(shape.sectors_of(outward) >= len && shape.sectors_of(inward) <= len);
        runs.push(match flags & uapi::EDIT_UNPROTECT {
            0 => outward,
            _ => inward,
        });
    }
    let protect = flags & uapi::EDIT_UNPROTECT == 0;
    let designation = Designation::new(!protect).edited(&runs, protect);
    let (Ok(designation), Ok(marks)) = (designation, Bitmap::new(shape.chunks())) else {
        return;
    };
    for run in &runs {
        if marks.set_run(*run).is_err() {
            return;
        }
    }
    let edges = runs
        .iter()
        .flat_map(|run| [run.start, run.end, run.end + 63]);
    for chunk in edges.flat_map(|edge| [edge.saturating_sub(1), edge]) {
        let within = runs.iter().any(|run| run.contains(chunk));
        assert_eq!(designation.get(chunk), within == protect);
        assert_eq!(marks.get(chunk), within);
    }
    let all = Chunks {
        start: 0,
        end: shape.chunks(),
    };
    let marked = marks.count();
    let protected = designation.count(all.end);
    assert_eq!(
        if protect {
            protected
        } else {
            all.end - protected
        },
        marked
    );
    assert_eq!(marks.find(all, true).is_some(), marked > 0);
    assert_eq!(marks.find(all, false).is_none(), marked == all.end);
}
