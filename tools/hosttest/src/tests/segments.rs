// SPDX-License-Identifier: GPL-2.0

//! The segments against a simple model: who owns what, and that a reservation is always honoured
//! when the records are formed, whatever their number, order and size.

#![forbid(unsafe_code)]

use dm_preserve_core::format::Layout;
use dm_preserve_core::format::BLOCK_BYTES;
use dm_preserve_core::format::MAX_CONTENTS;
use dm_preserve_core::store::LogEnd;
use dm_preserve_core::store::LogPosition;
use dm_preserve_core::store::Segments;
use kernel::prelude::*;
use proptest::prelude::*;
use proptest::sample::Index;
use std::collections::BTreeSet;

#[derive(Clone, Debug)]
enum Op {
    Reserve(u64),
    /// A reservation is given back.
    Cancel(Index),
    /// It is reduced.
    Narrow(Index, u64),
    /// Records are formed for it, with at most so many contents each.
    Use(Index, u64),
    /// An epoch ends: nothing more is reserved, and the next contents go to a new segment.
    Epoch,
    /// The oldest so many owned segments are not needed any longer.
    GiveBack(u64),
    Checkpoint,
    Grow(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let most = MAX_CONTENTS as u64;
    let wanted = prop_oneof![1u64..4, 1..=most, Just(most)];
    prop_oneof![
        8 => wanted.clone().prop_map(Op::Reserve),
        1 => any::<Index>().prop_map(Op::Cancel),
        1 => (any::<Index>(), 0u64..5).prop_map(|(which, to)| Op::Narrow(which, to)),
        8 => (any::<Index>(), wanted).prop_map(|(which, most)| Op::Use(which, most)),
        1 => Just(Op::Epoch),
        2 => (1u64..4).prop_map(Op::GiveBack),
        2 => Just(Op::Checkpoint),
        1 => (0u64..3).prop_map(Op::Grow),
    ]
}

struct Store {
    layout: Layout,
    segments: Segments,
    log: LogEnd,
    /// What is promised.
    reserved: Vec<u64>,
    owned: Vec<u64>,
    waiting: Vec<u64>,
    free: BTreeSet<u64>,
}

impl Store {
    fn new(layout: Layout) -> Self {
        Self {
            segments: Segments::new(layout, &[]).unwrap(),
            log: LogEnd::new([1; 16], 1, layout, LogPosition::default()),
            reserved: Vec::new(),
            owned: Vec::new(),
            waiting: Vec::new(),
            free: (0..layout.segments).collect(),
            layout,
        }
    }

    fn take(&mut self) -> Result<(), TestCaseError> {
        let segment = self.segments.take();
        prop_assert!(segment.is_some(), "a reservation is not honoured");
        let segment = segment.unwrap();
        prop_assert!(self.free.remove(&segment), "{segment} is not free");
        self.owned.push(segment);
        let mut block = [0; BLOCK_BYTES];
        let entry = dm_preserve_core::format::Entry::Segment { segment, epoch: 1 };
        prop_assert!(self.log.entries(&[entry], 0, 0, &mut block).is_some());
        let place = self.log.place();
        self.log.trim(&place);
        Ok(())
    }

    fn use_up(&mut self, contents: u64, most: u64) -> Result<(), TestCaseError> {
        let mut left = contents;
        while left > 0 {
            if self.log.room() == 0 {
                self.take()?;
            }
            let now = left.min(most).min(self.log.room());
            // A record for each part costs a header more than was reserved; only cuts at a
            // segment's end are paid for.
            let now = if now < left && now < self.log.room() {
                left.min(self.log.room())
            } else {
                now
            };
            let list: Vec<(u64, u32)> = (0..now).map(|chunk| (chunk, 0)).collect();
            let formed = self.log.contents(1, &list, 0, &mut [0; BLOCK_BYTES]);
            prop_assert!(formed.is_some());
            let segment = self.layout.segment_of(formed.unwrap().block);
            prop_assert_eq!(segment, self.owned.last().copied());
            self.segments
                .used_of_current(1 + now * self.layout.chunk_blocks);
            left -= now;
        }
        self.segments.unreserve(contents);
        Ok(())
    }

    fn apply(&mut self, op: &Op) -> Result<(), TestCaseError> {
        let pick = |index: &Index, len: usize| (len > 0).then(|| index.index(len));
        match op {
            Op::Reserve(wanted) => {
                let granted = self.segments.reserve(*wanted);
                prop_assert!(granted <= *wanted);
                self.reserved.extend((granted > 0).then_some(granted));
            }
            Op::Cancel(index) => {
                if let Some(at) = pick(index, self.reserved.len()) {
                    self.segments.unreserve(self.reserved.swap_remove(at));
                }
            }
            Op::Narrow(index, to) => {
                if let Some(at) = pick(index, self.reserved.len()) {
                    let to = self.reserved[at].min((*to).max(1));
                    self.segments.narrow(self.reserved[at], to);
                    self.reserved[at] = to;
                }
            }
            Op::Use(index, most) => {
                if let Some(at) = pick(index, self.reserved.len()) {
                    let contents = self.reserved.swap_remove(at);
                    self.use_up(contents, *most)?;
                }
            }
            Op::Epoch => {
                for contents in std::mem::take(&mut self.reserved) {
                    self.segments.unreserve(contents);
                }
                self.segments.close_current();
                self.log = LogEnd::new([1; 16], 1, self.layout, LogPosition::default());
            }
            Op::GiveBack(count) => {
                // Not the current one.
                let count = (*count as usize).min(self.owned.len().saturating_sub(1));
                let back: Vec<u64> = self.owned.drain(..count).collect();
                self.segments.give_back(&back);
                self.waiting.extend(back);
            }
            Op::Checkpoint => {
                let count = self.segments.waiting();
                self.segments.free_waiting(count);
                self.free.extend(self.waiting.drain(..));
            }
            Op::Grow(more) => {
                let blocks = self.layout.blocks() + more * self.layout.segment_blocks;
                let layout = self.layout.grown(blocks);
                self.segments.grow(layout).unwrap();
                self.free.extend(self.layout.segments..layout.segments);
                self.layout = layout;
                self.log.layout = layout;
            }
        }
        prop_assert_eq!(self.segments.waiting(), self.waiting.len());
        let taken = (self.owned.len() + self.waiting.len()) as u64 * self.layout.segment_blocks;
        prop_assert!(self.segments.used() <= taken);
        prop_assert!(self.segments.used() + self.layout.segment_blocks >= taken);
        Ok(())
    }
}

fn layout(chunk_blocks: u64, segment_blocks: u64, segments: u64) -> Layout {
    Layout {
        ring_start: 2,
        ring_blocks: 16,
        image_start: 18,
        image_blocks: 8,
        data_start: 34,
        segment_blocks,
        segments,
        chunk_blocks,
    }
}

proptest! {
    #[test]
    fn reservations_are_honoured(
        shift in 0u32..8,
        extra in 0u64..40,
        scale in 1u64..60,
        segments in 1u64..12,
        ops in proptest::collection::vec(op(), 0..120),
    ) {
        let chunk_blocks = 1 << shift;
        let segment_blocks = (chunk_blocks + 2) * scale + extra;
        let mut store = Store::new(layout(chunk_blocks, segment_blocks, segments));
        for op in &ops {
            store.apply(op)?;
        }
        // All promises at once.
        for contents in std::mem::take(&mut store.reserved) {
            store.use_up(contents, MAX_CONTENTS as u64)?;
        }
    }

    /// Of a store that was formatted, most can be used, and an empty one never refuses.
    #[test]
    fn little_is_lost(blocks in 600u64..100_000, shift in 0u32..9) {
        let chunk_blocks = 1 << shift;
        let Some(layout) = Layout::new(blocks, 1000, chunk_blocks * 8) else {
            return Ok(());
        };
        let mut store = Store::new(layout);
        let mut contents = 0;
        loop {
            let granted = store.segments.reserve(8);
            if granted == 0 {
                break;
            }
            store.use_up(granted, 8)?;
            contents += granted;
        }
        prop_assert!(contents * chunk_blocks * 2 > layout.segments * layout.segment_blocks);
    }
}

#[test]
fn segments_with_two_owners_or_beyond_the_store_are_refused() {
    let layout = layout(1, 20, 6);
    assert!(Segments::new(layout, &[5, 0, 3]).is_ok());
    assert_eq!(Segments::new(layout, &[3, 0, 3]).err(), Some(EUCLEAN));
    assert_eq!(Segments::new(layout, &[6]).err(), Some(EUCLEAN));
    assert_eq!(Segments::new(layout, &[u64::MAX]).err(), Some(EUCLEAN));
}
