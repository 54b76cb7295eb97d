// SPDX-License-Identifier: GPL-2.0

//! A snapshot: the instant, and which chunks' contents it wants preserved.

#![forbid(unsafe_code)]

use crate::maps::Bitmap;
use crate::maps::Designation;
use crate::maps::Word;
use crate::maps::WORD_BITS;
use kernel::prelude::*;
use kernel::sync::atomic::Acquire;
use kernel::sync::atomic::Atomic;
use kernel::sync::atomic::Release;
use kernel::sync::Arc;

/// What a snapshot preserves.
pub enum Scope {
    /// Every protected chunk.
    Full,
    /// Of these, only chunks that changed since the base, or that it did not protect.
    Incremental {
        /// The base's id.
        base: u64,
        /// What the base protected.
        protected: Arc<Designation>,
        /// How many chunks the device had then.
        chunks: u64,
        /// The marks of the epochs from the base to the snapshot, all closed.
        marks: KVec<Arc<Bitmap>>,
    },
}

/// A frozen instant, or after it was dropped the bookmark of one.
pub struct Snapshot {
    /// Its id; rises by one.
    pub id: u64,
    /// When it was taken, in nanoseconds since 1970.
    pub time_ns: u64,
    /// The epoch that it began.
    pub epoch: u64,
    /// The designation of its instant.
    pub designation: Arc<Designation>,
    /// What it preserves.
    pub scope: Scope,
    /// Unprotected chunks are preserved too.
    pub keep_unprotected: bool,
    /// Length of the device at the instant, in sectors.
    pub sectors: u64,
    /// Chunks that need not be preserved any longer.
    pub released: Arc<Bitmap>,
    /// An incremental scope is in effect; until then the snapshot preserves what a full one does.
    narrowed: Atomic<bool>,
    dropped: Atomic<bool>,
}

/// The parts of a new snapshot.
pub struct NewSnapshot {
    /// See [`Snapshot`].
    pub id: u64,
    /// See [`Snapshot`].
    pub time_ns: u64,
    /// See [`Snapshot`].
    pub epoch: u64,
    /// See [`Snapshot`].
    pub designation: Arc<Designation>,
    /// See [`Snapshot`].
    pub scope: Scope,
    /// See [`Snapshot`].
    pub keep_unprotected: bool,
    /// See [`Snapshot`].
    pub sectors: u64,
    /// Chunks of the device at the instant.
    pub chunks: u64,
    /// An incremental scope is in effect from the beginning.
    pub narrowed: bool,
}

impl Snapshot {
    /// Makes a snapshot of which nothing is released. May sleep.
    ///
    /// Errors: `EFBIG` for too many chunks, `ENOMEM`.
    pub fn new(new: NewSnapshot) -> Result<Arc<Self>> {
        let released = Arc::new(Bitmap::new(new.chunks)?, GFP_KERNEL)?;
        Self::restored(new, released, false)
    }

    /// Makes a snapshot as it was saved, with the chunks that were released. May sleep.
    ///
    /// Errors: `ENOMEM`.
    pub fn restored(new: NewSnapshot, released: Arc<Bitmap>, dropped: bool) -> Result<Arc<Self>> {
        let snapshot = Self {
            id: new.id,
            time_ns: new.time_ns,
            epoch: new.epoch,
            designation: new.designation,
            scope: new.scope,
            keep_unprotected: new.keep_unprotected,
            sectors: new.sectors,
            released,
            narrowed: Atomic::new(new.narrowed),
            dropped: Atomic::new(dropped),
        };
        Ok(Arc::new(snapshot, GFP_KERNEL)?)
    }

    /// Drops the snapshot: nothing is preserved for it from now on. For whoever still reads it,
    /// what is overwritten from then on is gone.
    pub fn set_dropped(&self) {
        self.dropped.store(true, Release);
    }

    /// Returns true if the snapshot was dropped. Loads with acquire ordering: later accesses are
    /// not moved before it.
    pub fn is_dropped(&self) -> bool {
        self.dropped.load(Acquire)
    }

    /// Returns true if the snapshot wants the content of a chunk preserved, whether or not the
    /// chunk was overwritten since.
    pub fn wants(&self, chunk: u64) -> bool {
        let bit = 1 << (chunk % WORD_BITS);
        self.wanted(chunk, bit).bits & bit != 0
    }

    /// Returns the word around a chunk of what [`Snapshot::wants`]. Only the bits of `asked` count.
    pub fn wanted(&self, chunk: u64, asked: u64) -> Word {
        if self.is_dropped() {
            return Word::uniform(false, u64::MAX);
        }
        let mut wanted = Word::below(self.released.len(), chunk);
        if !self.keep_unprotected {
            wanted = wanted.and(self.designation.around(chunk));
        }
        // What is left costs more.
        if wanted.bits & asked == 0 {
            return wanted;
        }
        let in_scope = self.in_scope(chunk, wanted.bits & asked);
        wanted.and(in_scope).without(self.released.around(chunk))
    }

    /// Puts an incremental scope into effect.
    pub fn narrow(&self) {
        self.narrowed.store(true, Release);
    }

    /// Returns true if the scope is full, or an incremental one in effect.
    pub fn is_narrowed(&self) -> bool {
        matches!(self.scope, Scope::Full) || self.narrowed.load(Acquire)
    }

    /// Returns the word around a chunk of what is in the scope. Only the bits of `asked` count.
    fn in_scope(&self, chunk: u64, asked: u64) -> Word {
        match &self.scope {
            Scope::Full => Word::uniform(true, u64::MAX),
            Scope::Incremental { .. } if !self.narrowed.load(Acquire) => {
                Word::uniform(true, u64::MAX)
            }
            Scope::Incremental {
                protected,
                chunks,
                marks,
                ..
            } => {
                let base = Word::below(*chunks, chunk).and(protected.around(chunk));
                let mut scope = Word::uniform(true, u64::MAX).without(base);
                for marks in marks.iter() {
                    if asked & !scope.bits == 0 {
                        break;
                    }
                    scope = scope.plus(marks.around(chunk));
                }
                scope
            }
        }
    }
}
