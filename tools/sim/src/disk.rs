// SPDX-License-Identifier: GPL-2.0

//! A disk with a volatile cache.
//!
//! A write is under way until it completes; then it is in the cache, or on the medium if it was
//! forced there. A flush brings the cache to the medium. When the power goes, each write under way
//! or in the cache is kept, lost or torn, independently of the others: of a torn one some sectors
//! are there, a prefix or any, and the one that was being written may be unreadable rubbish.

#![forbid(unsafe_code)]

use crate::rng::Rng;
use dm_preserve_core::format::Block;
use dm_preserve_core::format::BLOCK_BYTES;
use dm_preserve_core::store::Disk;
use kernel::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a block holds.
pub type Data = Arc<Block>;
/// A write: blocks and where they go.
type Blocks = Vec<(u64, Data)>;

const SECTOR: usize = 512;

/// What becomes of the writes that are under way or in the cache when the power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Each is kept, lost or torn.
    Any,
    /// All are on the medium.
    Kept,
    /// None is.
    Lost,
}

/// What became of one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Became {
    Kept,
    Lost,
    Torn,
}

/// See the [module's documentation](self).
#[derive(Clone)]
pub struct SimDisk {
    medium: Vec<Data>,
    /// Completed, not yet on the medium, with the number of its completion; the last one of a block
    /// is what is read.
    cache: BTreeMap<u64, Vec<(u64, Data)>>,
    /// Writes that have completed.
    completed: u64,
    flight: BTreeMap<u64, Blocks>,
    next: u64,
    /// Writes still to succeed before all fail.
    pub writes_left: Option<u64>,
    /// A block that cannot be read.
    pub bad: Option<u64>,
    /// The crash that left it has torn a write.
    pub torn: bool,
    /// It has kept a write, but not one that was begun before.
    pub reordered: bool,
}

impl SimDisk {
    /// All zero.
    pub fn new(blocks: u64) -> Self {
        Self {
            // Nobody writes to a block in place, so one is enough.
            medium: std::iter::repeat_n(Arc::new([0; BLOCK_BYTES]), blocks as usize).collect(),
            cache: BTreeMap::new(),
            completed: 0,
            flight: BTreeMap::new(),
            next: 0,
            writes_left: None,
            bad: None,
            torn: false,
            reordered: false,
        }
    }

    /// It has become larger; what is there now is anything.
    pub fn grow(&mut self, blocks: u64) {
        let rubbish: Data = Arc::new([0x5a; BLOCK_BYTES]);
        self.medium.resize(blocks as usize, rubbish);
    }

    /// Nothing is under way or in the cache: the power may go.
    pub fn is_settled(&self) -> bool {
        self.cache.is_empty() && self.flight.is_empty()
    }

    /// How many blocks there are.
    pub fn blocks(&self) -> u64 {
        self.medium.len() as u64
    }

    /// What a read returns now.
    pub fn get(&self, at: u64) -> Option<&Data> {
        let cached = self.cache.get(&at).and_then(|versions| versions.last());
        let cached = cached.map(|(_, data)| data);
        cached.or_else(|| self.medium.get(at as usize))
    }

    /// As a test damages it: on the medium at once.
    pub fn set(&mut self, at: u64, data: Block) {
        self.cache.remove(&at);
        self.medium[at as usize] = Arc::new(data);
    }

    /// Begins a write.
    pub fn submit(&mut self, blocks: Blocks) -> u64 {
        self.next += 1;
        self.flight.insert(self.next, blocks);
        self.next
    }

    /// A write completes; `fua`: it is on the medium.
    pub fn complete(&mut self, id: u64, fua: bool) {
        self.completed += 1;
        for (at, data) in self.flight.remove(&id).unwrap() {
            match fua {
                true => {
                    self.cache.remove(&at);
                    self.medium[at as usize] = data;
                }
                false => {
                    let versions = self.cache.entry(at).or_default();
                    versions.push((self.completed, data));
                }
            }
        }
    }

    /// A write has failed: nothing of it is there.
    pub fn lose(&mut self, id: u64) {
        self.flight.remove(&id);
    }

    /// How many writes have completed.
    pub fn completed(&self) -> u64 {
        self.completed
    }

    /// Brings the cache to the medium.
    pub fn sync(&mut self) {
        self.sync_up_to(u64::MAX);
    }

    /// Brings to the medium what had completed when [`Self::completed`] was this. That is all that
    /// a flush promises which began then.
    pub fn sync_up_to(&mut self, completed: u64) {
        let medium = &mut self.medium;
        self.cache.retain(|at, versions| {
            let count = versions.partition_point(|(number, _)| *number <= completed);
            if let Some((_, data)) = versions.drain(..count).next_back() {
                medium[*at as usize] = data;
            }
            !versions.is_empty()
        });
    }

    /// What is left when the power goes.
    pub fn crash(&self, rng: &mut Rng) -> Self {
        self.crash_as(Fate::Any, rng)
    }

    /// The same, when the writes that are not durable have this fate.
    pub fn crash_as(&self, fate: Fate, rng: &mut Rng) -> Self {
        let mut after = Self {
            medium: self.medium.clone(),
            ..Self::new(0)
        };
        for (at, versions) in &self.cache {
            for (_, data) in versions {
                after.survive(&[(*at, data.clone())], fate, rng);
            }
        }
        let mut all = true;
        for blocks in self.flight.values() {
            let became = after.survive(blocks, fate, rng);
            after.reordered |= became == Became::Kept && !all;
            all &= became == Became::Kept;
        }
        after
    }

    /// Some of a write reaches the medium.
    fn survive(&mut self, blocks: &[(u64, Data)], fate: Fate, rng: &mut Rng) -> Became {
        let sectors = blocks.len() * (BLOCK_BYTES / SECTOR);
        let chance = match fate {
            Fate::Any => rng.below(5),
            Fate::Kept => 0,
            Fate::Lost => 2,
        };
        let (prefix, any) = match chance {
            0 | 1 => (sectors, false),
            2 => (0, false),
            3 => (rng.below(sectors as u64 + 1) as usize, false),
            _ => (0, true),
        };
        if prefix == 0 && !any {
            return Became::Lost;
        }
        let rubbish = (prefix < sectors && rng.once_in(4)).then_some(prefix);
        for (n, (at, data)) in blocks.iter().enumerate() {
            let mut block = *self.medium[*at as usize];
            let parts = block
                .chunks_exact_mut(SECTOR)
                .zip(data.chunks_exact(SECTOR));
            for (index, (to, from)) in (n * (BLOCK_BYTES / SECTOR)..).zip(parts) {
                if rubbish == Some(index) {
                    to.fill(0xa5);
                } else if index < prefix || (any && rng.once_in(2)) {
                    to.copy_from_slice(from);
                }
            }
            self.medium[*at as usize] = Arc::new(block);
        }
        match prefix == sectors {
            true => Became::Kept,
            false => {
                self.torn = true;
                Became::Torn
            }
        }
    }
}

/// For recovery: each write completes at once, into the cache.
impl Disk for SimDisk {
    fn read(&mut self, block: u64, out: &mut [u8]) -> Result {
        for (at, part) in (block..).zip(out.chunks_mut(BLOCK_BYTES)) {
            let data = self.get(at).filter(|_| self.bad != Some(at));
            part.copy_from_slice(&**data.ok_or(EIO)?);
        }
        Ok(())
    }

    fn write(&mut self, block: u64, data: &[u8]) -> Result {
        for (at, part) in (block..).zip(data.chunks(BLOCK_BYTES)) {
            if let Some(left) = &mut self.writes_left {
                *left = left.checked_sub(1).ok_or(EIO)?;
            }
            if at >= self.blocks() {
                return Err(EIO);
            }
            let id = self.submit(vec![(at, Arc::new(part.try_into().unwrap()))]);
            self.complete(id, false);
        }
        Ok(())
    }

    fn flush(&mut self) -> Result {
        if self.writes_left == Some(0) {
            return Err(EIO);
        }
        self.sync();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(fill: u8) -> Data {
        Arc::new([fill; BLOCK_BYTES])
    }

    /// Every outcome that a crash may have is had, and what is durable stays.
    #[test]
    fn crashes_keep_lose_and_tear() {
        let mut disk = SimDisk::new(3);
        disk.write(0, &[1; BLOCK_BYTES]).unwrap();
        disk.flush().unwrap();
        disk.write(0, &[2; BLOCK_BYTES]).unwrap();
        let id = disk.submit(vec![(1, block(3)), (2, block(3))]);
        let (mut kept, mut lost, mut torn, mut rubbish) = (0, 0, 0, 0);
        for seed in 0..200 {
            let after = disk.crash(&mut Rng::new(seed));
            assert!(!after.reordered);
            let first = after.get(0).unwrap();
            assert!(first.iter().all(|byte| [1, 2, 0xa5].contains(byte)));
            let both = [1, 2].map(|at| after.get(at).unwrap().iter().copied());
            let bytes: Vec<u8> = both.into_iter().flatten().collect();
            kept += u32::from(bytes.iter().all(|byte| *byte == 3));
            lost += u32::from(bytes.iter().all(|byte| *byte == 0));
            torn += u32::from(bytes.contains(&0) && bytes.contains(&3));
            rubbish += u32::from(bytes.contains(&0xa5));
        }
        assert!(kept > 30 && lost > 10 && torn > 30 && rubbish > 5);
        for (fate, expected) in [(Fate::Kept, [2, 3, 3]), (Fate::Lost, [1, 0, 0])] {
            let after = disk.crash_as(fate, &mut Rng::new(1));
            assert_eq!([0, 1, 2].map(|at| after.get(at).unwrap()[9]), expected);
        }
        disk.complete(id, true);
        disk.sync();
        assert!(disk.is_settled());
        let after = disk.crash(&mut Rng::new(1));
        assert_eq!([0, 1, 2].map(|at| after.get(at).unwrap()[9]), [2, 3, 3]);
    }
}
