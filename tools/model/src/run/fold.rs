// SPDX-License-Identifier: GPL-2.0

//! States that differ only in the names of writers, readers or contents, folded into one.

#![forbid(unsafe_code)]

use crate::chunks::Content;
use crate::chunks::Contents;
use crate::run::state::State;
use crate::run::state::CHUNKS;
use crate::timeline::Kept;

impl State {
    pub(crate) fn fold(&mut self) {
        self.writers.sort_unstable();
        self.readers.sort_unstable();
        (0..CHUNKS).for_each(|chunk| self.rename(chunk));
    }
}

impl Contents for State {
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
