// SPDX-License-Identifier: GPL-2.0

//! States that differ only in the names of writers or contents, folded into one.

#![forbid(unsafe_code)]

use crate::chunks::Content;
use crate::chunks::Contents;
use crate::crash::state::Record;
use crate::crash::state::State;
use crate::crash::state::Timeline;
use crate::crash::state::Write;
use crate::crash::state::CHUNKS;
use crate::timeline::Kept;

impl State {
    pub(crate) fn fold(&mut self) {
        for writer in &mut self.writers {
            if writer.step == Write::Asked && writer.due <= self.log.durable {
                writer.due = 0;
            }
        }
        self.writers.sort_unstable();
        (0..CHUNKS).for_each(|chunk| self.rename(chunk));
    }
}

impl Contents for State {
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
