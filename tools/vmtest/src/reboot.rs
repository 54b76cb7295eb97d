// SPDX-License-Identifier: GPL-2.0

//! What only a reboot would bring about: a store that was left open by another boot of the machine.
//!
//! Tests cut the power of disks, not of the kernel. A store that is open with the boot id of the
//! running kernel has failed, whatever became of it since; after a power cut it would be another
//! kernel that finds it.

#![forbid(unsafe_code)]

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use anyhow::Result;

use crate::disk::Disk;

/// First bytes of a superblock, and how much of it its checksum covers; see
/// `Documentation/on-disk-format.rst`.
const MAGIC: &[u8; 8] = b"dmprsv1S";
const COVERED: usize = 512;
const CHECKSUM: std::ops::Range<usize> = 8..12;
const BOOT: std::ops::Range<usize> = 192..208;

/// Boots that there have been, but for the first.
static BOOTS: AtomicU64 = AtomicU64::new(0);

/// Lets the store at a path be one that an earlier boot has used last. Nothing may use it now. The
/// result is that boot's id.
pub fn pass(store: &str) -> Result<[u8; 16]> {
    let boot = BOOTS.fetch_add(1, Ordering::SeqCst) + 1;
    let mut id = [0x5a; 16];
    id[..8].copy_from_slice(&boot.to_le_bytes());
    let disk = Disk::open(store)?;
    for sector in [0, 8] {
        let mut block = disk.read(sector, 8)?;
        if !block.starts_with(MAGIC) || block[CHECKSUM] != checksum(&block) {
            continue;
        }
        block[BOOT].copy_from_slice(&id);
        let sum = checksum(&block);
        block[CHECKSUM].copy_from_slice(&sum);
        disk.write(sector, &block)?;
    }
    disk.flush()?;
    Ok(id)
}

/// CRC-32C of a superblock without its checksum.
fn checksum(block: &[u8]) -> [u8; 4] {
    let mut crc = u32::MAX;
    for (at, byte) in block.iter().enumerate().take(COVERED) {
        crc ^= match CHECKSUM.contains(&at) {
            true => 0,
            false => u32::from(*byte),
        };
        for _ in 0..8 {
            crc = crc >> 1 ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
        }
    }
    (!crc).to_le_bytes()
}
