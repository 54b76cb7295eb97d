// SPDX-License-Identifier: GPL-2.0

//! States that differ only in the names of writers, readers or contents, folded into one.
//!
//! No rule looks at a content or at who is who, so a permutation of equal writers, or of the
//! numbers that stand for contents, maps runs to runs. Any choice of representative is sound; a
//! better one only leaves fewer states.

#![forbid(unsafe_code)]

use crate::chunks::Content;

/// More than the contents one chunk can have at a time.
const NAMES: usize = 64;

/// A state in which names can be changed.
pub trait Fold {
    /// How many chunks it has.
    const CHUNKS: usize;

    /// Puts those in order who may change places.
    fn sort(&mut self);

    /// Visits every place that holds a content of `chunk`. The first is always content 0, which
    /// fields without a meaning hold too.
    fn contents(&mut self, chunk: usize, visit: impl FnMut(&mut Content));

    /// Makes one state of all that differ in names only. Contents are named in the order in which
    /// they are visited.
    fn fold(&mut self) {
        self.sort();
        for chunk in 0..Self::CHUNKS {
            let mut names = [None; NAMES];
            let mut used: Content = 0;
            self.contents(chunk, |content| {
                let name = names[*content as usize].get_or_insert(used);
                used = used.max(*name + 1);
                *content = *name;
            });
        }
    }

    /// A content that the chunk has nowhere had before, or that is no longer known anywhere.
    fn fresh(&mut self, chunk: usize) -> Content {
        let mut highest = 0;
        self.contents(chunk, |content| highest = highest.max(*content));
        highest + 1
    }
}
