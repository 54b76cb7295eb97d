// SPDX-License-Identifier: GPL-2.0

//! A store or an origin on a disk with a volatile cache, whose power may go.

#![forbid(unsafe_code)]

use std::cell::Cell;
use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use crate::medium::Medium;
use crate::ondisk::BLOCK_BYTES;

#[allow(dead_code)]
#[path = "../../../hosttest/src/tests/sim/disk.rs"]
mod disk;
#[allow(dead_code)]
#[path = "../../../hosttest/src/tests/sim/rng.rs"]
mod rng;

pub(super) use disk::SimDisk;
pub(super) use rng::Rng;

/// Writes and flushes still to come before the power goes: the last one is under way then.
#[derive(Clone)]
pub(super) struct Power(Rc<Cell<u64>>);

impl Power {
    pub(super) fn new(left: u64) -> Self {
        Self(Rc::new(Cell::new(left)))
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

/// A disk as a medium of so many bytes.
pub(super) struct Wire {
    pub(super) disk: Rc<RefCell<SimDisk>>,
    pub(super) bytes: u64,
    pub(super) power: Power,
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
        let disk = self.disk.borrow();
        let (mut at, mut rest) = (at as usize, bytes);
        while !rest.is_empty() {
            let block = &disk.get((at / BLOCK_BYTES) as u64).unwrap()[at % BLOCK_BYTES..];
            let (now, later) = rest.split_at_mut(block.len().min(rest.len()));
            now.copy_from_slice(&block[..now.len()]);
            (at, rest) = (at + now.len(), later);
        }
        Ok(())
    }

    fn write_at(&mut self, bytes: &[u8], at: u64) -> io::Result<()> {
        assert!(
            at + bytes.len() as u64 <= self.bytes,
            "a write beyond the end"
        );
        let ends = self.power.spend()?;
        let mut disk = self.disk.borrow_mut();
        let (first, last) = (at as usize, at as usize + bytes.len() - 1);
        let blocks = (first / BLOCK_BYTES..=last / BLOCK_BYTES).map(|block| {
            let mut data = **disk.get(block as u64).unwrap();
            let start = block * BLOCK_BYTES;
            let (from, to) = (first.max(start), last.min(start + BLOCK_BYTES - 1));
            data[from - start..=to - start].copy_from_slice(&bytes[from - first..=to - first]);
            (block as u64, Rc::new(data))
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
