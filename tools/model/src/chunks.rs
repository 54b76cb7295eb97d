// SPDX-License-Identifier: GPL-2.0

//! Sets of chunks, which are bit masks, and what chunks hold: small numbers of which only equality
//! means anything.

#![forbid(unsafe_code)]

/// A set of chunks.
pub type Chunks = u8;
/// What a chunk holds.
pub type Content = u8;

/// More than the contents one chunk can have at a time.
const NAMES: usize = 64;

/// The chunks in a set, one by one.
pub fn each(set: Chunks) -> impl Iterator<Item = usize> {
    (0..Chunks::BITS as usize).filter(move |chunk| set & (1 << chunk) != 0)
}

/// The set of the first `count` chunks for which `holds` is true.
pub fn those(count: usize, holds: impl Fn(usize) -> bool) -> Chunks {
    (0..count).fold(0, |set, chunk| set | Chunks::from(holds(chunk)) << chunk)
}

/// A state, whose contents may be named anew.
///
/// No rule looks at a content or at who is who, so a permutation of equal writers, or of the
/// numbers that stand for contents, maps runs to runs. Any choice of representative is sound; a
/// better one only leaves fewer states.
pub(crate) trait Contents {
    /// Visits every place that holds a content of `chunk`. The first is always content 0, which
    /// fields without a meaning hold too.
    fn contents(&mut self, chunk: usize, visit: impl FnMut(&mut Content));

    /// Names the contents of `chunk` in the order in which they are visited.
    fn rename(&mut self, chunk: usize) {
        let mut names = [None; NAMES];
        let mut used: Content = 0;
        self.contents(chunk, |content| {
            let name = names[*content as usize].get_or_insert(used);
            used = used.max(*name + 1);
            *content = *name;
        });
    }

    /// A content that the chunk has nowhere had before, or that is no longer known anywhere.
    fn fresh(&mut self, chunk: usize) -> Content {
        let mut highest = 0;
        self.contents(chunk, |content| highest = highest.max(*content));
        highest + 1
    }
}
