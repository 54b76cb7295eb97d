// SPDX-License-Identifier: GPL-2.0

//! States that differ only in the names of writers or contents, folded into one, as in the run-time
//! model.

#![forbid(unsafe_code)]

use crate::crash::state::each;
use crate::crash::state::Record;
use crate::crash::state::State;
use crate::crash::state::Step;
use crate::crash::state::Timeline;
use crate::state::Content;

/// More than the contents one chunk can have at a time.
const NAMES: usize = 64;

impl State {
    pub(crate) fn fold(&mut self) {
        for writer in &mut self.writers {
            if writer.step == Step::Asked && writer.due <= self.log.durable {
                writer.due = 0;
            }
        }
        self.writers.sort_unstable();
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
                epoch.copies[chunk].iter_mut().for_each(&mut visit);
            }
        };
        indexed(&mut self.now);
        indexed(&mut self.root.timeline);
        if let Some(saving) = &mut self.saving {
            indexed(&mut saving.timeline);
        }
    }
}
