// SPDX-License-Identifier: GPL-2.0

//! What a check has found. As JSON it is the output of `preserve check --json`.

#![forbid(unsafe_code)]

use serde::Serialize;
use uuid::Uuid;

use crate::store::supers::Pair;
use dm_preserve_core::format::SUPERBLOCKS;

/// Damages that are listed; more are only counted.
const LISTED: usize = 1000;

/// The result of a check.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Nothing is damaged.
    pub clean: bool,
    /// How many damages there are.
    pub damages: u64,
    /// The first of them.
    pub damage: Vec<Damage>,
    /// What is worth knowing, but no damage.
    pub notes: Vec<String>,
    /// Bytes of the device or image.
    pub bytes: u64,
    /// Both of them.
    pub superblocks: Vec<SuperblockReport>,
    /// What the superblock that counts says; nothing more is known without one.
    pub store: Option<Identity>,
    /// Where things are.
    pub layout: Option<LayoutReport>,
    /// The checkpoint that recovery begins with.
    pub checkpoint: Option<CheckpointReport>,
    /// The log from there on.
    pub log: Option<LogReport>,
    /// All epochs.
    pub epochs: Vec<EpochReport>,
    /// All snapshots and bookmarks.
    pub snapshots: Vec<SnapshotReport>,
    /// The preserved contents.
    pub contents: Option<ContentsReport>,
    /// Contents that are not what their checksum says.
    #[serde(skip)]
    pub(crate) rotten: Vec<Rotten>,
}

/// A content that is not what its checksum says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rotten {
    pub(crate) epoch: u64,
    pub(crate) chunk: u64,
    /// Its first block.
    pub(crate) block: u64,
    pub(crate) checksum: u32,
}

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// Where: superblock, layout, checkpoint, log, contents, segments.
    pub part: &'static str,
    /// What is wrong.
    pub what: String,
}

/// A superblock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SuperblockReport {
    /// Which block it is.
    pub block: u64,
    /// valid, blank, foreign, damaged, unsupported or unreadable.
    pub status: &'static str,
    /// Its number.
    pub sequence: Option<u64>,
    /// It is the one that counts.
    pub counts: bool,
}

/// What a store is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// Given at formatting.
    pub uuid: Uuid,
    /// Of the live device's tracking.
    pub generation: Uuid,
    /// open, closed, broken or rollback.
    pub state: &'static str,
    /// The snapshot that a rollback is under way to, which must be finished before anything else is
    /// done.
    pub rollback: Option<u64>,
    /// What is done when not even a failure can be recorded in the store: continue or block.
    pub on_error: &'static str,
    /// Snapshots and bookmarks up to this id are unproven.
    pub unproven_up_to: Option<u64>,
    /// The boot id of the kernel that used it last.
    pub boot: Uuid,
    /// Activations so far.
    pub session: u64,
    /// Bytes of a chunk.
    pub chunk_bytes: u64,
    /// Sectors of the live device.
    pub origin_sectors: u64,
}

/// Where things are, in blocks of 4 KiB.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LayoutReport {
    /// First block of the log's ring.
    pub ring_start: u64,
    /// Blocks of it.
    pub ring_blocks: u64,
    /// First block of the first area for checkpoints.
    pub image_start: u64,
    /// Blocks of each of the two.
    pub image_blocks: u64,
    /// First block of the segments.
    pub data_start: u64,
    /// Blocks of each.
    pub segment_blocks: u64,
    /// How many there are.
    pub segments: u64,
    /// How many are owned by an epoch.
    pub used_segments: Option<u64>,
}

/// A checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckpointReport {
    /// Its number.
    pub number: u64,
    /// The area that it is in, 0 or 1.
    pub area: u32,
    /// Blocks of its image.
    pub blocks: u64,
    /// Items of it that could be read.
    pub items: u64,
}

/// The log from the checkpoint on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LogReport {
    /// The number of its first record.
    pub first: u64,
    /// How many records are whole.
    pub records: u64,
    /// Contents in them that snapshots want.
    pub contents: u64,
    /// Chunks that count as changed only because a write near them had been announced.
    pub guessed: u64,
    /// clean, torn (by a power cut, say) or damaged.
    pub end: &'static str,
    /// Records behind the end, which never counted as durable if it is torn.
    pub behind: u64,
}

/// An epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EpochReport {
    /// Its number.
    pub id: u64,
    /// Chunks written in it.
    pub marks: u64,
    /// Chunks with a copy; none when no snapshot can ask for them.
    pub copies: Option<u64>,
    /// Segments with these.
    pub segments: u64,
}

/// A snapshot or bookmark.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SnapshotReport {
    /// Its id.
    pub id: u64,
    /// snapshot or bookmark.
    pub kind: &'static str,
    /// When it was taken, in nanoseconds since 1970.
    pub time_ns: u64,
    /// The same for people.
    pub time: String,
    /// full or incremental.
    pub scope: &'static str,
    /// The snapshot that an incremental one is based on, or 0.
    pub base: u64,
    /// The epoch that it began.
    pub epoch: u64,
    /// Chunks of it that are in the store; those not written since are on the origin.
    pub preserved_chunks: u64,
}

/// The preserved contents.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ContentsReport {
    /// Contents that are what was written.
    pub good: u64,
    /// Contents that are not, or cannot be read.
    pub bad: u64,
    /// Contents that no record accounts for.
    pub lost: u64,
    /// Contents in the segments that nothing refers to.
    pub unused: u64,
}

impl Report {
    pub(super) fn damage(&mut self, part: &'static str, what: String) {
        self.damages += 1;
        if self.damage.len() < LISTED {
            self.damage.push(Damage { part, what });
        }
    }

    pub(super) fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }
}

/// What is said of both, of which `best` counts.
pub(crate) fn superblocks(pair: &Pair, best: Option<usize>) -> Vec<SuperblockReport> {
    let each = pair.iter().zip(SUPERBLOCKS).enumerate();
    let reports = each.map(|(i, (seen, block))| SuperblockReport {
        block,
        status: seen.status(),
        sequence: seen.valid().map(|superblock| superblock.sequence.get()),
        counts: best == Some(i),
    });
    reports.collect()
}
