// SPDX-License-Identifier: GPL-2.0

//! A device in memory with its store: every snapshot keeps a whole copy, which is what a rollback
//! must bring back.

#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::sync::Arc as StdArc;

use super::wire::bytes_of;
use super::wire::disk_of;
use super::wire::Fault;
use super::wire::Power;
use super::wire::Wire;
use crate::builder::Builder;
use dm_preserve_core::maps::SECTOR_BYTES;
use sim::Rng;
use sim::SimDisk;

/// A frozen instant.
#[derive(Clone)]
pub(super) struct Snap {
    pub(super) id: u64,
    pub(super) content: Vec<u8>,
    pub(super) protected: Vec<bool>,
    /// Written since.
    marked: Vec<bool>,
    /// Overwritten without a copy.
    pub(super) gone: Vec<bool>,
    pub(super) dropped: bool,
}

pub(super) struct World {
    pub(super) builder: Builder,
    pub(super) origin: Vec<u8>,
    pub(super) snaps: Vec<Snap>,
    pub(super) protected: Vec<bool>,
    chunk_bytes: usize,
    segment: u64,
    /// A write to the only region has been announced.
    announced: bool,
    /// Each write leaves another byte.
    fill: u8,
}

const STORE_BLOCKS: u64 = 3000;

impl World {
    pub(super) fn new(sectors: u64, chunk_sectors: u64) -> Self {
        let chunks = sectors.div_ceil(chunk_sectors) as usize;
        Self {
            builder: Builder::new(STORE_BLOCKS, sectors, chunk_sectors).unwrap(),
            origin: vec![1; (sectors * SECTOR_BYTES) as usize],
            snaps: Vec::new(),
            protected: vec![true; chunks],
            chunk_bytes: (chunk_sectors * SECTOR_BYTES) as usize,
            segment: 0,
            announced: false,
            fill: 1,
        }
    }

    pub(super) fn chunks(&self) -> usize {
        self.protected.len()
    }

    /// The bytes of a chunk, on a device with so many.
    pub(super) fn place(&self, chunk: usize, bytes: usize) -> std::ops::Range<usize> {
        chunk * self.chunk_bytes..((chunk + 1) * self.chunk_bytes).min(bytes)
    }

    pub(super) fn snapshot(&mut self) -> u64 {
        let id = self.builder.snapshot().unwrap();
        self.announced = false;
        self.next_segment();
        let none = vec![false; self.chunks()];
        self.snaps.push(Snap {
            id,
            content: self.origin.clone(),
            protected: self.protected.clone(),
            marked: none.clone(),
            gone: none,
            dropped: false,
        });
        id
    }

    fn next_segment(&mut self) {
        self.builder.segment(self.segment).unwrap();
        self.segment += 1;
    }

    pub(super) fn grow(&mut self, sectors: u64) {
        self.builder.grow(sectors);
        self.origin.resize((sectors * SECTOR_BYTES) as usize, 1);
        let chunks = self.origin.len().div_ceil(self.chunk_bytes);
        self.protected.resize(chunks, true);
        for snap in &mut self.snaps {
            snap.marked.resize(chunks, false);
            snap.gone.resize(chunks, false);
        }
    }

    /// Overwrites a chunk, `readable` or not.
    pub(super) fn write(&mut self, chunk: usize, readable: bool) {
        let whole = self.chunk_bytes;
        let needed = |snap: &&Snap| {
            let had = chunk * whole < snap.content.len();
            had && !snap.dropped && !snap.marked[chunk] && snap.protected[chunk]
        };
        let place = self.place(chunk, self.origin.len());
        let old = self.origin[place.start];
        if !self.snaps.iter().any(|snap| needed(&snap)) {
            if !self.announced {
                self.builder.region(0).unwrap();
            }
            self.announced = true;
        } else if readable {
            // Where the segment is full, in the next one.
            let copy = |world: &mut Self| world.builder.copy(&[(chunk as u64, old)]);
            if copy(self).is_err() {
                self.next_segment();
                copy(self).unwrap();
            }
        } else {
            self.builder.gone(chunk as u64).unwrap();
        }
        let copied = readable && self.snaps.iter().any(|snap| needed(&snap));
        for snap in &mut self.snaps {
            snap.gone[chunk] |= !snap.marked[chunk] && !copied;
            snap.marked[chunk] = true;
        }
        self.fill = self.fill.wrapping_add(1).max(2);
        self.origin[place].fill(self.fill);
    }

    /// A history of snapshots, edits, writes, drops and checkpoints.
    pub(super) fn random(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let chunk_sectors = 8 << rng.below(2);
        let sectors = 40 * chunk_sectors + 1 + rng.below(chunk_sectors);
        let mut world = Self::new(sectors, chunk_sectors);
        for _ in 0..3 + rng.below(3) {
            if rng.once_in(2) {
                let start = rng.below(30) as usize;
                let on = rng.once_in(2);
                let end = start + 1 + rng.below(10) as usize;
                world.builder.protect(start as u64, end as u64, on).unwrap();
                world.protected[start..end].fill(on);
            }
            world.snapshot();
            for _ in 0..rng.below(12) {
                let chunk = rng.below(world.chunks() as u64) as usize;
                world.write(chunk, !rng.once_in(12));
            }
            if rng.once_in(3) {
                let live = world.snaps.iter().filter(|snap| !snap.dropped).count();
                let nth = rng.below(live as u64) as usize;
                if live > 2 {
                    let snap = world.snaps.iter_mut().filter(|snap| !snap.dropped).nth(nth);
                    let snap = snap.unwrap();
                    snap.dropped = true;
                    world.builder.drop_snapshot(snap.id).unwrap();
                }
            }
            world.announced = false;
            match rng.below(4) {
                0 => world.builder.checkpoint().unwrap(),
                1 => world.builder.reopen().unwrap(),
                _ => (),
            }
            // A segment ends with its session.
            world.next_segment();
        }
        if rng.once_in(2) {
            let origin = world.origin.clone();
            world.builder.close_over(&origin).unwrap();
        }
        world
    }

    /// A snapshot that is live.
    pub(super) fn live(&self) -> impl DoubleEndedIterator<Item = &Snap> {
        self.snaps.iter().filter(|snap| !snap.dropped)
    }

    /// What the origin must be after a rollback, from what it is now.
    pub(super) fn expected(&self, snap: &Snap, origin: &[u8]) -> Vec<u8> {
        let mut expected = origin.to_vec();
        for chunk in 0..snap.content.len().div_ceil(self.chunk_bytes) {
            if snap.protected[chunk] && !snap.gone[chunk] {
                let place = self.place(chunk, snap.content.len());
                expected[place.clone()].copy_from_slice(&snap.content[place]);
            }
        }
        expected
    }

    pub(super) fn disks(&mut self) -> Disks {
        Disks {
            store: disk_of(self.builder.bytes()),
            store_bytes: self.builder.bytes().len(),
            origin: disk_of(&self.origin),
            origin_bytes: self.origin.len(),
            faults: Vec::new(),
        }
    }
}

/// Both disks.
#[derive(Clone)]
pub(super) struct Disks {
    pub(super) store: SimDisk,
    store_bytes: usize,
    pub(super) origin: SimDisk,
    origin_bytes: usize,
    /// Of the store's blocks.
    pub(super) faults: Vec<(u64, Fault)>,
}

impl Disks {
    pub(super) fn origin(&self) -> Vec<u8> {
        bytes_of(&self.origin, self.origin_bytes)
    }

    pub(super) fn store(&self) -> Vec<u8> {
        bytes_of(&self.store, self.store_bytes)
    }

    /// Lets `work` have store and origin, as long as there is power.
    pub(super) fn with<T>(&mut self, power: &Power, work: impl FnOnce(Wire, Wire) -> T) -> T {
        let wire = |disk: &SimDisk, bytes: usize| Wire {
            disk: StdArc::new(RefCell::new(disk.clone())),
            bytes: bytes as u64,
            power: power.clone(),
            faults: Vec::new(),
            forgot: false,
        };
        let mut store = wire(&self.store, self.store_bytes);
        store.faults = self.faults.clone();
        let origin = wire(&self.origin, self.origin_bytes);
        let kept = [store.disk.clone(), origin.disk.clone()];
        let result = work(store, origin);
        let [store, origin] = kept.map(|disk| disk.borrow().clone());
        (self.store, self.origin) = (store, origin);
        result
    }

    /// The power goes.
    pub(super) fn crash(&self, rng: &mut Rng) -> Self {
        Self {
            store: self.store.crash(rng),
            origin: self.origin.crash(rng),
            faults: self.faults.clone(),
            ..*self
        }
    }
}
