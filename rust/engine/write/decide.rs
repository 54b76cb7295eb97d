// SPDX-License-Identifier: GPL-2.0

//! What is decided of a write inside the gate: is what it overwrites needed, may it be marked, can
//! it go?
//!
//! Within an epoch need only shrinks (rule 3), so an answer holds as long as whoever asked stays
//! inside.

#![forbid(unsafe_code)]

use crate::dm::Stay;
use crate::engine::state::Present;
use crate::engine::write::waiting::HeldBio;
use crate::engine::write::Writes;
use crate::maps::region;
use crate::maps::Chunks;

/// Most chunks decided one by one in one go; longer bios go to the copier, which works in windows.
pub(in crate::engine) const WINDOW: u64 = 1024;

/// How long to wait for memory, in milliseconds.
pub(in crate::engine) const NO_MEMORY_MS: u32 = 10;

impl Writes {
    pub(super) fn chunks_of(&self, bio: &HeldBio) -> Chunks {
        let span = bio.span();
        self.device
            .shape()
            .outward(span.start, span.start + span.len)
    }

    /// Submits a bio if all its chunks are marked or can be marked right away.
    ///
    /// Errors: the bio itself, if it has to wait.
    pub(super) fn try_submit(
        &self,
        present: &Stay<'_, Present>,
        mut bio: HeldBio,
    ) -> Result<(), HeldBio> {
        let chunks = self.chunks_of(&bio);
        if present.marks.find(chunks, false).is_some() && !self.mark_unneeded(present, chunks) {
            return Err(bio);
        }
        let start = bio.span().start;
        *bio.state() = Some(present.ticket());
        bio.submit(self.device.origin(), start);
        Ok(())
    }

    /// Marks all chunks of a run. Returns false if one of them is needed or not announced, if they
    /// are too many, or if there is no memory right now; some may be marked then.
    pub(super) fn mark_unneeded(&self, present: &Stay<'_, Present>, chunks: Chunks) -> bool {
        if chunks.len() > WINDOW
            || self.first_needed(present, chunks).is_some()
            || !self.is_announced(present, chunks)
        {
            return false;
        }
        let mut chunks = chunks;
        while let Some(chunk) = present.marks.find(chunks, false) {
            if present.marks.set_nowait(chunk).is_none() {
                return false;
            }
            chunks.start = chunk + 1;
        }
        true
    }

    /// Returns true if chunks of a run may be marked without a record of their own: recovery would
    /// take them for changed, or there is no log that it could replay.
    pub(super) fn is_announced(&self, present: &Present, chunks: Chunks) -> bool {
        let Some(regions) = &present.regions else {
            return true;
        };
        let run = Chunks {
            start: region::of(chunks.start),
            end: region::of(chunks.end.saturating_sub(1)) + 1,
        };
        regions.find(run, false).is_none() || self.log.is_given_up()
    }

    /// Returns the first chunk of a run that is not marked and whose content is needed.
    pub(super) fn first_needed(
        &self,
        present: &Stay<'_, Present>,
        mut chunks: Chunks,
    ) -> Option<u64> {
        let timeline = self.state.timeline();
        if timeline.snapshots().is_empty() {
            return None;
        }
        while let Some(chunk) = present.marks.find(chunks, false) {
            if timeline.needs(chunk) {
                return Some(chunk);
            }
            chunks.start = chunk + 1;
        }
        None
    }
}
