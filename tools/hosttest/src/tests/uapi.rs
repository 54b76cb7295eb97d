// SPDX-License-Identifier: GPL-2.0

//! The layout of the ioctl interface: sizes, and no padding that depends on the architecture.

#![forbid(unsafe_code)]

use dm_preserve_core::uapi;
use dm_preserve_core::uapi::DeviceNumber;
use std::mem::offset_of;
use zerocopy::IntoBytes;

/// Says a struct's fields in order, and checks that each lies right behind the one before,
/// naturally aligned, and that nothing follows the last one. So the layout is the same for 32-bit
/// callers.
macro_rules! layout {
    ($name:ident $size:literal: $($field:ident)*) => {{
        let value = uapi::$name::default();
        let mut next = 0;
        $(
            let (size, offset) = (size_of_val(&value.$field), offset_of!(uapi::$name, $field));
            let name = concat!(stringify!($name), "::", stringify!($field));
            assert_eq!(offset, next, "{name}");
            assert_eq!(offset % size.min(8), 0, "{name}");
            next = offset + size;
        )*
        assert_eq!(next, size_of::<uapi::$name>(), stringify!($name));
        assert_eq!(next, $size, stringify!($name));
        assert_eq!(next % 8, 0, stringify!($name));
        assert!(value.as_bytes().iter().all(|byte| *byte == 0));
    }};
}

#[test]
fn structs_have_no_padding_and_keep_their_size() {
    layout!(DeviceNumber 8: major minor);
    layout!(Range 16: start len);
    layout!(Version 32: size flags major minor patch reserved features);
    layout!(SnapshotDevice 24: device base id);
    layout!(TakeSnapshot 40: size flags devices count scope keep idle_ms timeout_ms reserved);
    layout!(SnapshotRef 24: size flags device id);
    layout!(EditRanges 32: size flags device ranges count reserved);
    layout!(Extent 24: start len attributes reserved);
    layout!(ListExtents 72: size flags device from to start mask value extents capacity count next);
    layout!(ReadFrozen 56: size flags device id start sectors buffer kind reserved);
    layout!(ReleaseRange 40: size flags device id range);
    layout!(Info 184: size flags device generation state chunk_sectors origin_sectors store_sectors
        store_used_sectors latest epoch snapshots bookmarks changed_chunks backup_chunks
        protected_chunks preserved_chunks waited_writes gone_chunks invalidated event
        damaged_reads unproven store);
    layout!(TrustStore 16: size flags device);
    layout!(SnapshotInfo 64: size flags device id time_ns base kind scope epoch sectors);
    layout!(WaitEvent 32: size flags device event timeout_ms kinds);
    assert_eq!(size_of::<DeviceNumber>(), 8);
}

#[test]
fn numbers_and_bits_are_distinct() {
    let calls = [
        uapi::NR_VERSION,
        uapi::NR_SNAPSHOT,
        uapi::NR_DROP,
        uapi::NR_FORGET,
        uapi::NR_EDIT,
        uapi::NR_EXTENTS,
        uapi::NR_READ,
        uapi::NR_RELEASE,
        uapi::NR_INFO,
        uapi::NR_SNAPSHOT_INFO,
        uapi::NR_WAIT,
        uapi::NR_TRUST,
    ];
    assert!(calls.into_iter().eq(0..12));
    let attributes = [
        uapi::ATTR_CHANGED,
        uapi::ATTR_PROTECTED,
        uapi::ATTR_PRESERVED,
        uapi::ATTR_GONE,
    ];
    assert!(attributes.into_iter().eq((0..4).map(|bit| 1 << bit)));
    let events = [
        uapi::EVENT_SNAPSHOT,
        uapi::EVENT_DROPPED,
        uapi::EVENT_INVALID,
        uapi::EVENT_LOW_SPACE,
        uapi::EVENT_BLOCKED,
        uapi::EVENT_GONE,
        uapi::EVENT_DAMAGED,
        uapi::EVENT_FAILED,
    ];
    assert!(events.into_iter().eq((0..8).map(|bit| 1 << bit)));
    assert_eq!(uapi::IOC_MAGIC, 0xDC);
    assert_eq!(uapi::CONTROL_PATH, "/dev/preserve-control");
}
