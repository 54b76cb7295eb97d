// SPDX-License-Identifier: GPL-2.0

//! Which names a state with a log has: writers, contents.

#![forbid(unsafe_code)]

use crate::chunks::Content;
use crate::crash::state::Record;
use crate::crash::state::State;
use crate::crash::state::Timeline;
use crate::crash::state::Write;
use crate::crash::state::CHUNKS;
use crate::fold::Fold;
use crate::timeline::Kept;

impl Fold for State {
    const CHUNKS: usize = CHUNKS;

    fn sort(&mut self) {
        for writer in &mut self.writers {
            if writer.step == Write::Asked && writer.due <= self.log.durable {
                writer.due = 0;
            }
        }
        self.writers.sort_unstable();
    }

    fn contents(&mut self, chunk: usize, mut visit: impl FnMut(&mut Content)) {
        for truth in &mut self.truth {
            visit(&mut truth.start[chunk]);
        }
        let cached = &mut self.origin[chunk];
        for content in &mut cached.holds[..cached.writes as usize] {
            visit(content);
        }
        for writer in &mut self.writers {
            visit(&mut writer.data[chunk]);
        }
        for record in &mut self.log.records {
            if let Record::Copy { data, .. } = record {
                visit(&mut data[chunk]);
            }
        }
        let mut indexed = |timeline: &mut Timeline| {
            for epoch in &mut timeline.epochs {
                if let Kept::Copy(content) = &mut epoch.copies[chunk] {
                    visit(content);
                }
            }
        };
        indexed(&mut self.now);
        indexed(&mut self.root.timeline);
        if let Some(saving) = &mut self.saving {
            indexed(&mut saving.timeline);
        }
    }
}
