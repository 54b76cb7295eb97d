// SPDX-License-Identifier: GPL-2.0

//! Which names a state of a running device has: writers, readers, contents.

#![forbid(unsafe_code)]

use crate::chunks::Content;
use crate::fold::Fold;
use crate::run::state::State;
use crate::run::state::CHUNKS;
use crate::timeline::Kept;

impl Fold for State {
    const CHUNKS: usize = CHUNKS;

    fn sort(&mut self) {
        self.writers.sort_unstable();
        self.readers.sort_unstable();
    }

    fn contents(&mut self, chunk: usize, mut visit: impl FnMut(&mut Content)) {
        for truth in &mut self.truth[..self.timeline.count as usize] {
            visit(&mut truth.start[chunk]);
        }
        for epoch in &mut self.timeline.epochs {
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
