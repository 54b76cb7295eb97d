// SPDX-License-Identifier: GPL-2.0

//! The worked examples of the seed: figures 7A/7B (unprotected blocks are preserved too, and left
//! out when reading) and 8A/8B (only protected blocks are preserved), step by step on six chunks.
//!
//! Chunks are counted from 1 here, as in the figures; block `3b` is the third content of chunk 3.

#![forbid(unsafe_code)]

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use preserve::uapi::ATTR_PRESERVED;
use vmtest::control::Piece;
use vmtest::disk::Buffer;
use vmtest::disk::Disk;
use vmtest::dm::Dm;
use vmtest::pattern;
use vmtest::rig::Rig;
use vmtest::rig::Spec;

use super::test;
use super::Test;
use crate::Env;

pub const TESTS: &[Test] = &[
    test("figures_7a_7b_unprotected_blocks_are_preserved", figures_7),
    test(
        "figures_8a_8b_only_protected_blocks_are_preserved",
        figures_8,
    ),
];

const CHUNK: u64 = 8;
const CHUNKS: u64 = 6;

fn figures_7(_: &Env) -> Result<()> {
    let example = Example::new(&["keep_unprotected"])?;
    let stored = [&["1", "3b"][..], &["1", "3b", "4b", "6a"]];
    let end = example.run(stored, true)?;
    // What this variant is for: protecting after the snapshot gives the block after all.
    end.rig.control.edit(true, &[range(3)])?;
    end.disk.stamp(sector(3), CHUNK, stamp("3d"))?;
    end.frozen(&["1b", "2", "3c", "4c", "5", "6b"])
}

fn figures_8(_: &Env) -> Result<()> {
    let example = Example::new(&[])?;
    let stored = [&["1"][..], &["1", "4b", "6a"]];
    let end = example.run(stored, false)?;
    // And this one has no block 3 for anybody, whatever is protected later.
    end.rig.control.edit(true, &[range(3)])?;
    end.disk.stamp(sector(3), CHUNK, stamp("3d"))?;
    end.frozen(&["1b", "2", "-", "4c", "5", "6b"])
}

fn stamp(block: &str) -> u64 {
    let (chunk, version) = block.split_at(1);
    let version = version.bytes().next().map_or(0, |letter| letter - b'a' + 1);
    chunk.parse::<u64>().unwrap_or(0) * 100 + u64::from(version)
}

fn sector(chunk: u64) -> u64 {
    (chunk - 1) * CHUNK
}

fn range(chunk: u64) -> preserve::uapi::Range {
    preserve::uapi::Range {
        start: sector(chunk),
        len: CHUNK,
    }
}

struct Example {
    /// The snapshot copy: what block each chunk holds there; 0 where there is none.
    copy: Vec<u64>,
    view: Option<(Dm, u64)>,
    disk: Disk,
    rig: Rig,
}

impl Example {
    /// Time 0: blocks 1 to 6, chunk 3 not protected, a snapshot copy that is up to date.
    fn new(args: &[&str]) -> Result<Self> {
        let rig = Rig::new(&Spec {
            sectors: CHUNKS * CHUNK,
            store: 64 * CHUNK,
            args,
            ..Spec::mb(1)
        })?;
        let origin = Disk::open(rig.origin.path())?;
        for chunk in 1..=CHUNKS {
            origin.stamp(sector(chunk), CHUNK, chunk * 100)?;
        }
        rig.control.edit(false, &[range(3)])?;
        let copy = vec![100, 200, 0, 400, 500, 600];
        let disk = rig.disk()?;
        Ok(Example {
            copy,
            view: None,
            disk,
            rig,
        })
    }

    /// From time 0 to the end of the second backup. `stored` is what the store holds after the
    /// writes that follow the first snapshot.
    fn run(mut self, stored: [&[&str]; 2], unprotected_stored: bool) -> Result<Self> {
        self.is("at time 0", &["1", "2", "3", "4", "5", "6"], &[], &[], &[])?;
        self.write(&["3a", "4a"])?;
        self.is(
            "3a 4a",
            &["1", "2", "3a", "4a", "5", "6"],
            &[3, 4],
            &[],
            &[],
        )?;
        self.write(&["3b", "4b", "6a"])?;
        let at_1 = ["1", "2", "3b", "4b", "5", "6a"];
        self.is("3b 4b 6a", &at_1, &[3, 4, 6], &[], &[])?;

        self.snapshot()?;
        self.is("snapshot 1", &at_1, &[], &[3, 4, 6], &[])?;
        let frozen = ["1", "2", "-", "4b", "5", "6a"];
        self.frozen(&frozen)?;
        self.write(&["1a", "3c"])?;
        let now = ["1a", "2", "3c", "4b", "5", "6a"];
        self.is("1a 3c", &now, &[1, 3], &[3, 4, 6], stored[0])?;
        self.frozen(&frozen)?;
        self.back_up(&[4, 6])?;
        self.copy_is(&frozen)?;

        self.write(&["1b", "4c", "6b"])?;
        let at_2 = ["1b", "2", "3c", "4c", "5", "6b"];
        self.is("1b 4c 6b", &at_2, &[1, 3, 4, 6], &[3, 4, 6], stored[1])?;
        self.frozen(&frozen)?;
        // Block 1a was never frozen, and must be nowhere; 3b only where unprotected blocks are
        // kept.
        ensure!(!self.on_store("1a")?, "block 1a is in the store");
        ensure!(
            self.on_store("3b")? == unprotected_stored,
            "block 3b in the store: {}",
            !unprotected_stored
        );
        self.copy_is(&frozen)?;

        self.snapshot()?;
        self.is("snapshot 2", &at_2, &[], &[1, 3, 4, 6], &[])?;
        let frozen = ["1b", "2", "-", "4c", "5", "6b"];
        self.frozen(&frozen)?;
        self.back_up(&[1, 4, 6])?;
        self.copy_is(&frozen)?;
        Ok(self)
    }

    fn write(&self, blocks: &[&str]) -> Result<()> {
        for block in blocks {
            let chunk = stamp(block) / 100;
            self.disk.stamp(sector(chunk), CHUNK, stamp(block))?;
        }
        Ok(())
    }

    fn snapshot(&mut self) -> Result<()> {
        self.view = None;
        let id = self.rig.snapshot()?;
        let view = self.rig.view("vt-view", id, &[])?;
        self.view = Some((view, id));
        Ok(())
    }

    /// The original data, the three maps and the index of the store.
    fn is(
        &self,
        when: &str,
        data: &[&str],
        marks: &[u64],
        backup: &[u64],
        stored: &[&str],
    ) -> Result<()> {
        let mut stamps = Vec::new();
        for block in data {
            stamps.extend([stamp(block); CHUNK as usize]);
        }
        self.disk
            .check(0, &stamps)
            .with_context(|| format!("{when}: the live device"))?;
        let origin = Disk::open_ro(self.rig.origin.path())?;
        origin
            .check(0, &stamps)
            .with_context(|| format!("{when}: the origin"))?;
        let maps = [
            ("snapshot_map", marks),
            ("backup_map", backup),
            ("protection_map", &[1, 2, 4, 5, 6]),
        ];
        for (map, wanted) in maps {
            let found: Vec<u64> = self.rig.set_in(map)?.iter().map(|c| c + 1).collect();
            ensure!(
                found == wanted,
                "{when}: {map} is {found:?}, not {wanted:?}"
            );
        }
        let counts = [
            ("changed_chunks", marks.len()),
            ("backup_chunks", backup.len()),
            ("protected_chunks", 5),
            ("preserved_chunks", stored.len()),
        ];
        for (file, wanted) in counts {
            let found = self.rig.number(file)?;
            ensure!(
                found == wanted as u64,
                "{when}: {file} is {found}, not {wanted}"
            );
        }
        let Some((_, id)) = &self.view else {
            return Ok(());
        };
        let found = self
            .rig
            .control
            .chunks(0, *id, ATTR_PRESERVED, ATTR_PRESERVED)?;
        let wanted: Vec<u64> = stored.iter().map(|block| stamp(block) / 100 - 1).collect();
        ensure!(
            found == wanted,
            "{when}: chunks {found:?} from 0 are preserved, not {wanted:?}"
        );
        for block in stored {
            ensure!(
                self.on_store(block)?,
                "{when}: block {block} is not in the store"
            );
        }
        Ok(())
    }

    /// Whether the store has the block somewhere.
    fn on_store(&self, block: &str) -> Result<bool> {
        let store = Disk::open_ro(self.rig.store.path())?;
        let bytes = store.read(0, store.sectors())?;
        let wanted = pattern::sector(stamp(block), sector(stamp(block) / 100));
        Ok(bytes.chunks_exact(512).any(|found| found == wanted))
    }

    /// What the view shows and the ioctl reads; `-` is a hole.
    fn frozen(&self, wanted: &[&str]) -> Result<()> {
        let (view, id) = self.view.as_ref().context("there is no view")?;
        let disk = Disk::open_ro(view.path())?;
        for (chunk, block) in (1..).zip(wanted) {
            let hole = *block == "-";
            let stamps = vec![if hole { 0 } else { stamp(block) }; CHUNK as usize];
            disk.check(sector(chunk), &stamps)
                .with_context(|| format!("chunk {chunk} of the view"))?;
            let mut buffer = Buffer::new(CHUNK);
            let piece = self.rig.control.read(*id, sector(chunk), &mut buffer)?;
            let kind = if hole {
                Piece::Hole(CHUNK)
            } else {
                Piece::Data(CHUNK)
            };
            ensure!(
                piece == kind,
                "chunk {chunk}: {piece:?} instead of {kind:?}"
            );
            pattern::check(&buffer, sector(chunk), &stamps)
                .with_context(|| format!("chunk {chunk} by ioctl"))?;
        }
        Ok(())
    }

    /// Backs up as the figures do: what both the backup map and the protection map have.
    fn back_up(&mut self, wanted: &[u64]) -> Result<()> {
        let changed = self.rig.set_in("backup_map")?;
        let protected = self.rig.set_in("protection_map")?;
        let moved: Vec<u64> = changed
            .into_iter()
            .filter(|c| protected.contains(c))
            .collect();
        let wanted: Vec<u64> = wanted.iter().map(|c| c - 1).collect();
        ensure!(
            moved == wanted,
            "chunks {moved:?} from 0 are moved, not {wanted:?}"
        );
        let (view, _) = self.view.as_ref().context("there is no view")?;
        let disk = Disk::open_ro(view.path())?;
        for chunk in moved {
            let bytes = disk.read(chunk * CHUNK, CHUNK)?;
            self.copy[chunk as usize] = pattern::stamp_of(&bytes[..512], chunk * CHUNK)
                .with_context(|| format!("chunk {chunk} is not one of our blocks"))?;
        }
        Ok(())
    }

    fn copy_is(&self, wanted: &[&str]) -> Result<()> {
        let stamp_or_none = |block: &&str| if *block == "-" { 0 } else { stamp(block) };
        let wanted: Vec<u64> = wanted.iter().map(stamp_or_none).collect();
        ensure!(
            self.copy == wanted,
            "the snapshot copy is {:?}, not {wanted:?}",
            self.copy
        );
        Ok(())
    }
}
