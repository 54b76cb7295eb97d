// SPDX-License-Identifier: GPL-2.0

//! A store or an origin on a disk with a volatile cache, whose power may go.

#![forbid(unsafe_code)]

use std::cell::Cell;
use std::cell::RefCell;
use std::io;
use std::sync::Arc as StdArc;

use crate::Medium;
use dm_preserve_core::format::BLOCK_BYTES;
use sim::SimDisk;

/// Writes and flushes still to come before the power goes: the last one is under way then.
#[derive(Clone)]
pub(super) struct Power(StdArc<Cell<u64>>);

impl Power {
    pub(super) fn new(left: u64) -> Self {
        Self(StdArc::new(Cell::new(left)))
    }

    /// How many there were, if there is enough for all.
    pub(super) fn used(&self) -> u64 {
        u64::MAX - self.0.get()
    }

    /// Whether an operation ends.
    fn spend(&self) -> io::Result<bool> {
        let left = self.0.get().checked_sub(1);
        let left = left.ok_or_else(|| io::Error::other("there is no power"))?;
        self.0.set(left);
        Ok(left > 0)
    }
}

/// What is wrong with a block, other than what is on the disk.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is read wrong, until the system forgets what it has read.
    Cached,
    /// It is read wrong from then on.
    Later,
    /// It cannot be read, from then on.
    UnreadableLater,
    /// It cannot be read until it has been written.
    Unreadable,
    /// It cannot be read or written.
    Dead,
}

/// A disk as a medium of so many bytes.
pub(super) struct Wire {
    pub(super) disk: StdArc<RefCell<SimDisk>>,
    pub(super) bytes: u64,
    pub(super) power: Power,
    /// Blocks with a fault.
    pub(super) faults: Vec<(u64, Fault)>,
    pub(super) forgot: bool,
}

impl Wire {
    /// The faults of blocks that bytes are in.
    fn faults(&self, at: u64, bytes: usize) -> impl Iterator<Item = (u64, Fault)> + '_ {
        let block = BLOCK_BYTES as u64;
        let (first, end) = (at / block, (at + bytes as u64).div_ceil(block));
        let faults = self.faults.iter().copied();
        faults.filter(move |(at, _)| (first..end).contains(at))
    }
}

/// A disk with these bytes.
pub(super) fn disk_of(bytes: &[u8]) -> SimDisk {
    let blocks = bytes.len().div_ceil(BLOCK_BYTES);
    let mut disk = SimDisk::new(blocks as u64);
    for (at, part) in (0..).zip(bytes.chunks(BLOCK_BYTES)) {
        let mut block = [0; BLOCK_BYTES];
        block[..part.len()].copy_from_slice(part);
        disk.set(at, block);
    }
    disk
}

/// What can be read from a disk.
pub(super) fn bytes_of(disk: &SimDisk, bytes: usize) -> Vec<u8> {
    let mut all = Vec::with_capacity(bytes + BLOCK_BYTES);
    for at in 0..disk.blocks() {
        all.extend_from_slice(&**disk.get(at).unwrap());
    }
    all.truncate(bytes);
    all
}

impl Medium for Wire {
    fn size(&mut self) -> io::Result<u64> {
        Ok(self.bytes)
    }

    fn read_at(&mut self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        assert!(
            at + bytes.len() as u64 <= self.bytes,
            "a read beyond the end"
        );
        let (start, len) = (at, bytes.len());
        let disk = self.disk.borrow();
        let (mut at, mut rest) = (at as usize, &mut *bytes);
        while !rest.is_empty() {
            let block = &disk.get((at / BLOCK_BYTES) as u64).unwrap()[at % BLOCK_BYTES..];
            let (now, later) = rest.split_at_mut(block.len().min(rest.len()));
            now.copy_from_slice(&block[..now.len()]);
            (at, rest) = (at + now.len(), later);
        }
        drop(disk);
        for (block, fault) in self.faults(start, len) {
            match (fault, self.forgot) {
                (Fault::Cached, false) | (Fault::Later, true) => {
                    bytes[block as usize * BLOCK_BYTES - start as usize + 100] ^= 1;
                }
                (Fault::UnreadableLater, true) | (Fault::Unreadable | Fault::Dead, _) => {
                    return Err(io::Error::other("a bad sector"));
                }
                _ => (),
            }
        }
        Ok(())
    }

    fn forget(&mut self) -> io::Result<()> {
        self.forgot = true;
        Ok(())
    }

    fn write_at(&mut self, bytes: &[u8], at: u64) -> io::Result<()> {
        assert!(
            at + bytes.len() as u64 <= self.bytes,
            "a write beyond the end"
        );
        let ends = self.power.spend()?;
        let dead = |(_, fault)| fault == Fault::Dead;
        if self.faults(at, bytes.len()).any(dead) {
            return Err(io::Error::other("a bad sector"));
        }
        let written =
            at / BLOCK_BYTES as u64..(at + bytes.len() as u64).div_ceil(BLOCK_BYTES as u64);
        self.faults
            .retain(|(at, fault)| *fault != Fault::Unreadable || !written.contains(at));
        let mut disk = self.disk.borrow_mut();
        let (first, last) = (at as usize, at as usize + bytes.len() - 1);
        let blocks = (first / BLOCK_BYTES..=last / BLOCK_BYTES).map(|block| {
            let mut data = **disk.get(block as u64).unwrap();
            let start = block * BLOCK_BYTES;
            let (from, to) = (first.max(start), last.min(start + BLOCK_BYTES - 1));
            data[from - start..=to - start].copy_from_slice(&bytes[from - first..=to - first]);
            (block as u64, StdArc::new(data))
        });
        let blocks = blocks.collect();
        let id = disk.submit(blocks);
        if !ends {
            return Err(io::Error::other("the power went"));
        }
        disk.complete(id, false);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        if !self.power.spend()? {
            return Err(io::Error::other("the power went"));
        }
        self.disk.borrow_mut().sync();
        Ok(())
    }
}
