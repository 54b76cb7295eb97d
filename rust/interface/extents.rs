// SPDX-License-Identifier: GPL-2.0

//! Lists runs of chunks by their attributes, for the extents ioctl.

#![forbid(unsafe_code)]

use crate::engine::Engine;
use crate::engine::Timeline;
use crate::history::Snapshot;
use crate::history::Whereabouts;
use crate::maps::Designation;
use crate::uapi;
use kernel::prelude::*;
use kernel::sync::Arc;

const WORD_BITS: u64 = 64;

/// Marks of 64 chunks, so that each epoch is asked once for all of them: there may be many.
struct Word {
    /// Written between `from` and `to`.
    between: u64,
    /// Written since `to`.
    since: u64,
}

/// Most chunks that one call looks at, and so most runs that it finds.
pub(super) const CHUNKS_PER_CALL: u64 = 1 << 18;

/// A question about chunks: those of which `attributes & mask == value`.
pub(super) struct Query {
    timeline: Arc<Timeline>,
    /// `None`: every chunk counts as changed.
    from: Option<Arc<Snapshot>>,
    /// `None`: the present.
    to: Option<Arc<Snapshot>>,
    protected: Arc<Designation>,
    chunks: u64,
    mask: u32,
    value: u32,
}

const ATTRIBUTES: u32 =
    uapi::ATTR_CHANGED | uapi::ATTR_PROTECTED | uapi::ATTR_PRESERVED | uapi::ATTR_GONE;

impl Query {
    /// Makes the query of an ioctl.
    ///
    /// Errors: `EINVAL` for unknown attributes or a `from` that is later than `to`, `ENOENT` for an
    /// unknown snapshot, `EUCLEAN` for an unproven one.
    pub(crate) fn new(engine: &Engine, a: &uapi::ListExtents) -> Result<Self> {
        if a.mask & !ATTRIBUTES != 0 || a.value & !a.mask != 0 {
            return Err(EINVAL);
        }
        let timeline = engine.state().timeline();
        let named = |id: u64| match id {
            0 => Ok(None),
            id => timeline.entry(id).cloned().map(Some).ok_or(ENOENT),
        };
        let (from, to) = (named(a.from)?, named(a.to)?);
        engine.state().ensure_proven(a.from)?;
        engine.state().ensure_proven(a.to)?;
        if let (Some(from), Some(to)) = (&from, &to) {
            if from.id > to.id {
                return Err(EINVAL);
            }
        }
        let protected = match &to {
            Some(to) => engine.frozen().visible(to),
            None => engine.state().designation(),
        };
        Ok(Self {
            from,
            to,
            protected,
            chunks: engine.device().geometry().chunks(),
            mask: a.mask,
            value: a.value,
            timeline,
        })
    }

    /// Passes the runs from chunk `start` on to `out`, at most `capacity` of them. Returns the
    /// chunk to go on with.
    ///
    /// Errors: those of `out`.
    pub(super) fn list(
        &self,
        start: u64,
        capacity: u32,
        mut out: impl FnMut(uapi::Extent) -> Result,
    ) -> Result<u64> {
        let limit = self.chunks.min(start.saturating_add(CHUNKS_PER_CALL));
        let mut run = None::<uapi::Extent>;
        let mut left = capacity;
        let mut word = self.word(start);
        for chunk in start..limit {
            if chunk % WORD_BITS == 0 {
                word = self.word(chunk);
            }
            let attributes = self.attributes(chunk, &word);
            let wanted = attributes & self.mask == self.value;
            match &mut run {
                Some(run) if wanted && run.attributes == attributes => run.len += 1,
                _ => {
                    if let Some(run) = run.take() {
                        out(run)?;
                        left -= 1;
                    }
                    if wanted && left == 0 {
                        return Ok(chunk);
                    }
                    run = wanted.then_some(uapi::Extent {
                        start: chunk,
                        len: 1,
                        attributes,
                        reserved: 0,
                    });
                }
            }
        }
        if let Some(run) = run {
            out(run)?;
        }
        Ok(limit.max(start.min(self.chunks)))
    }

    /// Returns the marks of the 64 chunks around a chunk.
    fn word(&self, chunk: u64) -> Word {
        let marked = |from: u64, to: u64| {
            let epochs = self.timeline.epochs(from, to);
            epochs.fold(0, |all, epoch| all | epoch.marks.word(chunk))
        };
        let to = self.to.as_ref().map_or(u64::MAX, |to| to.epoch);
        let from = self.from.as_ref().map_or(u64::MAX, |from| from.epoch);
        Word {
            between: marked(from, to),
            since: marked(to, u64::MAX),
        }
    }

    /// Returns the `ATTR_*` bits of a chunk.
    fn attributes(&self, chunk: u64, word: &Word) -> u32 {
        if self
            .to
            .as_ref()
            .is_some_and(|to| chunk >= to.released.len())
        {
            // The device has grown since.
            return 0;
        }
        let protected = self.protected.get(chunk);
        let mut bits = 0;
        if protected {
            bits |= uapi::ATTR_PROTECTED;
        }
        let bit = 1 << (chunk % WORD_BITS);
        if self.is_changed(chunk, protected, word.between & bit != 0) {
            bits |= uapi::ATTR_CHANGED;
        }
        if let Some(to) = self.to.as_ref().filter(|_| word.since & bit != 0) {
            if let Whereabouts::Epoch(epoch) = self.timeline.look(to, chunk) {
                let copies = epoch.copies.as_ref();
                bits |= match copies.and_then(|copies| copies.find(chunk)) {
                    Some(_) => uapi::ATTR_PRESERVED,
                    None => uapi::ATTR_GONE,
                };
            }
        }
        bits
    }

    /// Returns true if a chunk counts as changed between `from` and `to`: it was written, became
    /// protected, or was added to the device. A backup made at `from` lacks its content in each of
    /// these cases.
    fn is_changed(&self, chunk: u64, protected: bool, written: bool) -> bool {
        let Some(from) = &self.from else {
            return true;
        };
        written || (protected && !from.designation.get(chunk)) || chunk >= from.released.len()
    }
}
