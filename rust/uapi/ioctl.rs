// SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note

//! The ioctl interface of `/dev/preserve-control`, one definition for the module and for user
//! space.
//!
//! This file uses nothing but `core` and `zerocopy`. The tools use it through the library
//! (`rust/lib.rs`). `include/uapi/dm-preserve.h` says the same for C; a test compares the two.
//!
//! # Rules
//!
//! - Every argument starts with `size`, the size in bytes of the struct as the caller knows it. A
//!   longer struct than the module knows is accepted when the rest is zero (`E2BIG` otherwise), a
//!   shorter one than the first version of the struct is `EINVAL`. So structs can grow at the end.
//! - Unknown bits in `flags` and non-zero `reserved` fields are `EINVAL`.
//! - Positions and lengths are in sectors (512 bytes) or in chunks; the field says which.
//! - Fields are naturally aligned and structs have no padding, so 32-bit callers need no
//!   translation.
//! - Every call needs `CAP_SYS_ADMIN` (`EPERM`).
//! - `ENODEV`: the device is not an active `preserve` device. `ENOENT`: no such snapshot.

#![forbid(unsafe_code)]

use zerocopy_derive::FromBytes;
use zerocopy_derive::Immutable;
use zerocopy_derive::IntoBytes;
use zerocopy_derive::KnownLayout;

/// The misc device's node.
pub const CONTROL_PATH: &str = "/dev/preserve-control";

/// The ioctl type ("magic") of all calls; the number is one of the `NR_*` constants. Direction is
/// always read and write; the size in the command is ignored in favour of the `size` field.
pub const IOC_MAGIC: u32 = 0xDC;

/// [`Version`]: the module's version and features.
pub const NR_VERSION: u32 = 0;
/// [`TakeSnapshot`]: takes a snapshot of one or several live devices.
pub const NR_SNAPSHOT: u32 = 1;
/// [`SnapshotRef`]: drops a snapshot; its bookmark stays.
pub const NR_DROP: u32 = 2;
/// [`SnapshotRef`]: forgets a bookmark.
pub const NR_FORGET: u32 = 3;
/// [`EditRanges`]: protects or unprotects many ranges at once.
pub const NR_EDIT: u32 = 4;
/// [`ListExtents`]: lists runs of chunks by their attributes.
pub const NR_EXTENTS: u32 = 5;
/// [`ReadFrozen`]: reads frozen content.
pub const NR_READ: u32 = 6;
/// [`ReleaseRange`]: a range of a snapshot need not be preserved any longer.
pub const NR_RELEASE: u32 = 7;
/// [`Info`]: sizes, counts and state of a live device.
pub const NR_INFO: u32 = 8;
/// [`SnapshotInfo`]: one snapshot or bookmark; also the way to list them.
pub const NR_SNAPSHOT_INFO: u32 = 9;
/// [`WaitEvent`]: waits for an event.
pub const NR_WAIT: u32 = 10;
/// [`TrustStore`]: vouches for the unproven snapshots.
pub const NR_TRUST: u32 = 11;

/// Preserve every protected chunk.
pub const SCOPE_FULL: u32 = 0;
/// Preserve only protected chunks that changed since the base, or that the base did not protect.
pub const SCOPE_INCREMENTAL: u32 = 1;

/// [`TakeSnapshot::flags`]: freeze the filesystem on the live device around the instant.
pub const SNAPSHOT_FREEZE: u32 = 1 << 0;

/// [`EditRanges::flags`]: unprotect; without it the ranges are protected.
pub const EDIT_UNPROTECT: u32 = 1 << 0;

/// The most live snapshots that a device keeps; see [`TakeSnapshot::keep`].
pub const MAX_SNAPSHOTS: u32 = 256;

/// The chunk changed between `from` and `to`, or became protected between them.
pub const ATTR_CHANGED: u32 = 1 << 0;
/// The chunk is protected at `to`.
pub const ATTR_PROTECTED: u32 = 1 << 1;
/// The chunk's content at `to` is in the store.
pub const ATTR_PRESERVED: u32 = 1 << 2;
/// The chunk's content at `to` is lost: overwritten without a copy.
pub const ATTR_GONE: u32 = 1 << 3;

/// [`ReadFrozen::kind`]: data was read.
pub const KIND_DATA: u32 = 0;
/// [`ReadFrozen::kind`]: unprotected; the buffer was not touched.
pub const KIND_HOLE: u32 = 1;

/// [`Info::state`]: tracking and preserving.
pub const STATE_ACTIVE: u32 = 0;
/// [`Info::state`]: the live device is suspended.
pub const STATE_SUSPENDED: u32 = 1;
/// [`Info::state`]: writes wait for space in the store (`on_full=block`).
pub const STATE_BLOCKED: u32 = 2;
/// [`Info::state`]: the store has failed; writes go on, changes are tracked in memory only.
pub const STATE_FAILED: u32 = 3;

/// [`SnapshotInfo::kind`]: a live snapshot.
pub const KIND_SNAPSHOT: u32 = 0;
/// [`SnapshotInfo::kind`]: a bookmark, the place of a dropped snapshot.
pub const KIND_BOOKMARK: u32 = 1;

/// A snapshot was taken.
pub const EVENT_SNAPSHOT: u32 = 1 << 0;
/// A snapshot was dropped on request or by a newer one.
pub const EVENT_DROPPED: u32 = 1 << 1;
/// A snapshot was given up: the store was full or failed.
pub const EVENT_INVALID: u32 = 1 << 2;
/// The store passed the low-space mark.
pub const EVENT_LOW_SPACE: u32 = 1 << 3;
/// Writes began to wait for space.
pub const EVENT_BLOCKED: u32 = 1 << 4;
/// A chunk could not be read from the origin before it was overwritten; its content is gone.
pub const EVENT_GONE: u32 = 1 << 5;
/// A read of frozen content found the store's content damaged.
pub const EVENT_DAMAGED: u32 = 1 << 6;
/// The persistent store has failed, and writes pass that are not in its log: it must not be
/// believed any longer.
pub const EVENT_FAILED: u32 = 1 << 7;

/// Names a live device by its number, as in `/sys/block/dm-N/dev`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct DeviceNumber {
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
}

/// Argument of [`NR_VERSION`]. All but `size` and `flags` is output.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Version {
    /// Size of this struct in bytes.
    pub size: u32,
    /// None defined: zero.
    pub flags: u32,
    /// Raised when something is taken away or changes its meaning.
    pub major: u32,
    /// Raised when something is added.
    pub minor: u32,
    /// Raised for corrections.
    pub patch: u32,
    /// Zero.
    pub reserved: u32,
    /// Feature bits; none is defined yet.
    pub features: u64,
}

/// One device of a [`TakeSnapshot`].
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct SnapshotDevice {
    /// The live device.
    pub device: DeviceNumber,
    /// In: the base of an incremental scope, a snapshot's or bookmark's id; 0 takes the latest.
    pub base: u64,
    /// Out: the new snapshot's id.
    pub id: u64,
}

/// Argument of [`NR_SNAPSHOT`].
///
/// Errors: `EOPNOTSUPP` for more than one device (not in this version), `EINVAL` for a `keep` above
/// [`MAX_SNAPSHOTS`], `ETIMEDOUT` when the device did not become idle in time, `ENOENT` for an
/// unknown base, `EUCLEAN` for an unproven one, `EOVERFLOW` when more than 500 were taken since it,
/// or 2048 since the oldest that is kept; nothing is changed then.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct TakeSnapshot {
    /// Size of this struct in bytes.
    pub size: u32,
    /// [`SNAPSHOT_FREEZE`].
    pub flags: u32,
    /// Address of an array of [`SnapshotDevice`].
    pub devices: u64,
    /// Number of devices in the array.
    pub count: u32,
    /// [`SCOPE_FULL`] or [`SCOPE_INCREMENTAL`].
    pub scope: u32,
    /// How many live snapshots to keep, with this one, at most [`MAX_SNAPSHOTS`]; 0 means 1. If
    /// there are more, the oldest are dropped in the same instant; their bookmarks stay.
    pub keep: u32,
    /// Wait until no write has been in flight for so many milliseconds; 0 does not wait.
    pub idle_ms: u32,
    /// Give up waiting for idleness after so many milliseconds; 0 means 10 s.
    pub timeout_ms: u32,
    /// Zero.
    pub reserved: u32,
}

/// Argument of [`NR_DROP`] and [`NR_FORGET`].
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct SnapshotRef {
    /// Size of this struct in bytes.
    pub size: u32,
    /// None defined: zero.
    pub flags: u32,
    /// The live device.
    pub device: DeviceNumber,
    /// The snapshot's or bookmark's id.
    pub id: u64,
}

/// A range of the live device.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Range {
    /// First sector.
    pub start: u64,
    /// Number of sectors.
    pub len: u64,
}

/// The most ranges one [`EditRanges`] takes.
pub const MAX_RANGES: u32 = 65536;

/// Argument of [`NR_EDIT`]. The ranges may overlap, and come in any order. They take effect at the
/// next snapshot. With a transient store all do or none; with a persistent one those of each of the
/// log's records do, from the device's beginning on: should the store fail, the power, or the
/// caller be killed, later ones may be missing.
///
/// Errors: `EINVAL` for an empty range, `ERANGE` for one that does not end within the device;
/// nothing is changed then.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct EditRanges {
    /// Size of this struct in bytes.
    pub size: u32,
    /// [`EDIT_UNPROTECT`].
    pub flags: u32,
    /// The live device.
    pub device: DeviceNumber,
    /// Address of an array of [`Range`].
    pub ranges: u64,
    /// Number of ranges, at most [`MAX_RANGES`].
    pub count: u32,
    /// Zero.
    pub reserved: u32,
}

/// A run of chunks that share their attributes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Extent {
    /// First chunk.
    pub start: u64,
    /// Number of chunks.
    pub len: u64,
    /// `ATTR_*` bits.
    pub attributes: u32,
    /// Zero.
    pub reserved: u32,
}

/// Argument of [`NR_EXTENTS`]: the runs of chunks of which `attributes & mask == value`.
///
/// One call looks at a bounded number of chunks and may return fewer extents than fit, even none;
/// go on at `next`, which is beyond `start` if there is room for an extent, until it equals the
/// number of chunks of the device. Each extent has all its `ATTR_*` bits, whatever `mask` asks for.
/// [`ATTR_PRESERVED`] and [`ATTR_GONE`] say nothing of a bookmark's content, which nobody keeps. A
/// chunk beyond the end that the device had at `to` has no attributes.
///
/// Errors: `ENOENT` when `from` or `to` is unknown, `EINVAL` when `from` is later than `to`,
/// `EUCLEAN` when one of them is unproven ([`Info::unproven`]).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct ListExtents {
    /// Size of this struct in bytes.
    pub size: u32,
    /// None defined: zero.
    pub flags: u32,
    /// The live device.
    pub device: DeviceNumber,
    /// Changes are counted from this snapshot or bookmark; 0: every chunk counts as changed.
    pub from: u64,
    /// The snapshot (or bookmark) that is looked at; 0: the present, with the designation as it is
    /// now.
    pub to: u64,
    /// First chunk to look at.
    pub start: u64,
    /// Which `ATTR_*` bits decide.
    pub mask: u32,
    /// What these bits must be.
    pub value: u32,
    /// Address of an array of [`Extent`].
    pub extents: u64,
    /// Room in the array.
    pub capacity: u32,
    /// Out: extents written.
    pub count: u32,
    /// Out: the chunk to go on with.
    pub next: u64,
}

/// Argument of [`NR_READ`].
///
/// Reads up to `sectors` sectors of one kind, at most 64 MiB; the call returns 0 and `sectors` and
/// `kind` say what was read, which ends at a chunk's end if it is less than was asked for. While
/// the live device is suspended, what is in the store is read at once; what is on the origin waits
/// for the resume, 30 s at most, and can be interrupted.
///
/// Errors: `ENOENT` for a bookmark or an unknown id, `ENODATA` when the first chunk is gone,
/// `EUCLEAN` when its content in the store is damaged or the snapshot unproven
/// ([`Info::unproven`]), `EIO` when a device fails, `ETIMEDOUT` when the live device stayed
/// suspended, `EINTR`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct ReadFrozen {
    /// Size of this struct in bytes.
    pub size: u32,
    /// None defined: zero.
    pub flags: u32,
    /// The live device.
    pub device: DeviceNumber,
    /// The snapshot's id.
    pub id: u64,
    /// First sector.
    pub start: u64,
    /// In: the sectors wanted. Out: how many are of this kind, from `start` on (0 at the end of the
    /// device).
    pub sectors: u64,
    /// Address of the buffer, of at least `sectors` sectors.
    pub buffer: u64,
    /// Out: [`KIND_DATA`] or [`KIND_HOLE`].
    pub kind: u32,
    /// Zero.
    pub reserved: u32,
}

/// Argument of [`NR_RELEASE`]. Chunks that the range covers only in part stay preserved; a short
/// last chunk is covered when the range reaches the end of the device. A long range is released
/// from its beginning on, in pieces of 2^26 chunks: should the store fail, the power, or the caller
/// be killed, the later ones may not be.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct ReleaseRange {
    /// Size of this struct in bytes.
    pub size: u32,
    /// None defined: zero.
    pub flags: u32,
    /// The live device.
    pub device: DeviceNumber,
    /// The snapshot's id.
    pub id: u64,
    /// The range, in sectors.
    pub range: Range,
}

/// Argument of [`NR_INFO`]. All but `size`, `flags` and `device` is output.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Info {
    /// Size of this struct in bytes.
    pub size: u32,
    /// None defined: zero.
    pub flags: u32,
    /// The live device.
    pub device: DeviceNumber,
    /// Changes whenever tracking breaks; a backup of another generation is no base.
    pub generation: [u8; 16],
    /// `STATE_*`.
    pub state: u32,
    /// Sectors per chunk.
    pub chunk_sectors: u32,
    /// Sectors of the live device.
    pub origin_sectors: u64,
    /// Sectors of the store that can hold contents.
    pub store_sectors: u64,
    /// Sectors of the store in use.
    pub store_used_sectors: u64,
    /// The latest snapshot's id, live or not; 0 for none yet.
    pub latest: u64,
    /// The present epoch's number.
    pub epoch: u64,
    /// Live snapshots.
    pub snapshots: u32,
    /// Bookmarks.
    pub bookmarks: u32,
    /// Chunks written since the latest snapshot.
    pub changed_chunks: u64,
    /// Chunks written between the snapshot before the latest one and the latest.
    pub backup_chunks: u64,
    /// Chunks that the designation protects now.
    pub protected_chunks: u64,
    /// Contents in the store, in chunks.
    pub preserved_chunks: u64,
    /// Writes that had to wait for a copy, for space or for a snapshot, since activation.
    pub waited_writes: u64,
    /// Chunks whose content could not be read before it was overwritten, since activation.
    pub gone_chunks: u64,
    /// Snapshots given up, since activation.
    pub invalidated: u64,
    /// Number of the last event.
    pub event: u64,
    /// Reads of frozen content that failed because the store's content is damaged, since
    /// activation.
    pub damaged_reads: u64,
    /// Snapshots and bookmarks up to this id are unproven, 0 for none: the store was not closed,
    /// and may have failed before.
    pub unproven: u64,
    /// The persistent store's UUID, given at formatting; zero with a transient store.
    pub store: [u8; 16],
}

/// Argument of [`NR_TRUST`]: says that the store had not failed before it was left open, so that
/// its unproven snapshots and bookmarks ([`Info::unproven`]) are right.
///
/// Errors: `EIO` when the store has failed or now does.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct TrustStore {
    /// Size of this struct in bytes.
    pub size: u32,
    /// None defined: zero.
    pub flags: u32,
    /// The live device.
    pub device: DeviceNumber,
}

/// Argument of [`NR_SNAPSHOT_INFO`]: the entry with the lowest id that is at least `id`; `ENOENT`
/// when there is none.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct SnapshotInfo {
    /// Size of this struct in bytes.
    pub size: u32,
    /// None defined: zero.
    pub flags: u32,
    /// The live device.
    pub device: DeviceNumber,
    /// In: the least id wanted. Out: the id found.
    pub id: u64,
    /// Out: when it was taken, in nanoseconds since 1970-01-01.
    pub time_ns: u64,
    /// Out: the base of an incremental scope, 0 for a full one.
    pub base: u64,
    /// Out: [`KIND_SNAPSHOT`] or [`KIND_BOOKMARK`].
    pub kind: u32,
    /// Out: [`SCOPE_FULL`] or [`SCOPE_INCREMENTAL`].
    pub scope: u32,
    /// Out: the epoch that the snapshot began.
    pub epoch: u64,
    /// Out: the live device's size at that instant, in sectors. It may have grown since.
    pub sectors: u64,
}

/// Argument of [`NR_WAIT`]: returns as soon as the device's event number differs from `event`.
///
/// Errors: `ETIMEDOUT`, `EINTR`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct WaitEvent {
    /// Size of this struct in bytes.
    pub size: u32,
    /// None defined: zero.
    pub flags: u32,
    /// The live device.
    pub device: DeviceNumber,
    /// In: the last event number that the caller has seen. Out: the present one.
    pub event: u64,
    /// Milliseconds to wait at most; 0 returns at once.
    pub timeout_ms: u32,
    /// Out: which `EVENT_*` happened after the number passed in, as far as is still known.
    pub kinds: u32,
}
