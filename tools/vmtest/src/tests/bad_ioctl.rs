// SPDX-License-Identifier: GPL-2.0

//! Malformed ioctls: sizes, flags, reserved fields, addresses, counts and ranges. Each has the
//! error that `rust/uapi/ioctl.rs` names, and changes nothing.

#![forbid(unsafe_code)]

mod cases;

use anyhow::ensure;
use anyhow::Result;
use preserve::uapi::*;
use rustix::io::Errno;
use vmtest::disk::expect_errno;
use vmtest::raw;
use vmtest::raw::Address;
use vmtest::rig::Rig;
use vmtest::rig::Spec;
use zerocopy::IntoBytes;

use super::test;
use super::Test;
use crate::Env;

pub const TESTS: &[Test] = &[
    test("i8_ioctls_of_a_wrong_size_are_refused", sizes),
    test("i8_ioctls_with_bad_fields_are_refused", cases::fields),
    test("i8_ioctls_with_bad_addresses_are_refused", addresses),
    test("i8_ioctls_of_other_devices_are_refused", devices),
];

/// A good argument of every request.
struct Good {
    nr: u32,
    bytes: Vec<u8>,
    /// Where in it the device's number is.
    device: Option<usize>,
    /// What its address refers to.
    memory: Vec<u8>,
}

/// With the size filled in.
fn sized(argument: &(impl IntoBytes + zerocopy::Immutable)) -> Vec<u8> {
    let mut bytes = argument.as_bytes().to_vec();
    let size = bytes.len() as u32;
    bytes[..4].copy_from_slice(&size.to_ne_bytes());
    bytes
}

fn rig() -> Result<(Rig, u64)> {
    let rig = Rig::new(&Spec {
        sectors: 64,
        ..Spec::mb(1)
    })?;
    rig.dm.stamp(0, 64, 1)?;
    let id = rig.snapshot()?;
    rig.dm.stamp(0, 32, 2)?;
    Ok((rig, id))
}

fn all(rig: &Rig) -> Result<impl PartialEq + std::fmt::Debug> {
    let info = rig.control.info()?;
    Ok((info, rig.map("snapshot_map")?, rig.map("protection_map")?))
}

/// A good argument of each request that changes nothing, and of those that do.
fn good(rig: &Rig, id: u64) -> Vec<Good> {
    let device = rig.dm.device();
    let one = |nr, bytes, memory: Vec<u8>| Good {
        nr,
        bytes,
        device: (nr != NR_VERSION && nr != NR_SNAPSHOT).then_some(8),
        memory,
    };
    let reference = SnapshotRef {
        device,
        id: 999,
        ..SnapshotRef::default()
    };
    let range = Range { start: 0, len: 8 };
    let base = SnapshotDevice {
        device,
        ..SnapshotDevice::default()
    };
    let take = TakeSnapshot {
        count: 1,
        ..TakeSnapshot::default()
    };
    let edit = EditRanges {
        device,
        count: 1,
        ..EditRanges::default()
    };
    let list = ListExtents {
        device,
        capacity: 8,
        ..ListExtents::default()
    };
    let read = ReadFrozen {
        device,
        id,
        sectors: 64,
        ..ReadFrozen::default()
    };
    let release = ReleaseRange {
        device,
        id,
        range,
        ..ReleaseRange::default()
    };
    let info = Info {
        device,
        ..Info::default()
    };
    let snapshot_info = SnapshotInfo {
        device,
        ..SnapshotInfo::default()
    };
    let wait = WaitEvent {
        device,
        event: 999,
        ..WaitEvent::default()
    };
    let trust = TrustStore {
        device,
        ..TrustStore::default()
    };
    vec![
        one(NR_VERSION, sized(&Version::default()), vec![]),
        one(NR_INFO, sized(&info), vec![]),
        one(NR_SNAPSHOT_INFO, sized(&snapshot_info), vec![]),
        one(NR_WAIT, sized(&wait), vec![]),
        one(NR_TRUST, sized(&trust), vec![]),
        one(NR_EXTENTS, sized(&list), vec![]),
        one(NR_READ, sized(&read), vec![]),
        one(NR_DROP, sized(&reference), vec![]),
        one(NR_FORGET, sized(&reference), vec![]),
        one(NR_SNAPSHOT, sized(&take), base.as_bytes().to_vec()),
        one(NR_EDIT, sized(&edit), range.as_bytes().to_vec()),
        one(NR_RELEASE, sized(&release), vec![]),
    ]
}

impl Good {
    fn with_size(&self, size: u32) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        bytes[..4].copy_from_slice(&size.to_ne_bytes());
        bytes
    }

    fn call(&self, rig: &Rig, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
        raw::malformed(
            rig.control.fd(),
            self.nr,
            bytes,
            Address::Scratch,
            &self.memory,
        )
    }
}

fn sizes(_: &Env) -> Result<()> {
    let (rig, id) = rig()?;
    let before = all(&rig)?;
    for good in good(&rig, id) {
        let size = good.bytes.len() as u32;
        let nr = good.nr;
        for bad in [0, 1, 4, 8, size - 8, size - 1] {
            let what = format!("request {nr} of size {bad}");
            expect_errno(&what, good.call(&rig, &good.with_size(bad)), Errno::INVAL)?;
        }
        // Larger than we know is good as long as the rest is zero.
        let mut longer = good.with_size(size + 64);
        longer.resize(size as usize + 64, 0);
        longer[size as usize + 63] = 1;
        let what = format!("request {nr} with something beyond it");
        expect_errno(&what, good.call(&rig, &longer), Errno::TOOBIG)?;
        for huge in [1 << 20, u32::MAX] {
            let result = good.call(&rig, &good.with_size(huge));
            ensure!(result.is_err(), "request {nr} of size {huge} was accepted");
        }
        let after = all(&rig)?;
        ensure!(
            after == before,
            "request {nr}: {after:?} instead of {before:?}"
        );
    }
    // What is read-only is tried with a longer, zero rest: it works, and says how much it knows.
    for good in good(&rig, id)
        .into_iter()
        .filter(|g| g.nr == NR_VERSION || g.nr == NR_INFO)
    {
        let size = good.bytes.len();
        let mut longer = good.with_size(size as u32 + 64);
        longer.resize(size + 64, 0);
        good.call(&rig, &longer)?;
    }
    Ok(())
}

fn addresses(_: &Env) -> Result<()> {
    let (rig, id) = rig()?;
    let before = all(&rig)?;
    for good in good(&rig, id) {
        for address in Address::BAD {
            let what = format!("request {} at {address:?}", good.nr);
            let result = raw::bad_argument(rig.control.fd(), good.nr, address);
            expect_errno(&what, result, Errno::FAULT)?;
            if ![NR_SNAPSHOT, NR_EDIT, NR_EXTENTS, NR_READ].contains(&good.nr) {
                continue;
            }
            let what = format!("request {} with an address {address:?} in it", good.nr);
            let result = raw::malformed(
                rig.control.fd(),
                good.nr,
                &good.bytes,
                address,
                &good.memory,
            );
            expect_errno(&what, result, Errno::FAULT)?;
        }
        let after = all(&rig)?;
        ensure!(
            after == before,
            "request {}: {after:?} instead of {before:?}",
            good.nr
        );
    }
    for (magic, nr) in [
        (IOC_MAGIC, NR_TRUST + 1),
        (IOC_MAGIC, 255),
        (0, 0),
        (0x12, 119),
        (0xfd, 0),
    ] {
        let what = format!("request {magic:#x} {nr}");
        expect_errno(
            &what,
            raw::unknown(rig.control.fd(), magic, nr),
            Errno::NOTTY,
        )?;
    }
    // Alignment is not asked for.
    for good in good(&rig, id)
        .into_iter()
        .filter(|g| g.nr == NR_EXTENTS || g.nr == NR_READ)
    {
        let fd = rig.control.fd();
        raw::malformed(fd, good.nr, &good.bytes, Address::Unaligned, &good.memory)?;
    }
    Ok(())
}

fn devices(_: &Env) -> Result<()> {
    let (rig, id) = rig()?;
    let before = all(&rig)?;
    let origin = rig.origin.device();
    let others = [
        (0, 0),
        (origin.major, origin.minor),
        (origin.major, 99_999),
        (u32::MAX, u32::MAX),
        (rig.dm.device().major, rig.dm.device().minor | 1 << 31),
    ];
    for good in good(&rig, id) {
        for (major, minor) in others {
            let (mut bytes, mut memory) = (good.bytes.clone(), good.memory.clone());
            let at = match (good.device, good.nr) {
                (Some(at), _) => &mut bytes[at..at + 8],
                (None, NR_SNAPSHOT) => &mut memory[..8],
                _ => continue,
            };
            at[..4].copy_from_slice(&u32::to_ne_bytes(major));
            at[4..].copy_from_slice(&u32::to_ne_bytes(minor));
            let what = format!("request {} for {major}:{minor}", good.nr);
            let fd = rig.control.fd();
            let result = raw::malformed(fd, good.nr, &bytes, Address::Scratch, &memory);
            expect_errno(&what, result, Errno::NODEV)?;
        }
    }
    let after = all(&rig)?;
    ensure!(after == before, "{after:?} instead of {before:?}");
    Ok(())
}
