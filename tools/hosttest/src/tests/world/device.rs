// SPDX-License-Identifier: GPL-2.0

//! The device's parts, and how it moves: one small step at a time, any that is possible.

#![forbid(unsafe_code)]

use super::copies::SimCopies;
use super::model::Content;
use super::verify::Known;
use super::Trap;
use dm_preserve_core::format::Layout;
use dm_preserve_core::format::Superblock;
use dm_preserve_core::history::Epoch;
use dm_preserve_core::history::Timeline;
use dm_preserve_core::maps::Designation;
use dm_preserve_core::maps::Geometry;
use dm_preserve_core::store::LogEnd;
use dm_preserve_core::store::LogPosition;
use dm_preserve_core::store::Segments;
use kernel::sync::Arc;
use sim::Data;
use sim::Fate;
use sim::Rng;
use sim::SimDisk;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc as StdArc;

/// What a history is like.
#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) seed: u64,
    pub(crate) layout: Layout,
    pub(crate) chunks: u64,
    /// Chunks that the device may grow to.
    pub(crate) max_chunks: u64,
    /// The chunks that are written.
    pub(crate) hot: Vec<u64>,
    pub(crate) default: bool,
    pub(crate) keep_unprotected: bool,
    pub(crate) trap: Option<Trap>,
    /// How likely each kind of step is.
    pub(crate) weights: [u64; 6],
    /// Most snapshots that are kept.
    pub(crate) keep: u64,
    /// The power goes tentatively at one in so many disk operations; 0 for never.
    pub(crate) check_every: u64,
    /// What then becomes of writes to the origin and to the store that are not durable: one try
    /// each.
    pub(crate) outcomes: &'static [[Fate; 2]],
    /// The power goes really after fewer disk operations.
    pub(crate) life: u64,
    /// Fewer steps from one action to the next.
    pub(crate) pause: u64,
    /// Segments that the store may grow by.
    pub(crate) growth: u64,
}

/// What is under way one at a time, and a crash may come upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doing {
    Drop,
    /// The origin's.
    Growth,
    OtherControl,
    StoreGrowth,
}

/// Why a device stops.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The power has gone; what is left of the disks is in [`World::left`].
    Dead,
    /// Something is wrong.
    Failed(String),
}

pub(crate) type Step<T = ()> = Result<T, Stop>;

pub(crate) fn failed<T>(what: impl Into<String>) -> Step<T> {
    Err(Stop::Failed(what.into()))
}

/// A record that is not settled yet.
pub(crate) struct Record {
    /// The place before it.
    pub(crate) place: LogPosition,
    /// Its write, while that is under way.
    pub(crate) io: Option<u64>,
    pub(crate) what: What,
}

pub(crate) enum What {
    Copies {
        epoch: u64,
        copies: Arc<SimCopies>,
        /// Chunks and positions.
        items: Vec<(u64, u64)>,
    },
    Gone {
        epoch: u64,
        chunk: u64,
    },
    Region {
        region: u64,
        epoch: u64,
        period: u64,
    },
    /// Nothing is to be done when it is durable, or whoever wrote it does that.
    Other,
}

/// A claim on a chunk.
pub(crate) struct Claim {
    /// The content that was read, and the epoch then present.
    pub(crate) content: Content,
    pub(crate) read_in: u64,
    /// There is space reserved for it.
    pub(crate) reserved: bool,
    /// Its record is on its way.
    pub(crate) logged: bool,
}

/// A write of the user's.
pub(crate) struct UserWrite {
    pub(crate) chunks: BTreeSet<u64>,
    pub(crate) data: Vec<(u64, Data)>,
    pub(crate) stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Waiting,
    /// Inside the gate, everything decided.
    Entered,
    /// On its way to the origin.
    Submitted(u64),
}

pub(crate) struct World {
    pub(crate) config: Config,
    pub(crate) rng: Rng,
    pub(crate) origin: SimDisk,
    pub(crate) store: SimDisk,
    pub(crate) superblock: Superblock,
    pub(crate) logbook: LogEnd,
    pub(crate) segments: Segments,
    /// Segments that nobody refers to any longer.
    pub(crate) returned: StdArc<RefCell<Vec<u64>>>,
    /// The epoch whose contents go to the current segment.
    pub(crate) current: Option<u64>,
    pub(crate) timeline: Arc<Timeline<SimCopies>>,
    pub(crate) designation: Arc<Designation>,
    pub(crate) shape: Geometry,
    pub(crate) period: u64,
    pub(crate) next_id: u64,
    /// Dirty regions of the present epoch and period.
    pub(crate) regions: BTreeSet<u64>,
    pub(crate) gate_open: bool,
    pub(crate) doing: Option<Doing>,
    pub(crate) records: BTreeMap<u64, Record>,
    pub(crate) claims: BTreeMap<u64, Claim>,
    pub(crate) writes: Vec<UserWrite>,
    pub(crate) known: Known,
    /// All epochs before this one were saved as closed.
    pub(crate) saved_before: u64,
    /// Writes wait for space.
    pub(crate) full: bool,
    /// Writes wait for room in the ring.
    pub(crate) ring_full: bool,
    pub(crate) version: u64,
    /// The power goes after so many disk operations.
    pub(crate) crash_in: Option<u64>,
    pub(crate) left: Option<(SimDisk, SimDisk)>,
    pub(crate) totals: super::totals::Totals,
    /// The records from the last checkpoint's cut on.
    pub(crate) trail: Vec<Trail>,
}

/// Where a record went.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trail {
    pub(crate) sequence: u64,
    pub(crate) block: u64,
    pub(crate) blocks: u64,
    /// Every record below this was durable when it was made.
    pub(crate) durable: u64,
}

impl World {
    pub(crate) fn trapped(&self, trap: Trap) -> bool {
        self.config.trap == Some(trap)
    }

    pub(crate) fn present(&self) -> &Epoch<SimCopies> {
        self.timeline.present().unwrap()
    }

    pub(crate) fn chunk_blocks(&self) -> u64 {
        self.config.layout.chunk_blocks
    }

    /// Every record below this is durable.
    pub(crate) fn durable(&self) -> u64 {
        let mut under_way = self.records.iter().filter(|(_, r)| r.io.is_some());
        let first = under_way.next().map(|(sequence, _)| *sequence);
        first.unwrap_or(self.logbook.place().sequence)
    }

    /// Called before every disk operation: the power may go, really or just to see what would be
    /// left.
    pub(crate) fn disk_op(&mut self) -> Step {
        self.totals.operations += 1;
        if self.config.check_every > 0 && self.rng.once_in(self.config.check_every) {
            self.try_crashes()?;
        }
        match &mut self.crash_in {
            Some(0) => {
                let origin = self.origin.crash(&mut self.rng);
                let store = self.store.crash(&mut self.rng);
                self.left = Some((origin, store));
                Err(Stop::Dead)
            }
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// One step of what is under way. `new`: writes may begin.
    pub(crate) fn step(&mut self, new: bool) -> Step {
        self.totals.steps += 1;
        self.reclaim();
        let weights = self.config.weights;
        let mut ticket = self.rng.below(weights.iter().sum());
        let chosen = weights.iter().position(|weight| {
            let here = ticket < *weight;
            ticket = ticket.saturating_sub(*weight);
            here
        });
        match chosen {
            Some(0) => self.complete_record(),
            Some(1) => self.settle(),
            Some(2) => self.complete_write(),
            Some(3) => self.form_copies(),
            Some(4) => self.advance_write(),
            _ if new => self.begin_write(),
            _ => Ok(()),
        }
    }

    /// Whether any write of the user's is inside the gate.
    pub(crate) fn is_inside(&self) -> bool {
        self.writes
            .iter()
            .any(|write| write.stage != Stage::Waiting)
    }

    /// Closes the gate and waits until nobody is inside.
    pub(crate) fn close_gate(&mut self) -> Step {
        self.gate_open = false;
        while self.is_inside() {
            self.step(true)?;
        }
        Ok(())
    }

    /// Takes over the segments that nobody refers to any longer.
    pub(crate) fn reclaim(&mut self) {
        let returned = std::mem::take(&mut *self.returned.borrow_mut());
        self.segments.give_back(&returned);
        if self.trapped(Trap::EarlyReuse) {
            self.segments.free_waiting(self.segments.waiting());
        }
    }
}
