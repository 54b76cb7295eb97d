// SPDX-License-Identifier: GPL-2.0

//! What a seed decides of a history: devices as small as may be, so that everything runs full.
//!
//! Each setting has a name and is a number, so that a history can be made simpler one by one, and
//! had again from a command line.

#![forbid(unsafe_code)]

use dm_preserve_core::maps::Geometry;
use dm_preserve_core::uapi::args::OnError;
use dm_preserve_core::uapi::args::OnFull;
use dm_preserve_core::uapi::args::Options;
use dm_preserve_engine::engine::Reserves;
use sim::Rng;

/// Chunks by which a device may grow.
pub(crate) const GROWTH: u64 = 6;
/// Chunks of a region.
const REGION: u64 = 1024;

/// What goes wrong in a history, for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Faults {
    /// Nothing.
    None,
    /// The origin cannot be read, written or flushed now and then.
    Origin,
    /// The store cannot be read, written or flushed now and then, or at all.
    Store,
    /// There is no memory now and then.
    Memory,
}

/// The settings: their names, and the simplest value of each.
pub const SETTINGS: &[(&str, u64)] = &[
    ("lives", 1),
    ("faults", 0),
    ("grows", 0),
    ("writers", 1),
    ("requests", 2),
    ("writes", 2),
    ("regions", 1),
    ("near", 1),
    ("chunk_blocks", 1),
    ("transient", 0),
    ("keep_unprotected", 0),
    ("unprotected", 0),
    ("reset", 0),
    ("block_on_full", 0),
    ("block_on_error", 1),
    ("store_blocks", 1400),
    ("odds", 600),
    ("crashes", 2000),
    ("edits", 0),
    ("releases", 0),
    ("keep", 4),
    ("longest", 1),
    ("slow_origin", 0),
    ("slow_store", 0),
    ("copy_kib", 4096),
    ("replaced", 0),
    ("map_pages", 64),
];

/// See the [module's documentation](self).
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Decides everything else.
    pub seed: u64,
    /// One for each of [`SETTINGS`].
    values: Vec<u64>,
    /// The chunks that are written and looked at; the last ones come when the device grows.
    pub(crate) hot: Vec<u64>,
    /// The table's options.
    pub(crate) options: Options,
    /// What goes wrong.
    pub(crate) faults: Faults,
}

impl Config {
    /// That of a seed.
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x5eed);
        let mut one_of = |list: &[u64]| list[rng.below(list.len() as u64) as usize];
        let some = |one_of: &mut dyn FnMut(&[u64]) -> u64, from: u64, to: u64| {
            let list: Vec<u64> = (from..to).collect();
            one_of(&list)
        };
        let mut values = Vec::new();
        for (name, _) in SETTINGS {
            values.push(match *name {
                "lives" => one_of(&[1, 2, 3]),
                "faults" => one_of(&[0, 0, 0, 0, 1, 2, 2, 3]),
                "grows" => one_of(&[0, 0, 0, 1]),
                "writers" => one_of(&[1, 2, 3, 4]),
                "requests" => some(&mut one_of, 4, 24),
                "writes" => some(&mut one_of, 10, 50),
                "regions" => one_of(&[1, 2, 2]),
                "near" => some(&mut one_of, 4, 16),
                "chunk_blocks" => one_of(&[1, 1, 2, 4]),
                "transient" => one_of(&[0, 0, 0, 0, 0, 0, 0, 1]),
                "keep_unprotected" => one_of(&[0, 0, 0, 0, 0, 1]),
                "unprotected" => one_of(&[0, 0, 0, 0, 1]),
                "reset" => one_of(&[0, 0, 0, 0, 0, 0, 0, 1]),
                "block_on_full" => one_of(&[0, 1]),
                "block_on_error" => one_of(&[0, 1, 1]),
                "store_blocks" => one_of(&[330, 330, 345, 512, 701, 999]),
                "odds" => one_of(&[600, 3000, 10_000, 30_000]),
                "crashes" => 65536 / some(&mut one_of, 4, 24),
                "edits" => one_of(&[0, 0, 4, 8]),
                "releases" => one_of(&[0, 0, 10_000]),
                "keep" => one_of(&[1, 2, 4]),
                "longest" => one_of(&[1, 2, 8]),
                "slow_origin" | "slow_store" => one_of(&[0, 0, 3000, 40_000]),
                "copy_kib" => one_of(&[16, 64, 4096]),
                "map_pages" => one_of(&[1, 4, 64]),
                "replaced" => one_of(&[0, 0, 0, 0, 1, 2]),
                _ => 0,
            });
        }
        Self::with(seed, values)
    }

    /// Makes it of its settings.
    fn with(seed: u64, values: Vec<u64>) -> Self {
        let mut config = Self {
            seed,
            values,
            hot: Vec::new(),
            options: Options::DEFAULT,
            faults: Faults::None,
        };
        // Neighbours, and the border between two regions.
        let mut hot: Vec<u64> = (0..config.get("near").max(1)).collect();
        hot.extend([70, 71]);
        if config.get("regions") > 1 {
            hot.extend(REGION - 6..REGION + 6);
        }
        hot.extend(config.chunks()..config.chunks() + GROWTH);
        config.hot = hot;
        config.options = Options {
            transient: config.get("transient") > 0,
            keep_unprotected: config.get("keep_unprotected") > 0,
            default_protected: config.get("unprotected") == 0,
            reset_protection: config.get("reset") > 0,
            on_full: match config.get("block_on_full") {
                0 => OnFull::Invalidate,
                _ => OnFull::Block,
            },
            on_error: match config.get("block_on_error") {
                0 => OnError::Continue,
                _ => OnError::Block,
            },
            low_space: 80,
        };
        config.faults = match config.get("faults") {
            0 => Faults::None,
            1 => Faults::Origin,
            2 => Faults::Store,
            _ => Faults::Memory,
        };
        config
    }

    /// Returns the value of a setting; 0 if there is none with that name.
    pub fn get(&self, name: &str) -> u64 {
        let place = SETTINGS.iter().position(|(other, _)| *other == name);
        place.map_or(0, |place| self.values[place])
    }

    /// Returns the same with another value; `None` if there is no setting with that name.
    pub fn set(&self, name: &str, value: u64) -> Option<Self> {
        let place = SETTINGS.iter().position(|(other, _)| *other == name)?;
        let mut values = self.values.clone();
        values[place] = value;
        Some(Self::with(self.seed, values))
    }

    /// Returns the command line that has the same history.
    pub fn command(&self) -> String {
        let plain = Self::new(self.seed);
        let mut command = format!("simulate --seed {}", self.seed);
        for (name, _) in SETTINGS {
            if self.get(name) != plain.get(name) {
                command += &format!(" {name}={}", self.get(name));
            }
        }
        command
    }

    /// Returns the memory that the device sets aside.
    pub(crate) fn reserves(&self) -> Reserves {
        Reserves {
            copy_bytes: self.get("copy_kib") << 10,
            // CAST: A small number.
            map_pages: self.get("map_pages") as usize,
        }
    }

    /// Returns the shape of a device of so many sectors.
    pub(crate) fn shape(&self, sectors: u64) -> Geometry {
        Geometry::new(sectors, self.chunk_sectors()).unwrap()
    }

    /// Returns the blocks of a chunk.
    pub(crate) fn chunk_blocks(&self) -> u64 {
        self.get("chunk_blocks").next_power_of_two()
    }

    /// Returns the sectors of a chunk.
    pub(crate) fn chunk_sectors(&self) -> u64 {
        self.chunk_blocks() * 8
    }

    /// Returns the chunks of the device at first.
    fn chunks(&self) -> u64 {
        match self.get("regions") {
            1 => 80 + self.seed % 4,
            _ => REGION + 7 + self.seed % 4,
        }
    }

    /// Returns the blocks of the origin at first.
    pub(crate) fn origin_blocks(&self) -> u64 {
        self.chunks() * self.chunk_blocks()
    }
}
