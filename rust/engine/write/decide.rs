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

/// Most chunks decided in one go: a thousand words, two leaves of the marks.
pub(in crate::engine) const WINDOW: u64 = 1 << 16;

/// What may become of a run of chunks that a bio is about to overwrite.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// All are marked, or may be marked now.
    Free,
    /// Somebody needs what each of them holds.
    Needed,
    /// Nobody needs them, but their regions have not been announced.
    Unannounced,
}

/// The beginning of a run of chunks, as far as one verdict goes.
pub(super) struct Part {
    pub(super) verdict: Verdict,
    /// From the first one that is not marked to the end of the part.
    pub(super) unmarked: Chunks,
}

impl Part {
    /// Returns a part that is marked, up to `end`.
    fn marked(end: u64) -> Self {
        Self {
            verdict: Verdict::Free,
            unmarked: Chunks { start: end, end },
        }
    }
}

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
        present.marks.set_run_nowait(chunks).is_ok()
    }

    /// Judges the beginning of a run. A run that is all marked is one part; of others at most a
    /// window is judged behind what is marked.
    pub(super) fn judge(&self, present: &Stay<'_, Present>, run: Chunks) -> Part {
        let Some(first) = present.marks.find(run, false) else {
            return Part::marked(run.end);
        };
        let window = Chunks {
            start: first,
            end: run.end.min((first / WINDOW + 1) * WINDOW),
        };
        let part = self.judge_unmarked(present, window);
        match part.verdict != Verdict::Free && first > run.start {
            true => Part::marked(first),
            false => part,
        }
    }

    /// Judges the beginning of a window, the first chunk of which is not marked.
    fn judge_unmarked(&self, present: &Stay<'_, Present>, window: Chunks) -> Part {
        let part = |verdict, end| Part {
            verdict,
            unmarked: Chunks { end, ..window },
        };
        let (is_needed, end) = self.state.look_at_timeline(|timeline| {
            let is_needed = timeline.needs(window.start);
            let other = timeline.find_needed(window, !is_needed);
            // The first chunk may have been marked since it was asked about.
            (
                is_needed,
                other.map_or(window.end, |other| other.max(window.start + 1)),
            )
        });
        if is_needed {
            return part(Verdict::Needed, end);
        }
        let unneeded = Chunks { end, ..window };
        match self.first_unannounced(present, unneeded) {
            None => part(Verdict::Free, end),
            Some(chunk) if chunk > window.start => part(Verdict::Free, chunk),
            Some(_) => part(Verdict::Unannounced, end),
        }
    }

    /// Returns true if chunks of a run may be marked without a record of their own: recovery would
    /// take them for changed, or there is no log that it could replay.
    pub(super) fn is_announced(&self, present: &Present, chunks: Chunks) -> bool {
        self.first_unannounced(present, chunks).is_none()
    }

    /// Returns the first chunk of a run that may not be marked without a record of its own.
    fn first_unannounced(&self, present: &Present, chunks: Chunks) -> Option<u64> {
        let regions = present.regions.as_ref()?;
        let run = Chunks {
            start: region::of(chunks.start),
            end: region::of(chunks.end.saturating_sub(1)) + 1,
        };
        let found = regions.find(run, false)?;
        if self.log.is_given_up() {
            return None;
        }
        Some(region::chunks(found, chunks.end).start.max(chunks.start))
    }

    /// Returns the first chunk of a run that is not marked and whose content is needed.
    pub(super) fn first_needed(&self, _inside: &Stay<'_, Present>, chunks: Chunks) -> Option<u64> {
        self.state.look_at_timeline(|timeline| {
            if timeline.snapshots().is_empty() {
                return None;
            }
            timeline.find_needed(chunks, true)
        })
    }
}
