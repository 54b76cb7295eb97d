// SPDX-License-Identifier: GPL-2.0

//! A live device in memory, as simple as can be: every snapshot keeps a whole copy.

#![forbid(unsafe_code)]
#![allow(dead_code)]
#![allow(clippy::unwrap_used)]

use std::cell::Cell;
use std::cell::RefCell;

use indicatif::ProgressBar;
use preserve::copy::backup::Plan;
use preserve::copy::backup::Report;
use preserve::device::Identity;
use preserve::device::Piece;
use preserve::device::Query;
use preserve::device::Source;
use preserve::uapi::Extent;
use preserve::uapi::Range;
use preserve::uapi::SnapshotInfo;
use preserve::uapi::ATTR_CHANGED;
use preserve::uapi::ATTR_GONE;
use preserve::uapi::ATTR_PROTECTED;
use preserve::uapi::KIND_BOOKMARK;
use preserve::Error;
use preserve::Result;
use uuid::Uuid;

pub const CHUNK: usize = 4096;

/// The device.
pub struct Fake {
    pub generation: Uuid,
    pub live: Vec<u8>,
    pub designation: Vec<bool>,
    pub snapshots: Vec<Snap>,
    /// What has been released, and of which snapshot.
    pub released: RefCell<Vec<(u64, Range)>>,
    /// How often extents have been listed.
    pub lists: Cell<u64>,
    /// Listings from this chunk on fail.
    pub fails_at: Option<u64>,
    /// Chunks looked at by one listing.
    pub look: u64,
    /// Reads of these chunks find a hole, whatever the lists said.
    pub holes: Vec<usize>,
    marks: Vec<bool>,
}

/// A frozen instant.
pub struct Snap {
    pub content: Vec<u8>,
    pub protected: Vec<bool>,
    pub gone: Vec<bool>,
    pub dropped: bool,
    marks: Vec<bool>,
}

impl Fake {
    pub fn new(bytes: usize) -> Self {
        let chunks = bytes.div_ceil(CHUNK);
        Fake {
            generation: Uuid::from_u128(7),
            live: vec![0; bytes],
            designation: vec![true; chunks],
            snapshots: Vec::new(),
            released: RefCell::default(),
            lists: Cell::default(),
            fails_at: None,
            look: 3,
            holes: Vec::new(),
            marks: vec![false; chunks],
        }
    }

    pub fn chunks(&self) -> usize {
        self.designation.len()
    }

    /// The bytes of a chunk.
    pub fn place(&self, chunk: usize) -> std::ops::Range<usize> {
        chunk * CHUNK..((chunk + 1) * CHUNK).min(self.live.len())
    }

    pub fn write(&mut self, chunk: usize, value: u8) {
        let place = self.place(chunk);
        self.live[place].fill(value);
        self.marks[chunk] = true;
    }

    /// Takes a snapshot and returns its id.
    pub fn snapshot(&mut self) -> u64 {
        self.snapshots.push(Snap {
            content: self.live.clone(),
            protected: self.designation.clone(),
            gone: vec![false; self.chunks()],
            dropped: false,
            marks: std::mem::replace(&mut self.marks, vec![false; self.designation.len()]),
        });
        self.snapshots.len() as u64
    }

    pub fn snap(&self, id: u64) -> Result<&Snap> {
        let index = usize::try_from(id).unwrap().checked_sub(1);
        index
            .and_then(|i| self.snapshots.get(i))
            .ok_or_else(|| Error::Missing(format!("no snapshot {id}")))
    }

    /// The stream of a backup.
    pub fn backup(&self, from: u64, to: u64) -> Result<(Vec<u8>, Report)> {
        let mut stream = Vec::new();
        let report = Plan::new(self, from, to)?.run(self, &mut stream, &ProgressBar::hidden())?;
        Ok((stream, report))
    }

    fn attributes(&self, query: Query, chunk: usize) -> Result<u32> {
        let to = self.snap(query.to)?;
        let epochs = &self.snapshots[query.from as usize..query.to as usize];
        let newly =
            query.from != 0 && to.protected[chunk] && !self.snap(query.from)?.protected[chunk];
        let changed = query.from == 0 || newly || epochs.iter().any(|s| s.marks[chunk]);
        let bit = |set: bool, bit: u32| if set { bit } else { 0 };
        Ok(bit(changed, ATTR_CHANGED)
            | bit(to.protected[chunk], ATTR_PROTECTED)
            | bit(to.gone[chunk], ATTR_GONE))
    }
}

impl Source for Fake {
    fn name(&self) -> &str {
        "fake"
    }

    fn identity(&self) -> Result<Identity> {
        let origin_bytes = self.live.len() as u64;
        Ok(Identity {
            generation: self.generation,
            chunk_bytes: CHUNK as u32,
            origin_bytes,
        })
    }

    fn find(&self, id: u64) -> Result<SnapshotInfo> {
        let kind = if self.snap(id)?.dropped {
            KIND_BOOKMARK
        } else {
            0
        };
        Ok(SnapshotInfo {
            id,
            kind,
            time_ns: 1000 * id,
            sectors: self.identity()?.origin_bytes / 512,
            ..SnapshotInfo::default()
        })
    }

    fn list(&self, query: Query, start: u64) -> Result<(Vec<Extent>, u64)> {
        self.lists.set(self.lists.get() + 1);
        if self.fails_at.is_some_and(|at| at <= start) {
            return Err(Error::Gone(format!("list from {start}")));
        }
        let next = (start + self.look).min(self.chunks() as u64);
        let mut found: Vec<Extent> = Vec::new();
        for chunk in start..next {
            let attributes = self.attributes(query, chunk as usize)?;
            if attributes & query.mask != query.value {
                continue;
            }
            match found.last_mut() {
                Some(e) if e.start + e.len == chunk && e.attributes == attributes => e.len += 1,
                _ => found.push(Extent {
                    start: chunk,
                    len: 1,
                    attributes,
                    reserved: 0,
                }),
            }
        }
        Ok((found, next))
    }

    fn read(&self, id: u64, start: u64, buffer: &mut [u8]) -> Result<Piece> {
        let (snap, start) = (self.snap(id)?, start as usize);
        let chunk = start / CHUNK;
        if snap.gone[chunk] {
            return Err(Error::Gone(format!("chunk {chunk}")));
        }
        if self.holes.contains(&chunk) || !snap.protected[chunk] {
            return Ok(Piece::Hole(self.place(chunk).len() as u64));
        }
        // One chunk at a time: as few as the interface allows.
        let place = self.place(chunk);
        buffer[..place.len()].copy_from_slice(&snap.content[place.clone()]);
        Ok(Piece::Data(place.len()))
    }

    fn release(&self, id: u64, range: Range) -> Result<()> {
        self.snap(id)?;
        self.released.borrow_mut().push((id, range));
        Ok(())
    }
}
