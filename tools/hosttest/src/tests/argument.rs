// SPDX-License-Identifier: GPL-2.0

//! I8: the arguments of ioctls, whatever their callers say of them.

#![forbid(unsafe_code)]

use dm_preserve_core::uapi::argument::len;
use dm_preserve_core::uapi::argument::parse;
use dm_preserve_core::uapi::SnapshotRef;
use kernel::prelude::*;
use zerocopy::IntoBytes;

const OURS: usize = size_of::<SnapshotRef>();

#[test]
fn i8_sizes() {
    let len = |size: u32| len::<SnapshotRef>(size.to_ne_bytes());
    for good in [OURS, OURS + 1, 4096] {
        assert_eq!(len(good as u32), Ok(good));
    }
    for bad in [0, 1, OURS as u32 - 1, 4097, u32::MAX] {
        assert_eq!(len(bad), Err(EINVAL));
    }
}

/// A caller that was built later may know more fields, as long as it does not use them.
#[test]
fn i8_longer_and_shorter_arguments() {
    let known = SnapshotRef {
        id: 7,
        ..SnapshotRef::default()
    };
    let mut bytes = known.as_bytes().to_vec();
    assert_eq!(parse(&bytes), Ok(known));
    bytes.extend([0; 9]);
    assert_eq!(parse(&bytes), Ok(known));
    for at in OURS..bytes.len() {
        bytes[at] = 1;
        assert_eq!(parse::<SnapshotRef>(&bytes), Err(E2BIG));
        bytes[at] = 0;
    }
    for len in 0..OURS {
        assert_eq!(parse::<SnapshotRef>(&bytes[..len]), Err(EINVAL));
    }
}
