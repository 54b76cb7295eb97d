/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * The ioctl interface of /dev/preserve-control, for C. The same as rust/uapi/ioctl.rs, which also has the
 * rules and says what each field means; a test compares the two (tools/preserve/tests/header.rs).
 *
 * Every argument starts with its own size. "flags" and "reserved" fields must be zero but for the bits
 * named here. Positions are in sectors (512 bytes) or in chunks, as the comment says.
 */
#ifndef _UAPI_LINUX_DM_PRESERVE_H
#define _UAPI_LINUX_DM_PRESERVE_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define DM_PRESERVE_CONTROL_PATH	"/dev/preserve-control"
#define DM_PRESERVE_IOC_MAGIC		0xDC

/* The numbers of the calls. */
#define DM_PRESERVE_NR_VERSION		0
#define DM_PRESERVE_NR_SNAPSHOT		1
#define DM_PRESERVE_NR_DROP		2
#define DM_PRESERVE_NR_FORGET		3
#define DM_PRESERVE_NR_EDIT		4
#define DM_PRESERVE_NR_EXTENTS		5
#define DM_PRESERVE_NR_READ		6
#define DM_PRESERVE_NR_RELEASE		7
#define DM_PRESERVE_NR_INFO		8
#define DM_PRESERVE_NR_SNAPSHOT_INFO	9
#define DM_PRESERVE_NR_WAIT		10
#define DM_PRESERVE_NR_TRUST		11

/* dm_preserve_take_snapshot.scope, dm_preserve_snapshot_info.scope */
#define DM_PRESERVE_SCOPE_FULL		0
#define DM_PRESERVE_SCOPE_INCREMENTAL	1

/* dm_preserve_take_snapshot.flags */
#define DM_PRESERVE_SNAPSHOT_FREEZE	(1U << 0)

/* The most for dm_preserve_take_snapshot.keep */
#define DM_PRESERVE_MAX_SNAPSHOTS	256

/* dm_preserve_edit_ranges.flags */
#define DM_PRESERVE_EDIT_UNPROTECT	(1U << 0)
#define DM_PRESERVE_MAX_RANGES		65536

/* dm_preserve_extent.attributes, dm_preserve_list_extents.mask and .value */
#define DM_PRESERVE_ATTR_CHANGED	(1U << 0)
#define DM_PRESERVE_ATTR_PROTECTED	(1U << 1)
#define DM_PRESERVE_ATTR_PRESERVED	(1U << 2)
#define DM_PRESERVE_ATTR_GONE		(1U << 3)

/* dm_preserve_read_frozen.kind */
#define DM_PRESERVE_KIND_DATA		0
#define DM_PRESERVE_KIND_HOLE		1

/* dm_preserve_info.state */
#define DM_PRESERVE_STATE_ACTIVE	0
#define DM_PRESERVE_STATE_SUSPENDED	1
#define DM_PRESERVE_STATE_BLOCKED	2
#define DM_PRESERVE_STATE_FAILED	3

/* dm_preserve_snapshot_info.kind */
#define DM_PRESERVE_KIND_SNAPSHOT	0
#define DM_PRESERVE_KIND_BOOKMARK	1

/* dm_preserve_wait_event.kinds */
#define DM_PRESERVE_EVENT_SNAPSHOT	(1U << 0)
#define DM_PRESERVE_EVENT_DROPPED	(1U << 1)
#define DM_PRESERVE_EVENT_INVALID	(1U << 2)
#define DM_PRESERVE_EVENT_LOW_SPACE	(1U << 3)
#define DM_PRESERVE_EVENT_BLOCKED	(1U << 4)
#define DM_PRESERVE_EVENT_GONE		(1U << 5)
#define DM_PRESERVE_EVENT_DAMAGED	(1U << 6)
#define DM_PRESERVE_EVENT_FAILED	(1U << 7)

/* A live device's number. */
struct dm_preserve_device {
	__u32 major;
	__u32 minor;
};

struct dm_preserve_version {
	__u32 size;
	__u32 flags;
	__u32 major;
	__u32 minor;
	__u32 patch;
	__u32 reserved;
	__u64 features;
};

struct dm_preserve_snapshot_device {
	struct dm_preserve_device device;
	__u64 base;		/* in: base of an incremental scope, 0: the latest */
	__u64 id;		/* out */
};

struct dm_preserve_take_snapshot {
	__u32 size;
	__u32 flags;
	__u64 devices;		/* address of struct dm_preserve_snapshot_device[count] */
	__u32 count;
	__u32 scope;
	__u32 keep;		/* live snapshots, with this one; 0 means 1 */
	__u32 idle_ms;
	__u32 timeout_ms;
	__u32 reserved;
};

/* Argument of DROP and FORGET. */
struct dm_preserve_snapshot_ref {
	__u32 size;
	__u32 flags;
	struct dm_preserve_device device;
	__u64 id;
};

/* In sectors. */
struct dm_preserve_range {
	__u64 start;
	__u64 len;
};

struct dm_preserve_edit_ranges {
	__u32 size;
	__u32 flags;
	struct dm_preserve_device device;
	__u64 ranges;		/* address of struct dm_preserve_range[count] */
	__u32 count;
	__u32 reserved;
};

/* In chunks. */
struct dm_preserve_extent {
	__u64 start;
	__u64 len;
	__u32 attributes;
	__u32 reserved;
};

struct dm_preserve_list_extents {
	__u32 size;
	__u32 flags;
	struct dm_preserve_device device;
	__u64 from;
	__u64 to;
	__u64 start;		/* chunk */
	__u32 mask;
	__u32 value;
	__u64 extents;		/* address of struct dm_preserve_extent[capacity] */
	__u32 capacity;
	__u32 count;		/* out */
	__u64 next;		/* out: chunk */
};

struct dm_preserve_read_frozen {
	__u32 size;
	__u32 flags;
	struct dm_preserve_device device;
	__u64 id;
	__u64 start;		/* sector */
	__u64 sectors;		/* in and out */
	__u64 buffer;		/* address of sectors * 512 bytes */
	__u32 kind;		/* out */
	__u32 reserved;
};

struct dm_preserve_release_range {
	__u32 size;
	__u32 flags;
	struct dm_preserve_device device;
	__u64 id;
	struct dm_preserve_range range;
};

struct dm_preserve_info {
	__u32 size;
	__u32 flags;
	struct dm_preserve_device device;
	__u8 generation[16];
	__u32 state;
	__u32 chunk_sectors;
	__u64 origin_sectors;
	__u64 store_sectors;
	__u64 store_used_sectors;
	__u64 latest;
	__u64 epoch;
	__u32 snapshots;
	__u32 bookmarks;
	__u64 changed_chunks;
	__u64 backup_chunks;
	__u64 protected_chunks;
	__u64 preserved_chunks;
	__u64 waited_writes;
	__u64 gone_chunks;
	__u64 invalidated;
	__u64 event;
	__u64 damaged_reads;
	__u64 unproven;		/* snapshots and bookmarks up to this id; 0 for none */
	__u8 store[16];		/* UUID; zero with a transient store */
};

struct dm_preserve_trust {
	__u32 size;
	__u32 flags;
	struct dm_preserve_device device;
};

struct dm_preserve_snapshot_info {
	__u32 size;
	__u32 flags;
	struct dm_preserve_device device;
	__u64 id;		/* in and out */
	__u64 time_ns;
	__u64 base;
	__u32 kind;
	__u32 scope;
	__u64 epoch;
	__u64 sectors;		/* the device's size then */
};

struct dm_preserve_wait_event {
	__u32 size;
	__u32 flags;
	struct dm_preserve_device device;
	__u64 event;		/* in and out */
	__u32 timeout_ms;
	__u32 kinds;		/* out */
};

#define DM_PRESERVE_IOC(nr, type)	_IOWR(DM_PRESERVE_IOC_MAGIC, DM_PRESERVE_NR_##nr, type)

#define DM_PRESERVE_VERSION		DM_PRESERVE_IOC(VERSION, struct dm_preserve_version)
#define DM_PRESERVE_SNAPSHOT		DM_PRESERVE_IOC(SNAPSHOT, struct dm_preserve_take_snapshot)
#define DM_PRESERVE_DROP		DM_PRESERVE_IOC(DROP, struct dm_preserve_snapshot_ref)
#define DM_PRESERVE_FORGET		DM_PRESERVE_IOC(FORGET, struct dm_preserve_snapshot_ref)
#define DM_PRESERVE_EDIT		DM_PRESERVE_IOC(EDIT, struct dm_preserve_edit_ranges)
#define DM_PRESERVE_EXTENTS		DM_PRESERVE_IOC(EXTENTS, struct dm_preserve_list_extents)
#define DM_PRESERVE_READ		DM_PRESERVE_IOC(READ, struct dm_preserve_read_frozen)
#define DM_PRESERVE_RELEASE		DM_PRESERVE_IOC(RELEASE, struct dm_preserve_release_range)
#define DM_PRESERVE_INFO		DM_PRESERVE_IOC(INFO, struct dm_preserve_info)
#define DM_PRESERVE_SNAPSHOT_INFO	DM_PRESERVE_IOC(SNAPSHOT_INFO, struct dm_preserve_snapshot_info)
#define DM_PRESERVE_WAIT		DM_PRESERVE_IOC(WAIT, struct dm_preserve_wait_event)
#define DM_PRESERVE_TRUST		DM_PRESERVE_IOC(TRUST, struct dm_preserve_trust)

#endif /* _UAPI_LINUX_DM_PRESERVE_H */
