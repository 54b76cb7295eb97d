// SPDX-License-Identifier: GPL-2.0

//! Listing extents: every mask and value, small batches, large devices.

#![forbid(unsafe_code)]

use anyhow::ensure;
use anyhow::Result;
use preserve::device::ioctl::call;
use preserve::device::ioctl::Call;
use preserve::uapi::Extent;
use preserve::uapi::ListExtents;
use preserve::uapi::Range;
use preserve::uapi::ATTR_CHANGED;
use preserve::uapi::ATTR_GONE;
use preserve::uapi::ATTR_PRESERVED;
use preserve::uapi::ATTR_PROTECTED;
use vmtest::rig::Rig;
use vmtest::rig::Spec;

use super::test;
use super::Test;
use crate::Env;

pub const TESTS: &[Test] = &[
    test("extents_with_every_mask_and_value", masks),
    test("extents_in_batches_of_any_size", batches),
    test("extents_of_a_large_device", large),
];

/// A device of 64 chunks whose attributes differ from one to the next in every way there is.
fn mixed() -> Result<(Rig, u64, u64)> {
    let rig = Rig::new(&Spec {
        sectors: 512,
        ..Spec::mb(1)
    })?;
    let disk = rig.disk()?;
    disk.stamp_all(512, 1)?;
    let from = rig.snapshot()?;
    for chunk in (0..64).filter(|c| c % 2 == 1) {
        disk.stamp(chunk * 8, 8, 2)?;
    }
    for chunk in (0..64).filter(|c| c / 2 % 2 == 1) {
        rig.control.edit(
            false,
            &[Range {
                start: chunk * 8,
                len: 8,
            }],
        )?;
    }
    let to = rig.snapshot()?;
    for chunk in (0..64).filter(|c| c / 8 % 2 == 1) {
        rig.control.release(to, chunk * 8, 8)?;
    }
    for chunk in (0..64).filter(|c| c / 4 % 2 == 1) {
        disk.stamp(chunk * 8, 8, 3)?;
    }
    Ok((rig, from, to))
}

/// What the attributes of its chunks are.
fn wanted(chunk: u64) -> u32 {
    let protected = (chunk / 2).is_multiple_of(2);
    let written = chunk / 4 % 2 == 1;
    let released = chunk / 8 % 2 == 1;
    let bits = [
        (ATTR_CHANGED, chunk % 2 == 1),
        (ATTR_PROTECTED, protected),
        (ATTR_PRESERVED, written && protected && !released),
        (ATTR_GONE, written && (released || !protected)),
    ];
    bits.iter()
        .filter(|(_, set)| *set)
        .map(|(bit, _)| bit)
        .sum()
}

fn masks(_: &Env) -> Result<()> {
    let (rig, from, to) = mixed()?;
    for mask in 0..16 {
        for value in (0..16).filter(|value| value & !mask == 0) {
            let extents = rig.control.extents(from, to, mask, value)?;
            let mut end = 0;
            let mut found = Vec::new();
            for e in &extents {
                ensure!(e.len > 0 && e.start >= end && e.reserved == 0, "{e:?}");
                end = e.start + e.len;
                for chunk in e.start..end {
                    let bits = wanted(chunk);
                    ensure!(
                        e.attributes == bits,
                        "mask {mask} value {value}, chunk {chunk}: {} instead of {bits}",
                        e.attributes
                    );
                    found.push(chunk);
                }
            }
            let all: Vec<u64> = (0..64).filter(|c| wanted(*c) & mask == value).collect();
            ensure!(
                found == all,
                "mask {mask} value {value}: {found:?} instead of {all:?}"
            );
        }
    }
    Ok(())
}

fn batches(_: &Env) -> Result<()> {
    let (rig, from, to) = mixed()?;
    let all = rig.control.extents(from, to, 0, 0)?;
    for size in [1, 2, 3, 7, 64, 1000] {
        let mut found: Vec<Extent> = Vec::new();
        let mut start = 0;
        for _ in 0..1000 {
            let mut batch = vec![Extent::default(); size];
            let mut argument = ListExtents {
                device: rig.dm.device(),
                from,
                to,
                start,
                ..ListExtents::default()
            };
            call(rig.control.fd(), Call::Extents(&mut argument, &mut batch))?;
            ensure!(
                argument.count as usize <= size && argument.next <= 64,
                "{argument:?}"
            );
            found.extend(&batch[..argument.count as usize]);
            start = argument.next;
            if start == 64 {
                break;
            }
        }
        ensure!(start == 64, "batches of {size} do not end");
        ensure!(found == all, "batches of {size} give something else");
    }
    // Any start is right.
    for start in [1, 5, 63, 64] {
        let mut batch = vec![Extent::default(); 100];
        let mut argument = ListExtents {
            device: rig.dm.device(),
            from,
            to,
            start,
            ..ListExtents::default()
        };
        call(rig.control.fd(), Call::Extents(&mut argument, &mut batch))?;
        let sum: u64 = batch.iter().map(|e| e.len).sum();
        ensure!(
            argument.next == 64 && sum == 64 - start,
            "from {start}: {argument:?}"
        );
    }
    Ok(())
}

fn large(_: &Env) -> Result<()> {
    // More chunks than one call looks at.
    let rig = Rig::new(&Spec {
        sectors: 4096 * 2048,
        store: 2048,
        sparse: true,
        ..Spec::mb(1)
    })?;
    let disk = rig.disk()?;
    let first = rig.snapshot()?;
    let chunks = rig.chunks();
    let written = [0, 1, 32767, 32768, 65535, 300_000, chunks - 1];
    for chunk in written {
        disk.stamp(chunk * 8, 8, 1)?;
    }
    let second = rig.control.incremental(first)?;
    let found = rig
        .control
        .chunks(first, second, ATTR_CHANGED, ATTR_CHANGED)?;
    ensure!(found == written, "changed {found:?}");
    ensure!(rig.set_in("backup_map")? == written, "backup_map");
    let rest = rig.control.extents(first, second, ATTR_CHANGED, 0)?;
    let sum: u64 = rest.iter().map(|e| e.len).sum();
    ensure!(sum == chunks - written.len() as u64, "{sum} unchanged");
    Ok(())
}
