// SPDX-License-Identifier: GPL-2.0

//! Claims about what a backup moved: exactly what counts as changed and is protected, no change
//! missed.
//!
//! What counts as changed was written, maybe with the content that was there; after a power cut
//! also what may have been written.

#![forbid(unsafe_code)]

use anyhow::ensure;
use anyhow::Result;

use crate::chunks::Chunks;
use crate::content::Frozen;
use crate::maps;
use crate::round::COPY;
use crate::setup::Setup;
use crate::tell::holds;

/// What a backup should move and did move.
pub struct Moved {
    /// The snapshot that the copy is at; 0 for none.
    from: u64,
    /// Chunks that count as changed since.
    pub changed: Chunks,
    /// Chunks that the snapshot protects.
    pub protected: Chunks,
    /// Chunks in the stream.
    pub stream: Chunks,
}

impl Moved {
    /// Exactly what counts as changed and is protected was moved; nothing of swap and scratch files
    /// was.
    pub fn check(setup: &Setup, from: u64, id: u64, stream: &str) -> Result<Self> {
        let total = setup.chunks;
        let pair = format!("--from {from} --snapshot {id}");
        let moved = Moved {
            from,
            changed: maps::map("changed", &pair, total)?,
            protected: maps::map("protection", &format!("--snapshot {id}"), total)?,
            stream: maps::stream(stream, total)?,
        };
        let Moved {
            changed,
            protected,
            stream,
            ..
        } = &moved;
        let all = Chunks::all(total);
        protected.must_be(
            &all.minus(&setup.unwanted),
            "protected are not all but swap and scratch files",
        )?;
        // The designation is as it was at the snapshot, since nobody edits it.
        let sysfs = maps::sysfs("protection_map", total)?;
        protected.must_be(&sysfs, "the command's and sysfs's protection map differ")?;
        match from {
            0 => changed.must_be(&all, "a full backup does not count all chunks as changed")?,
            _ => {
                let sysfs = maps::sysfs("backup_map", total)?;
                changed.must_be(&sysfs, "the command's and sysfs's map of changes differ")?;
            }
        }
        stream.must_be(
            &changed.and(protected),
            "moved is not changed and protected",
        )?;
        let map = maps::map("backup", &pair, total)?;
        stream.must_be(&map, "moved is not the backup map")?;
        holds("the chunks moved are exactly those that count as changed and are protected");
        stream.must_not_meet(
            &setup.unwanted,
            "chunks of swap or scratch files were moved",
        )?;
        // Else that would be no wonder.
        let skipped = changed.minus(protected);
        ensure!(
            skipped.and(&setup.swap).count() > 0,
            "nothing was written to the swap file"
        );
        ensure!(
            skipped.minus(&setup.swap).count() > 0,
            "nothing was written to the scratch files"
        );
        ensure!(stream.count() > 0, "nothing was moved");
        holds("nothing of the swap file and the scratch files was moved, though they were written");
        Ok(moved)
    }

    /// No change was missed: what differs between the copy, before it is brought forward, and the
    /// snapshot, was moved. Returns how many more were moved.
    pub fn must_have_all_that_differs(&self, setup: &Setup, frozen: &Frozen) -> Result<usize> {
        if self.from == 0 {
            return Ok(0);
        }
        let found = frozen.compare(COPY, &self.protected, setup.chunks)?;
        found
            .gone
            .must_not_meet(&self.stream, "the content of moved chunks is gone")?;
        found
            .differ
            .must_be_within(&self.stream, "changes were missed")?;
        ensure!(found.differ.count() > 0, "nothing has changed");
        let more = self.stream.minus(&found.differ).count();
        holds(&format!(
            "no change was missed: all {} chunks whose content differs from the old copy were \
             moved; so were {more} that are as they were",
            found.differ.count()
        ));
        Ok(more)
    }
}
