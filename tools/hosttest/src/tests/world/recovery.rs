// SPDX-License-Identifier: GPL-2.0

//! The first beginning of a device, and the next ones after a crash.

#![forbid(unsafe_code)]

use super::copies::SimCopies;
use super::device::Config;
use super::device::Step;
use super::device::Stop;
use super::device::World;
use super::model::content;
use super::model::Model;
use super::verify::Known;
use super::verify::Recovered;
use dm_preserve_core::format::Layout;
use dm_preserve_core::format::Superblock;
use dm_preserve_core::format::BLOCK_BYTES;
use dm_preserve_core::format::STATE_OPEN;
use dm_preserve_core::history::Epoch;
use dm_preserve_core::history::Timeline;
use dm_preserve_core::maps::Bitmap;
use dm_preserve_core::maps::Designation;
use dm_preserve_core::maps::Geometry;
use dm_preserve_core::store::Checkpoint;
use dm_preserve_core::store::LogEnd;
use dm_preserve_core::store::LogPosition;
use dm_preserve_core::store::Replayed;
use dm_preserve_core::store::Segments;
use kernel::prelude::*;
use kernel::sync::Arc;
use sim::Rng;
use sim::SimDisk;
use std::collections::BTreeMap;
use std::sync::Arc as StdArc;
use zerocopy::little_endian::U32;
use zerocopy::little_endian::U64;
use zerocopy::FromBytes;

const FIRST_EPOCH: u64 = 1;

fn empty_superblock(config: &Config, uuid: u8) -> Superblock {
    let zero = [0; core::mem::size_of::<Superblock>()];
    let mut superblock = Superblock::read_from_bytes(&zero).unwrap();
    config.layout.store(&mut superblock);
    superblock.store = [uuid; 16];
    superblock.generation = [0x77; 16];
    superblock.state = U32::new(STATE_OPEN);
    superblock.chunk_sectors = U32::new(config.layout.chunk_blocks as u32 * 8);
    superblock.origin_sectors = U64::new(config.chunks * config.layout.chunk_blocks * 8);
    superblock
}

fn first_state(config: &Config) -> Checkpoint<SimCopies> {
    let first = Epoch {
        id: FIRST_EPOCH,
        marks: Arc::new(Bitmap::new(config.chunks).unwrap(), GFP_KERNEL).unwrap(),
        copies: None,
    };
    Checkpoint {
        place: LogPosition::default(),
        next: 0,
        period: 0,
        next_id: 1,
        sectors: config.chunks * config.layout.chunk_blocks * 8,
        timeline: Arc::new(Timeline::new(first).unwrap(), GFP_KERNEL).unwrap(),
        designation: Arc::new(Designation::new(config.default), GFP_KERNEL).unwrap(),
    }
}

/// A new device over a new store, ready to be written to.
pub(crate) fn format(config: &Config, store: SimDisk, uuid: u8) -> Step<World> {
    let mut rng = Rng::new(config.seed);
    let step = config.layout.chunk_blocks;
    let mut origin = SimDisk::new(config.max_chunks * step);
    for chunk in config.hot.iter() {
        let mut block = [0; BLOCK_BYTES];
        block[..8].copy_from_slice(&rng.next().to_le_bytes());
        (0..step).for_each(|n| origin.set(chunk * step + n, block));
    }
    let model = Model {
        hot: StdArc::new(config.hot.clone()),
        protected: vec![config.default; config.hot.len()],
        snaps: Vec::new(),
        next_id: 1,
        epoch: FIRST_EPOCH,
        chunks: config.chunks,
    };
    let known = Known {
        model: model.clone(),
        after: None,
        gone: Default::default(),
        exact: BTreeMap::new(),
        copied_at_cut: BTreeMap::new(),
        segments: 0,
        trap: config.trap,
        chunk_blocks: step,
    };
    let recovered = Recovered {
        superblock: empty_superblock(config, uuid),
        layout: config.layout,
        state: first_state(config),
        replayed: Replayed::default(),
        returned: StdArc::default(),
        model,
    };
    // What a crash leaves before there is a superblock need not be recovered.
    let quiet = Config {
        check_every: 0,
        ..config.clone()
    };
    let mut world = World::assemble(quiet, rng, (origin, store), recovered, known)?;
    world.start()?;
    world.config = config.clone();
    Ok(world)
}

fn segments(state: &Checkpoint<SimCopies>, layout: &Layout) -> Step<Segments> {
    let epochs = state.timeline.epochs(0, u64::MAX);
    let owned = epochs.filter_map(|epoch| epoch.copies.as_ref());
    let owned: Vec<u64> = owned.flat_map(|copies| copies.owned()).collect();
    Segments::new(*layout, &owned).map_err(|error| Stop::Failed(format!("{error:?}")))
}

impl World {
    /// From what was recovered. Nothing is written yet.
    pub(crate) fn assemble(
        config: Config,
        rng: Rng,
        (origin, store): (SimDisk, SimDisk),
        recovered: Recovered,
        known: Known,
    ) -> Step<Self> {
        let (mut superblock, layout) = (recovered.superblock, recovered.layout);
        let state = recovered.state;
        superblock.session += U64::new(1);
        let place = LogPosition {
            content: 0,
            content_end: 0,
            ..state.place
        };
        // Dropped during recovery: their segments are free, not on their way back.
        recovered.returned.borrow_mut().clear();
        let known = Known {
            model: recovered.model,
            after: None,
            ..known
        };
        Ok(Self {
            logbook: LogEnd::new(superblock.store, superblock.session.get(), layout, place),
            segments: segments(&state, &layout)?,
            returned: recovered.returned,
            current: None,
            shape: Geometry::new(state.sectors, layout.chunk_blocks * 8).unwrap(),
            timeline: state.timeline,
            designation: state.designation,
            period: state.period,
            next_id: state.next_id,
            regions: Default::default(),
            gate_open: true,
            doing: None,
            records: BTreeMap::new(),
            claims: BTreeMap::new(),
            writes: Vec::new(),
            saved_before: 0,
            full: false,
            ring_full: false,
            version: known.model.next_id << 40 | superblock.session.get() << 24,
            crash_in: None,
            left: None,
            totals: Default::default(),
            trail: Vec::new(),
            config,
            rng,
            origin,
            store,
            superblock,
            known,
        })
    }

    /// Makes what was recovered durable, under a new session, before any write.
    pub(crate) fn start(&mut self) -> Step {
        self.grow_at_start();
        self.checkpoint(STATE_OPEN, 0)
    }

    /// As [`World::start`], after a clean shutdown: the image says everything already.
    pub(crate) fn start_exact(&mut self) -> Step {
        self.grow_at_start();
        self.superblock.state = U32::new(STATE_OPEN);
        self.write_superblocks(0)
    }

    /// The content of each hot chunk, for comparison.
    pub(crate) fn contents(&self) -> Vec<super::model::Content> {
        let hot = self.config.hot.iter();
        hot.map(|chunk| content(&self.origin, *chunk, self.chunk_blocks()))
            .collect()
    }
}
