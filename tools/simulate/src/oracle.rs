// SPDX-License-Identifier: GPL-2.0

//! What a device must remember, kept the simple way: full contents for each snapshot.
//!
//! The content of an instant is what is on the origin while the gate is closed for it: nobody
//! writes then.

#![forbid(unsafe_code)]

use crate::config::Config;
use dm_shim::drive::Drive;
use sim::Data;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::rc::Rc;

/// The hot chunks' content: a list of blocks for each, which is empty beyond the device's end.
pub(crate) type Image = Vec<Vec<Data>>;

/// Returns what a drive has for the hot chunks.
pub(crate) fn image(config: &Config, origin: &Drive) -> Image {
    let disk = origin.disk();
    let chunk = |chunk: &u64| {
        let first = chunk * config.chunk_blocks();
        let blocks = first..first + config.chunk_blocks();
        blocks.filter_map(|at| disk.get(at).cloned()).collect()
    };
    config.hot.iter().map(chunk).collect()
}

/// What a snapshot was taken of.
pub(crate) struct Instant {
    pub(crate) image: Image,
    /// Which hot chunks were protected.
    pub(crate) protected: Vec<bool>,
}

/// A snapshot, or the bookmark of one.
#[derive(Clone)]
pub(crate) struct Snap {
    pub(crate) at: Rc<Instant>,
    /// For an incremental one.
    pub(crate) base: Option<Rc<Instant>>,
    /// The hot chunks that were released, or are about to be.
    pub(crate) released: BTreeSet<usize>,
    pub(crate) keep_unprotected: bool,
    /// It is being dropped, or has been, or the engine has given it up.
    pub(crate) may_be_gone: bool,
    /// It has been dropped.
    pub(crate) is_dropped: bool,
}

impl Snap {
    /// Returns true if a chunk's content must be there.
    pub(crate) fn wants(&self, hot: usize) -> bool {
        let changed = self
            .base
            .as_ref()
            .is_none_or(|base| !base.protected[hot] || base.image[hot] != self.at.image[hot]);
        (self.keep_unprotected || self.at.protected[hot])
            && !self.released.contains(&hot)
            && changed
    }
}

/// See the [module's documentation](self).
#[derive(Clone)]
pub(crate) struct Oracle {
    /// Which hot chunks are protected now.
    pub(crate) protected: Vec<bool>,
    /// The same when the edit that is under way is done.
    pub(crate) edited: Option<Vec<bool>>,
    /// By id.
    pub(crate) snaps: BTreeMap<u64, Snap>,
    /// One that is being taken: what it is once the gate has been closed for it.
    pub(crate) taking: Option<Snap>,
    /// The id that the next snapshot has.
    pub(crate) next_id: u64,
    /// The UUID that changes when tracking breaks.
    pub(crate) generation: Option<[u8; 16]>,
    /// The store has failed.
    pub(crate) has_failed: bool,
    /// A foreign table has had the device's place.
    pub(crate) was_bypassed: bool,
}

impl Oracle {
    /// That of a new device.
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            protected: vec![config.options.default_protected; config.hot.len()],
            edited: None,
            snaps: BTreeMap::new(),
            taking: None,
            next_id: 1,
            generation: None,
            has_failed: false,
            was_bypassed: false,
        }
    }

    /// Returns the ids of those that have not been dropped.
    pub(crate) fn live(&self) -> Vec<u64> {
        let live = self.snaps.iter().filter(|(_, snap)| !snap.may_be_gone);
        live.map(|(id, _)| *id).collect()
    }

    /// Takes note that a snapshot was taken: the one that was being taken.
    pub(crate) fn taken(&mut self, id: u64, config: &Config) {
        if let Some(snap) = self.taking.take() {
            self.snaps.insert(id, snap);
        }
        self.next_id = id + 1;
        if config.options.reset_protection {
            self.protected.fill(config.options.default_protected);
        }
    }
}
