// SPDX-License-Identifier: GPL-2.0

//! States that differ only in the names of writers, readers or contents, folded into one.
//!
//! No rule looks at a content or at who is who, so a permutation of equal writers, or of the
//! numbers that stand for contents, maps runs to runs. Any choice of representative is sound; a
//! better one only leaves fewer states.

#![forbid(unsafe_code)]

use crate::state::each;
use crate::state::Content;
use crate::state::Kept;
use crate::state::State;

/// More than the contents one chunk can have at a time.
const NAMES: usize = 16;

impl State {
    pub(crate) fn fold(&mut self) {
        self.writers.sort_unstable();
        self.readers.sort_unstable();
        for chunk in each(!0) {
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
    pub(crate) fn fresh(&mut self, chunk: usize) -> Content {
        let mut highest = 0;
        self.contents(chunk, |content| highest = highest.max(*content));
        highest + 1
    }

    /// Every place that holds a content of `chunk`. The first is always content 0, which fields
    /// without a meaning hold too.
    fn contents(&mut self, chunk: usize, mut visit: impl FnMut(&mut Content)) {
        for epoch in &mut self.epochs[..self.count as usize] {
            visit(&mut epoch.start[chunk]);
        }
        for epoch in &mut self.epochs {
            if let Kept::Copy(content) = &mut epoch.copies[chunk] {
                visit(content);
            }
        }
        visit(&mut self.origin[chunk]);
        for writer in &mut self.writers {
            visit(&mut writer.data[chunk]);
        }
        for reader in self
            .readers
            .iter_mut()
            .filter(|reader| reader.chunk as usize == chunk)
        {
            visit(&mut reader.data);
        }
    }
}
