// SPDX-License-Identifier: GPL-2.0

//! An epoch: the stretch of time from one snapshot to the next.

#![forbid(unsafe_code)]

use crate::maps::Bitmap;
use kernel::sync::Arc;

/// The stretch of time from one snapshot to the next.
pub struct Epoch<C> {
    /// Its number; rises by one.
    pub id: u64,
    /// The chunks written in it.
    pub marks: Arc<Bitmap>,
    /// Contents that chunks had when it began; `None` when no snapshot can ask for them any longer.
    pub copies: Option<Arc<C>>,
}

impl<C> Epoch<C> {
    /// Returns the same epoch for another timeline; without its copies unless `keep_copies`.
    pub(super) fn share(&self, keep_copies: bool) -> Self {
        Self {
            id: self.id,
            marks: self.marks.clone(),
            copies: self.copies.clone().filter(|_| keep_copies),
        }
    }
}
